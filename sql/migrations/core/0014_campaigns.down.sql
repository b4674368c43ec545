ALTER TABLE templates DROP CONSTRAINT templates_name_key;
DROP INDEX emails_campaign_lead_key;
ALTER TABLE emails DROP CONSTRAINT emails_sent_has_time, DROP CONSTRAINT emails_status_known, ALTER COLUMN status DROP NOT NULL;
ALTER TABLE campaigns DROP CONSTRAINT campaigns_scheduled_has_time, DROP CONSTRAINT campaigns_status_known,
  ALTER COLUMN status DROP NOT NULL;
ALTER TABLE leads DROP CONSTRAINT leads_email_lower;
