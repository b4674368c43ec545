-- Messages of the platform: claimed before they are sent, tried again with a pause, one row a cause.
-- Undo: claims, tries and causes go. Locks: ACCESS EXCLUSIVE on transactional_emails and notifications, one scan.
ALTER TABLE transactional_emails ALTER COLUMN status SET NOT NULL, ALTER COLUMN queued_at SET NOT NULL,
  ADD COLUMN dedupe_key TEXT, ADD COLUMN claimed_by TEXT, ADD COLUMN claimed_until TIMESTAMP WITH TIME ZONE,
  ADD COLUMN attempt_count INTEGER NOT NULL DEFAULT 0 CHECK (attempt_count >= 0),
  ADD COLUMN next_try_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD CONSTRAINT transactional_emails_status_known CHECK (status IN ('queued', 'sending', 'sent', 'failed')),
  ADD CONSTRAINT transactional_emails_sending_has_claim CHECK (status <> 'sending' OR claimed_until IS NOT NULL);
CREATE UNIQUE INDEX transactional_emails_dedupe_key ON transactional_emails (tenant_id, dedupe_key);
CREATE INDEX idx_transactional_emails_due ON transactional_emails (next_try_at) WHERE status IN ('queued', 'sending');
ALTER TABLE notifications ADD COLUMN dedupe_key TEXT,
  ADD CONSTRAINT notifications_channel_known CHECK (channel IN ('in_app', 'email', 'webhook'));
CREATE UNIQUE INDEX notifications_dedupe_key ON notifications (tenant_id, user_id, dedupe_key);
ALTER TABLE system_notifications
  ADD CONSTRAINT system_notifications_severity_known CHECK (severity IN ('info', 'low', 'medium', 'high', 'critical'));
