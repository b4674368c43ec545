-- data-loss: complaints, alert details
DROP INDEX system_notifications_open_key;
ALTER TABLE system_notifications
  DROP COLUMN dedupe_key, DROP COLUMN details, DROP COLUMN occurrences, DROP COLUMN last_seen_at,
  DROP COLUMN acknowledged_at, DROP COLUMN acknowledged_by, DROP COLUMN resolved_by;
DROP TABLE email_complaints;
ALTER TABLE warmup_daily_stats DROP CONSTRAINT warmup_daily_stats_mailbox_id_date_key,
  ADD CONSTRAINT warmup_daily_stats_mailbox_id_date_key UNIQUE (mailbox_id, date);
ALTER TABLE daily_analytics DROP COLUMN open_rate, DROP COLUMN click_rate, DROP COLUMN bounce_rate, DROP COLUMN reply_rate;
ALTER TABLE daily_analytics
  DROP COLUMN emails_complained,
  DROP CONSTRAINT daily_analytics_user_id_tenant_id_campaign_id_mailbox_id_da_key,
  ADD CONSTRAINT daily_analytics_user_id_tenant_id_campaign_id_mailbox_id_da_key UNIQUE (user_id, tenant_id, campaign_id, mailbox_id, date),
  ADD COLUMN open_rate DECIMAL(5,2) GENERATED ALWAYS AS (CASE WHEN emails_sent > 0 THEN ROUND((emails_opened::DECIMAL / emails_sent) * 100, 2) ELSE 0 END) STORED,
  ADD COLUMN click_rate DECIMAL(5,2) GENERATED ALWAYS AS (CASE WHEN emails_sent > 0 THEN ROUND((emails_clicked::DECIMAL / emails_sent) * 100, 2) ELSE 0 END) STORED,
  ADD COLUMN bounce_rate DECIMAL(5,2) GENERATED ALWAYS AS (CASE WHEN emails_sent > 0 THEN ROUND((emails_bounced::DECIMAL / emails_sent) * 100, 2) ELSE 0 END) STORED,
  ADD COLUMN reply_rate DECIMAL(5,2) GENERATED ALWAYS AS (CASE WHEN emails_sent > 0 THEN ROUND((emails_replied::DECIMAL / emails_sent) * 100, 2) ELSE 0 END) STORED;
