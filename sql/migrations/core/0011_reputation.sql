-- Reputation: answers of blocklists, and one score a subject and day.
-- Undo: both histories go. Locks: none, the tables are new.
-- One row per run of equal conclusive answers for a target on a list, not one per look-up.
CREATE TABLE blacklist_checks (
    id BIGSERIAL PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    check_type VARCHAR(10) NOT NULL CHECK (check_type IN ('ip','domain')),
    smtp_ip_address_id BIGINT, domain_id BIGINT, check_value VARCHAR(255) NOT NULL,
    blacklist_name VARCHAR(255) NOT NULL, blacklist_category VARCHAR(50),
    verdict VARCHAR(10) NOT NULL CHECK (verdict IN ('pass','fail','unknown')),
    is_listed BOOLEAN GENERATED ALWAYS AS (verdict = 'fail') STORED,
    return_codes TEXT[] NOT NULL DEFAULT '{}', listing_reason TEXT,
    listed_since TIMESTAMP WITH TIME ZONE, delisted_at TIMESTAMP WITH TIME ZONE,
    unknown_since TIMESTAMP WITH TIME ZONE,      -- inconclusive answers mark the open row, they never close it
    first_checked_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    checked_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(), ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT blacklist_checks_one_target CHECK (num_nonnulls(smtp_ip_address_id, domain_id) = 1
      AND (check_type = 'ip') = (smtp_ip_address_id IS NOT NULL)),
    CONSTRAINT blacklist_checks_listed_since CHECK ((verdict = 'fail') = (listed_since IS NOT NULL)),
    FOREIGN KEY (tenant_id, smtp_ip_address_id) REFERENCES smtp_ip_addresses (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX blacklist_checks_open_key ON blacklist_checks (blacklist_name, smtp_ip_address_id, domain_id) NULLS NOT DISTINCT WHERE ended_at IS NULL;
CREATE INDEX idx_blacklist_checks_ip ON blacklist_checks (tenant_id, smtp_ip_address_id);
CREATE INDEX idx_blacklist_checks_domain ON blacklist_checks (tenant_id, domain_id);
CREATE INDEX idx_blacklist_checks_listed ON blacklist_checks (tenant_id, listed_since) WHERE verdict = 'fail' AND ended_at IS NULL;

CREATE TABLE reputation_history (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    smtp_ip_address_id BIGINT, domain_id BIGINT, email_account_id BIGINT,
    snapshot_date DATE NOT NULL,
    score INTEGER CHECK (score BETWEEN 0 AND 100),          -- NULL: not enough evidence
    reputation_state VARCHAR(20) CHECK (reputation_state IN ('good','fair','poor','critical')),
    confidence VARCHAR(10) NOT NULL DEFAULT 'low' CHECK (confidence IN ('high','medium','low')),
    coverage NUMERIC(4,3) NOT NULL DEFAULT 0 CHECK (coverage BETWEEN 0 AND 1),
    components JSONB NOT NULL DEFAULT '{}',                 -- what made the score
    emails_sent INTEGER NOT NULL DEFAULT 0, emails_bounced INTEGER NOT NULL DEFAULT 0,
    emails_complained INTEGER NOT NULL DEFAULT 0, emails_deferred INTEGER NOT NULL DEFAULT 0,
    blacklist_count INTEGER NOT NULL DEFAULT 0,
    policy_preset_id BIGINT REFERENCES policy_presets(id),
    computed_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    CHECK (num_nonnulls(smtp_ip_address_id, domain_id, email_account_id) = 1),
    UNIQUE NULLS NOT DISTINCT (tenant_id, smtp_ip_address_id, domain_id, email_account_id, snapshot_date),
    FOREIGN KEY (tenant_id, smtp_ip_address_id) REFERENCES smtp_ip_addresses (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, email_account_id) REFERENCES email_accounts (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX idx_reputation_history_domain ON reputation_history (tenant_id, domain_id, snapshot_date DESC);
CREATE INDEX idx_reputation_history_mailbox ON reputation_history (tenant_id, email_account_id, snapshot_date DESC);
CREATE INDEX idx_reputation_history_preset ON reputation_history (policy_preset_id);

SELECT isolate_tenant_table('blacklist_checks'), isolate_tenant_table('reputation_history');
SELECT grant_table('blacklist_checks', 'read'), grant_table('reputation_history', 'read');
