-- Indexes of the seed's core tables: its duplicates of UNIQUE keys left out, every foreign key served.
-- Left out: idx_tenants_tenant_id, idx_users_user_id, idx_users_email, idx_tenant_users_tenant (a UNIQUE serves each).
-- Undo: drops the indexes. Locks: SHARE on each table; on a large live one build them CONCURRENTLY beforehand.
CREATE INDEX idx_tenant_users_user ON tenant_users (user_id);
CREATE INDEX idx_emails_tenant ON emails (tenant_id, created_at DESC);
CREATE INDEX idx_emails_campaign ON emails (campaign_id);
CREATE INDEX idx_emails_account ON emails (email_account_id);
CREATE INDEX idx_emails_lead ON emails (lead_id);
CREATE INDEX idx_emails_status ON emails (status) WHERE status IN ('queued','sending');
CREATE INDEX idx_emails_sent_at ON emails (sent_at);
CREATE INDEX idx_users_tenant ON users (tenant_id);
CREATE INDEX idx_staff_members_tenant ON staff_members (tenant_id);
CREATE INDEX idx_staff_role_assignments_role ON staff_role_assignments (role_id);
CREATE INDEX idx_subscriptions_tenant ON subscriptions (tenant_id);
CREATE INDEX idx_subscriptions_plan ON subscriptions (plan_id);
CREATE INDEX idx_payments_tenant ON payments (tenant_id);
CREATE INDEX idx_payments_subscription ON payments (subscription_id);
CREATE INDEX idx_vps_instances_tenant ON vps_instances (tenant_id);
CREATE INDEX idx_templates_tenant ON templates (tenant_id);
CREATE INDEX idx_campaigns_tenant ON campaigns (tenant_id);
CREATE INDEX idx_campaigns_template ON campaigns (template_id);
