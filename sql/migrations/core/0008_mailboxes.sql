-- Mailboxes: their domain, owner, settings and state; addresses that must not be written to again.
-- Undo: the added columns and the suppressions go. Locks: ACCESS EXCLUSIVE on email_accounts, one scan.
UPDATE email_accounts SET email_address = lower(email_address) WHERE email_address <> lower(email_address);
ALTER TABLE email_accounts ALTER COLUMN status SET NOT NULL, ALTER COLUMN warmup_status SET NOT NULL,
  ADD COLUMN domain_id BIGINT, ADD COLUMN owner_user_id BIGINT, ADD COLUMN password_secret_id UUID,
  ADD COLUMN provider VARCHAR(50) NOT NULL DEFAULT 'postfix', ADD COLUMN quota_mb INTEGER NOT NULL DEFAULT 1024,
  ADD COLUMN smtp_settings JSONB NOT NULL DEFAULT '{}', ADD COLUMN imap_settings JSONB NOT NULL DEFAULT '{}',
  ADD COLUMN status_reason TEXT, ADD COLUMN last_warmed TIMESTAMP WITH TIME ZONE,
  ADD COLUMN updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD CONSTRAINT email_accounts_addr_lower CHECK (email_address = lower(email_address)),
  ADD CONSTRAINT email_accounts_status_known CHECK (status IN ('pending','active','issue','paused','suspended','deleted')),
  ADD CONSTRAINT email_accounts_warmup_known CHECK (warmup_status IN ('none','active','paused','completed','failed')),
  ADD CONSTRAINT email_accounts_domain_fkey FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id),
  ADD CONSTRAINT email_accounts_owner_fkey FOREIGN KEY (tenant_id, owner_user_id) REFERENCES tenant_users (tenant_id, user_id) ON DELETE SET NULL (owner_user_id),
  ADD CONSTRAINT email_accounts_password_fkey FOREIGN KEY (tenant_id, password_secret_id) REFERENCES secrets (tenant_id, id);
CREATE UNIQUE INDEX email_accounts_address_key ON email_accounts (email_address) WHERE status <> 'deleted';
CREATE INDEX idx_email_accounts_domain ON email_accounts (domain_id);
CREATE INDEX idx_email_accounts_owner ON email_accounts (tenant_id, owner_user_id);
CREATE INDEX idx_email_accounts_secret ON email_accounts (password_secret_id);

CREATE TABLE suppressions (
    id BIGSERIAL PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    scope VARCHAR(10) NOT NULL DEFAULT 'address' CHECK (scope IN ('address','domain')),
    value VARCHAR(255) NOT NULL CHECK (value = lower(value)),
    reason VARCHAR(50) NOT NULL CHECK (reason IN ('hard_bounce','complaint','unsubscribe','mailbox_full','unknown_permanent','manual')),
    source_email_id BIGINT,                      -- no foreign key: send records are archived
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(), expires_at TIMESTAMP WITH TIME ZONE,
    UNIQUE (tenant_id, scope, value)
);


SELECT isolate_tenant_table('suppressions');
SELECT grant_table('suppressions', 'write');
