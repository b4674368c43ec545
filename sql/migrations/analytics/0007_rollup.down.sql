DROP INDEX idx_email_complaints_created, idx_email_bounces_date, idx_email_replies_date, idx_email_complaints_date;
ALTER TABLE email_complaints ALTER COLUMN created_at DROP NOT NULL, ALTER COLUMN complained_at DROP NOT NULL;
DROP TABLE rollup_watermarks;
