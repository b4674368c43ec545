-- data-loss: daily limits that an operator entered, and today's counts
ALTER TABLE blocklist_zones DROP COLUMN daily_limit, DROP COLUMN asked_on, DROP COLUMN asked;
