-- Secrets, sealed in Python with AES-256-GCM under a key that is not in this database, or only a path into a vault.
-- The associated data of a seal is tenant, purpose and path, so a row copied elsewhere does not open.
-- Undo: every sealed secret is lost. Locks: none, the tables are new.
CREATE TABLE secrets (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    purpose VARCHAR(50) NOT NULL CHECK (purpose IN (
      'ssh_private_key', 'dkim_private_key', 'tls_private_key', 'mailbox_password', 'smtp_admin', 'dns_host_credential',
      'tsig_key', 'acme_account_key', 'api_token', 'signing_key')),
    vault_key_path VARCHAR(500) NOT NULL,       -- e.g. dkim/{domain}/{selector}
    backend VARCHAR(20) NOT NULL DEFAULT 'sealed' CHECK (backend IN ('sealed', 'vault')),
    key_id TEXT,                                -- which key sealed it
    ciphertext BYTEA,                           -- nonce 12 + text + tag 16
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    rotated_at TIMESTAMP WITH TIME ZONE,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, vault_key_path),
    CONSTRAINT secrets_sealed_has_text CHECK (
      (backend = 'sealed' AND key_id IS NOT NULL AND ciphertext IS NOT NULL AND octet_length(ciphertext) > 28)
      OR (backend = 'vault' AND ciphertext IS NULL))
);
-- Secrets of the platform itself (key of the platform zone, SMTP account): no tenant, the orchestrator alone.
CREATE TABLE platform_secrets (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    purpose VARCHAR(50) NOT NULL,
    vault_key_path VARCHAR(500) NOT NULL UNIQUE,
    backend VARCHAR(20) NOT NULL DEFAULT 'sealed' CHECK (backend IN ('sealed', 'vault')),
    key_id TEXT,
    ciphertext BYTEA,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    rotated_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT platform_secrets_sealed_has_text CHECK (
      (backend = 'sealed' AND key_id IS NOT NULL AND ciphertext IS NOT NULL AND octet_length(ciphertext) > 28)
      OR (backend = 'vault' AND ciphertext IS NULL))
);

SELECT isolate_tenant_table('secrets');
SELECT grant_table('secrets', 'none'), grant_table('platform_secrets', 'none');
