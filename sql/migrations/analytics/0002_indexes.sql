-- Indexes of the seed's analytics tables. `x::DATE` of a timestamp with time zone is no immutable expression, so the day
-- is taken in UTC, and queries must use the identical expression.
-- Left out: idx_daily_analytics_user_tenant, idx_warmup_daily_stats_mailbox (prefixes of a UNIQUE), and the queue's
-- four (one partial index in 0005 serves them). (tenant_id, user_id) instead of the seed's reverse: policies filter on it.
-- Undo: drops the indexes. Locks: SHARE on each table; on a large live one build them CONCURRENTLY beforehand.
CREATE INDEX idx_email_opens_email_id ON email_opens (email_id);
CREATE INDEX idx_email_opens_user_tenant ON email_opens (tenant_id, user_id);
CREATE INDEX idx_email_opens_date ON email_opens (((opened_at AT TIME ZONE 'UTC')::DATE));
CREATE INDEX idx_email_clicks_email_id ON email_clicks (email_id);
CREATE INDEX idx_email_clicks_user_tenant ON email_clicks (tenant_id, user_id);
CREATE INDEX idx_email_clicks_date ON email_clicks (((clicked_at AT TIME ZONE 'UTC')::DATE));
CREATE INDEX idx_email_bounces_email_id ON email_bounces (email_id);
CREATE INDEX idx_email_bounces_user_tenant ON email_bounces (tenant_id, user_id);
CREATE INDEX idx_email_replies_email_id ON email_replies (email_id);
CREATE INDEX idx_email_replies_user_tenant ON email_replies (tenant_id, user_id);
CREATE INDEX idx_daily_analytics_date ON daily_analytics (date);
CREATE INDEX idx_daily_analytics_campaign ON daily_analytics (campaign_id);
CREATE INDEX idx_daily_analytics_tenant ON daily_analytics (tenant_id, date);
CREATE INDEX idx_warmup_interactions_mailbox ON warmup_interactions (mailbox_id);
CREATE INDEX idx_warmup_interactions_tenant ON warmup_interactions (tenant_id, interaction_at);
CREATE INDEX idx_warmup_interactions_date ON warmup_interactions (((interaction_at AT TIME ZONE 'UTC')::DATE));
CREATE INDEX idx_warmup_daily_stats_tenant ON warmup_daily_stats (tenant_id, date);
CREATE INDEX idx_job_logs_job ON job_logs (job_id, attempt_number);
CREATE INDEX idx_job_logs_created ON job_logs USING brin (created_at);
CREATE INDEX idx_transactional_emails_job ON transactional_emails (job_id);
CREATE INDEX idx_transactional_emails_tenant ON transactional_emails (tenant_id);
CREATE INDEX idx_notifications_user ON notifications (tenant_id, user_id) WHERE NOT is_read;
CREATE INDEX idx_system_notifications_open ON system_notifications (tenant_id, severity) WHERE NOT is_resolved;
-- the retention deletes walk these
CREATE INDEX idx_email_opens_created ON email_opens USING brin (created_at);
CREATE INDEX idx_email_clicks_created ON email_clicks USING brin (created_at);
CREATE INDEX idx_email_bounces_created ON email_bounces USING brin (created_at);
CREATE INDEX idx_email_replies_created ON email_replies USING brin (created_at);
CREATE INDEX idx_warmup_interactions_created ON warmup_interactions USING brin (created_at);

