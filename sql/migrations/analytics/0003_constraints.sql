-- Keys that hold for one tenant without blocking another, rates that cannot overflow, complaints, alerts that are one row.
-- A rate was DECIMAL(5,2) without a bound: 1 sent and 10 opens aborted a whole rollup. A generated column cannot be
-- altered in place on PostgreSQL 15, so the four come again under their names.
-- Undo: complaints and alert details go. Locks: ACCESS EXCLUSIVE; daily_analytics is rewritten.
ALTER TABLE daily_analytics
  DROP CONSTRAINT daily_analytics_user_id_tenant_id_campaign_id_mailbox_id_da_key,
  ADD CONSTRAINT daily_analytics_user_id_tenant_id_campaign_id_mailbox_id_da_key
    UNIQUE NULLS NOT DISTINCT (user_id, tenant_id, campaign_id, mailbox_id, date),
  ADD COLUMN emails_complained INTEGER NOT NULL DEFAULT 0;
-- Generated columns cannot be altered in place on 15: same names, clamped instead of overflowing.
ALTER TABLE daily_analytics DROP COLUMN open_rate, DROP COLUMN click_rate, DROP COLUMN bounce_rate, DROP COLUMN reply_rate;
ALTER TABLE daily_analytics
  ADD COLUMN open_rate   DECIMAL(5,2) GENERATED ALWAYS AS (CASE WHEN emails_sent > 0 THEN LEAST(ROUND(emails_opened ::DECIMAL / emails_sent * 100, 2), 999.99) ELSE 0 END) STORED,
  ADD COLUMN click_rate  DECIMAL(5,2) GENERATED ALWAYS AS (CASE WHEN emails_sent > 0 THEN LEAST(ROUND(emails_clicked::DECIMAL / emails_sent * 100, 2), 999.99) ELSE 0 END) STORED,
  ADD COLUMN bounce_rate DECIMAL(5,2) GENERATED ALWAYS AS (CASE WHEN emails_sent > 0 THEN LEAST(ROUND(emails_bounced::DECIMAL / emails_sent * 100, 2), 999.99) ELSE 0 END) STORED,
  ADD COLUMN reply_rate  DECIMAL(5,2) GENERATED ALWAYS AS (CASE WHEN emails_sent > 0 THEN LEAST(ROUND(emails_replied::DECIMAL / emails_sent * 100, 2), 999.99) ELSE 0 END) STORED;
-- Unique keys act across tenants: without tenant_id one tenant's row blocks another's.
ALTER TABLE warmup_daily_stats DROP CONSTRAINT warmup_daily_stats_mailbox_id_date_key,
  ADD CONSTRAINT warmup_daily_stats_mailbox_id_date_key UNIQUE (mailbox_id, date, tenant_id);
CREATE TABLE email_complaints (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    email_id VARCHAR(255) NOT NULL, campaign_id VARCHAR(255), mailbox_id VARCHAR(255),
    user_id UUID NOT NULL, tenant_id UUID NOT NULL,
    feedback_type VARCHAR(50) NOT NULL DEFAULT 'abuse', source VARCHAR(255),
    complained_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(), created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW()
);
CREATE INDEX idx_email_complaints_email_id ON email_complaints (email_id);
CREATE INDEX idx_email_complaints_user_tenant ON email_complaints (tenant_id, user_id);
-- Alerts stay in the seed's table; these make one alert one row and let staff take it.
ALTER TABLE system_notifications
  ADD COLUMN dedupe_key TEXT, ADD COLUMN details JSONB NOT NULL DEFAULT '{}', ADD COLUMN occurrences INTEGER NOT NULL DEFAULT 1,
  ADD COLUMN last_seen_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD COLUMN acknowledged_at TIMESTAMP WITH TIME ZONE, ADD COLUMN acknowledged_by TEXT, ADD COLUMN resolved_by TEXT;
CREATE UNIQUE INDEX system_notifications_open_key ON system_notifications (dedupe_key) WHERE NOT is_resolved AND dedupe_key IS NOT NULL;

