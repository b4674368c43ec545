-- Warm-up: the live ramp of a mailbox or an address, the decision of each day, and who agreed to conversations.
-- Undo: ramps, decisions and consents go. Locks: none, the tables are new.
CREATE TABLE warmup_schedules (
    id BIGSERIAL PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    email_account_id BIGINT, smtp_ip_address_id BIGINT,
    policy_preset_id BIGINT NOT NULL REFERENCES policy_presets(id),
    status VARCHAR(20) NOT NULL DEFAULT 'active' CHECK (status IN ('active','paused','completed','failed','cancelled')),
    start_volume INTEGER NOT NULL CHECK (start_volume > 0), target_volume INTEGER NOT NULL,
    current_day INTEGER NOT NULL DEFAULT 0 CHECK (current_day >= 0), total_days INTEGER NOT NULL CHECK (total_days > 0),
    current_volume INTEGER NOT NULL DEFAULT 0 CHECK (current_volume >= 0),
    warmup_pool_percentage INTEGER NOT NULL DEFAULT 0 CHECK (warmup_pool_percentage BETWEEN 0 AND 100),
    auto_pause_enabled BOOLEAN NOT NULL DEFAULT TRUE,
    pause_kind VARCHAR(20) CHECK (pause_kind IN ('temporary','reputation','manual','other')), pause_reason TEXT,
    paused_at TIMESTAMP WITH TIME ZONE,
    started_on DATE NOT NULL DEFAULT CURRENT_DATE, completed_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(), updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    UNIQUE (tenant_id, id),
    CHECK (target_volume >= start_volume), CHECK (num_nonnulls(email_account_id, smtp_ip_address_id) = 1),
    CHECK ((status = 'paused') = (pause_kind IS NOT NULL)),
    FOREIGN KEY (tenant_id, email_account_id) REFERENCES email_accounts (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, smtp_ip_address_id) REFERENCES smtp_ip_addresses (tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX warmup_schedules_one_live ON warmup_schedules (email_account_id, smtp_ip_address_id) NULLS NOT DISTINCT WHERE status IN ('active','paused');
CREATE INDEX idx_warmup_schedules_account ON warmup_schedules (tenant_id, email_account_id);
CREATE INDEX idx_warmup_schedules_ip ON warmup_schedules (tenant_id, smtp_ip_address_id);
CREATE INDEX idx_warmup_schedules_preset ON warmup_schedules (policy_preset_id);
-- One decision per schedule and day, with the reason the tenant is shown.
CREATE TABLE warmup_daily_logs (
    id BIGSERIAL PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    warmup_schedule_id BIGINT NOT NULL, log_date DATE NOT NULL, day_number INTEGER NOT NULL,
    planned_volume INTEGER NOT NULL, allowed_volume INTEGER NOT NULL, real_sent INTEGER NOT NULL DEFAULT 0, warmup_sent INTEGER NOT NULL DEFAULT 0,
    bounced INTEGER NOT NULL DEFAULT 0, complained INTEGER NOT NULL DEFAULT 0, deferred INTEGER NOT NULL DEFAULT 0,
    decision VARCHAR(20) NOT NULL CHECK (decision IN ('advance','hold','step_back','pause','resume','graduate','rewarm')),
    reason TEXT NOT NULL, evidence JSONB NOT NULL DEFAULT '{}', decided_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    UNIQUE (tenant_id, warmup_schedule_id, log_date),
    FOREIGN KEY (tenant_id, warmup_schedule_id) REFERENCES warmup_schedules (tenant_id, id) ON DELETE CASCADE
);
-- Who agreed to take part in warm-up conversations. No row, or revoked: never a partner.
CREATE TABLE warmup_pool_accounts (
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    email_account_id BIGINT NOT NULL, status VARCHAR(20) NOT NULL DEFAULT 'active' CHECK (status IN ('active','paused','cooling_down')),
    consented_by TEXT NOT NULL, consented_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(), revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (tenant_id, email_account_id),
    FOREIGN KEY (tenant_id, email_account_id) REFERENCES email_accounts (tenant_id, id) ON DELETE CASCADE
);


SELECT isolate_tenant_table('warmup_schedules'), isolate_tenant_table('warmup_daily_logs'), isolate_tenant_table('warmup_pool_accounts');
SELECT grant_table('warmup_schedules', 'read'), grant_table('warmup_daily_logs', 'read'), grant_table('warmup_pool_accounts', 'write');
