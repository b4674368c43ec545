-- data-loss: claims and causes of messages
ALTER TABLE system_notifications DROP CONSTRAINT system_notifications_severity_known;
DROP INDEX notifications_dedupe_key, idx_transactional_emails_due, transactional_emails_dedupe_key;
ALTER TABLE notifications DROP CONSTRAINT notifications_channel_known, DROP COLUMN dedupe_key;
ALTER TABLE transactional_emails
  DROP CONSTRAINT transactional_emails_sending_has_claim, DROP CONSTRAINT transactional_emails_status_known,
  DROP COLUMN next_try_at, DROP COLUMN attempt_count, DROP COLUMN claimed_until, DROP COLUMN claimed_by,
  DROP COLUMN dedupe_key, ALTER COLUMN status DROP NOT NULL, ALTER COLUMN queued_at DROP NOT NULL;
