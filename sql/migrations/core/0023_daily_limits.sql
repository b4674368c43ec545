-- A list may say how often it wants to be asked a day; the questions of a UTC day are counted before they leave.
-- Undo: limits and counts go. Locks: ACCESS EXCLUSIVE on blocklist_zones, for as long as it takes to note three columns.
ALTER TABLE blocklist_zones
    ADD COLUMN daily_limit BIGINT CHECK (daily_limit > 0),    -- NULL: none is published
    ADD COLUMN asked_on DATE,
    ADD COLUMN asked BIGINT NOT NULL DEFAULT 0;               -- on that day
UPDATE blocklist_zones SET daily_limit = 100000 WHERE name = 'mailspike';
