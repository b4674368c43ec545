-- Domains: proof of ownership, next check, how records are published; sending paths, DKIM keys, history of checks.
-- Undo: the added columns and tables go. Locks: ACCESS EXCLUSIVE on domains, one scan.
UPDATE domains SET domain_name = lower(domain_name) WHERE domain_name <> lower(domain_name);
ALTER TABLE domains ALTER COLUMN verification_status SET NOT NULL,
  ADD COLUMN verification_token VARCHAR(64), ADD COLUMN verified_at TIMESTAMP WITH TIME ZONE,
  ADD COLUMN dns_last_verified_at TIMESTAMP WITH TIME ZONE, ADD COLUMN dns_next_check_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD COLUMN dns_ttl_observed INTEGER, ADD COLUMN dns_verification_error JSONB,
  ADD COLUMN dns_verification_attempts INTEGER NOT NULL DEFAULT 0,
  ADD COLUMN manage_mx BOOLEAN NOT NULL DEFAULT FALSE,    -- the tenant agreed that the apex MX may point at us
  ADD COLUMN dns_label VARCHAR(16),                       -- opaque name under the platform zone
  ADD COLUMN dns_host VARCHAR(50),                        -- rfc2136 or a dns-lexicon name; NULL: the tenant publishes by hand
  ADD COLUMN dns_host_settings JSONB NOT NULL DEFAULT '{}', ADD COLUMN dns_host_secret_id UUID,
  ADD COLUMN updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD CONSTRAINT domains_status_known CHECK (verification_status IN ('pending','partially_verified','verified','failed','error','deleted')),
  ADD CONSTRAINT domains_name_lower CHECK (domain_name = lower(domain_name)),
  ADD CONSTRAINT domains_dns_label_key UNIQUE (dns_label),
  ADD CONSTRAINT domains_dns_host_fkey FOREIGN KEY (tenant_id, dns_host_secret_id) REFERENCES secrets (tenant_id, id);
CREATE INDEX idx_domains_dns_host_secret ON domains (dns_host_secret_id);
CREATE INDEX idx_domains_dns_verification ON domains (dns_next_check_at) WHERE verification_status <> 'deleted';
CREATE UNIQUE INDEX domains_live_key    ON domains (domain_name) WHERE verification_status = 'verified';
CREATE UNIQUE INDEX domains_one_primary ON domains (tenant_id) WHERE is_primary;

CREATE TABLE domain_ip_assignments (
    id BIGSERIAL PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    domain_id BIGINT NOT NULL, smtp_ip_address_id BIGINT NOT NULL,
    status VARCHAR(20) NOT NULL DEFAULT 'active' CHECK (status IN ('scheduled','warming','active','expired')),
    warmup_state VARCHAR(20) NOT NULL DEFAULT 'unwarmed' CHECK (warmup_state IN ('unwarmed','warming','warmed')),
    assigned_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(), expires_at TIMESTAMP WITH TIME ZONE,
    last_sent_at TIMESTAMP WITH TIME ZONE,
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, smtp_ip_address_id) REFERENCES smtp_ip_addresses (tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX domain_ip_assignments_live_key ON domain_ip_assignments (domain_id, smtp_ip_address_id) WHERE status <> 'expired';
CREATE INDEX idx_domain_ip_assignments_domain ON domain_ip_assignments (tenant_id, domain_id);
CREATE INDEX idx_domain_ip_assignments_ip ON domain_ip_assignments (tenant_id, smtp_ip_address_id);

CREATE TABLE dkim_keys (
    id BIGSERIAL PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    domain_id BIGINT NOT NULL,
    selector VARCHAR(63) NOT NULL CHECK (selector = lower(selector)),
    algorithm VARCHAR(20) NOT NULL CHECK (algorithm IN ('rsa-sha256','ed25519-sha256')),
    public_key TEXT NOT NULL, private_key_secret_id UUID NOT NULL,
    status VARCHAR(20) NOT NULL DEFAULT 'generated' CHECK (status IN ('generated','published','verified','active','retiring','revoked','deleted')),
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(), published_at TIMESTAMP WITH TIME ZONE, verified_at TIMESTAMP WITH TIME ZONE,
    activated_at TIMESTAMP WITH TIME ZONE, retiring_at TIMESTAMP WITH TIME ZONE, revoked_at TIMESTAMP WITH TIME ZONE, deleted_at TIMESTAMP WITH TIME ZONE,
    UNIQUE (domain_id, selector),
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, private_key_secret_id) REFERENCES secrets (tenant_id, id)
);
CREATE UNIQUE INDEX dkim_keys_one_active ON dkim_keys (domain_id, algorithm) WHERE status = 'active';
CREATE INDEX idx_dkim_keys_tenant ON dkim_keys (tenant_id, domain_id);
CREATE INDEX idx_dkim_keys_secret ON dkim_keys (private_key_secret_id);

-- History, one row per record and check; domains.dns_records keeps the latest picture.
CREATE TABLE dns_checks (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    domain_id BIGINT NOT NULL,
    record_key VARCHAR(20) NOT NULL,             -- own, spf-bounce, dkim-rsa …
    record_type VARCHAR(20) NOT NULL,            -- OWNERSHIP MX SPF DKIM DMARC PTR A AAAA CNAME MTA_STS TLS_RPT
    record_name VARCHAR(255) NOT NULL,
    verdict VARCHAR(10) NOT NULL CHECK (verdict IN ('pass','fail','unknown')),
    reason VARCHAR(50), expected TEXT, observed TEXT[] NOT NULL DEFAULT '{}', evidence JSONB NOT NULL DEFAULT '{}',
    ttl INTEGER, duration_ms INTEGER, flow_run_id UUID,
    checked_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX idx_dns_checks_latest ON dns_checks (tenant_id, domain_id, record_key, checked_at DESC);
CREATE INDEX idx_dns_checks_at ON dns_checks USING brin (checked_at);


SELECT isolate_tenant_table('domain_ip_assignments'), isolate_tenant_table('dkim_keys'), isolate_tenant_table('dns_checks');
SELECT grant_table('domain_ip_assignments', 'read'), grant_table('dkim_keys', 'read'), grant_table('dns_checks', 'read');
