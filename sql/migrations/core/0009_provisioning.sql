-- Provisioning: runs, steps, attempts; orders of what costs money or cannot be undone; proofs of delivery; the trail.
-- Undo: what was bought, and what is under way, is forgotten. Locks: none, the tables are new.
CREATE TABLE provisioning_runs (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    kind VARCHAR(50) NOT NULL,                   -- onboard, add_ip, add_domain, add_mailbox, rotate_dkim, replace, decommission
    target TEXT NOT NULL DEFAULT '',             -- what inside the tenant: '' for onboard, else the id of the domain, IP, host
    idempotency_key TEXT NOT NULL,               -- job:<id>, event:<id>, flow:<flow run id>, or the caller's own
    vps_instance_id BIGINT,
    status VARCHAR(20) NOT NULL DEFAULT 'pending' CHECK (status IN ('pending','running','waiting','rejected','succeeded','failed','cancelled')),
    wait_reason VARCHAR(20) CHECK (wait_reason IN ('dns','provider','operator')),   -- shown as waiting_for_<reason>
    last_wait_reason VARCHAR(20),                -- of the wait before; a step that is done clears it with the deadline
    wait_detail TEXT,                            -- what is waited for, and the one line that ends it
    resume_at TIMESTAMP WITH TIME ZONE,          -- next look; NULL while only a person can end the wait
    deadline_at TIMESTAMP WITH TIME ZONE,        -- after it the wait turns into wait_reason = 'operator'
    starts INTEGER NOT NULL DEFAULT 0 CHECK (starts >= 0),              -- processes started for this run
    idle_starts INTEGER NOT NULL DEFAULT 0 CHECK (idle_starts >= 0),    -- … since a step last finished
    flow_run_id UUID, requested_by TEXT, cancel_requested_at TIMESTAMP WITH TIME ZONE,
    input JSONB NOT NULL DEFAULT '{}', last_error_message TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    started_at TIMESTAMP WITH TIME ZONE, finished_at TIMESTAMP WITH TIME ZONE, updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    UNIQUE (tenant_id, idempotency_key), UNIQUE (tenant_id, id),
    CONSTRAINT provisioning_runs_wait_has_reason CHECK ((status = 'waiting') = (wait_reason IS NOT NULL)),
    CONSTRAINT provisioning_runs_wait_ends CHECK (status <> 'waiting' OR wait_reason = 'operator' OR (resume_at IS NOT NULL AND deadline_at IS NOT NULL)),
    FOREIGN KEY (tenant_id, vps_instance_id) REFERENCES vps_instances (tenant_id, id)
);
-- One live run per order: a second trigger joins it.
CREATE UNIQUE INDEX provisioning_runs_one_live ON provisioning_runs (tenant_id, kind, target) WHERE status IN ('pending','running','waiting');
CREATE INDEX idx_provisioning_runs_due ON provisioning_runs (resume_at) WHERE status = 'waiting' AND resume_at IS NOT NULL;
CREATE INDEX idx_provisioning_runs_vps ON provisioning_runs (tenant_id, vps_instance_id);
CREATE INDEX idx_provisioning_runs_open ON provisioning_runs (status, updated_at) WHERE status NOT IN ('succeeded','cancelled','rejected');
-- The row is the intent: committed before the outside call, answered after it.
CREATE TABLE provisioning_steps (
    id BIGSERIAL PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    run_id UUID NOT NULL, step_key VARCHAR(100) NOT NULL, ordinal INTEGER NOT NULL,
    status VARCHAR(20) NOT NULL DEFAULT 'pending' CHECK (status IN ('pending','running','waiting','unconfirmed','succeeded','failed','skipped')),
    intent JSONB NOT NULL DEFAULT '{}',          -- what is about to be asked for; no secrets
    external_ref TEXT,                           -- the outside system's id once known
    output JSONB NOT NULL DEFAULT '{}',          -- what a retry needs to resume
    started_at TIMESTAMP WITH TIME ZONE, finished_at TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    UNIQUE (run_id, step_key), UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES provisioning_runs (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX idx_provisioning_steps_tenant ON provisioning_steps (tenant_id, run_id);
CREATE TABLE provisioning_attempts (
    step_id BIGINT NOT NULL, attempt_number INTEGER NOT NULL CHECK (attempt_number > 0),
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    task_run_id UUID, outcome VARCHAR(20) CHECK (outcome IN ('succeeded','waiting','failed','unconfirmed','crashed')),
    error_type TEXT, error_message TEXT,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT clock_timestamp(), finished_at TIMESTAMP WITH TIME ZONE,
    duration INTERVAL GENERATED ALWAYS AS (finished_at - started_at) STORED,
    PRIMARY KEY (step_id, attempt_number),
    FOREIGN KEY (tenant_id, step_id) REFERENCES provisioning_steps (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX idx_provisioning_attempts_tenant ON provisioning_attempts (tenant_id, step_id);

-- Calls that cost money or cannot be undone: one row per order, found again by its token.
-- 'calling' is entered at most once per arming; an arming is the first time, or an operator's "was not created".
CREATE TABLE provider_orders (
    id BIGSERIAL PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    run_id UUID, vps_instance_id BIGINT NOT NULL,
    kind VARCHAR(20) NOT NULL CHECK (kind IN ('server','address','destroy')),
    token TEXT NOT NULL,                         -- server, destroy: vps_instances.instance_id; address: token/ordinal
    spec JSONB NOT NULL DEFAULT '{}',            -- plan, template, place, IPs held before; no secrets
    expected_amount DECIMAL(8,2) NOT NULL DEFAULT 0.00 CHECK (expected_amount >= 0), currency VARCHAR(3) NOT NULL DEFAULT 'USD',
    state VARCHAR(20) NOT NULL DEFAULT 'intended' CHECK (state IN
      ('intended','calling','accepted','unconfirmed','fulfilled','rejected','needs_operator','abandoned')),
    arming INTEGER NOT NULL DEFAULT 1 CHECK (arming > 0),
    claimed_by TEXT, claimed_at TIMESTAMP WITH TIME ZONE, called_at TIMESTAMP WITH TIME ZONE,
    external_ref TEXT,                           -- serviceid or address, once known
    evidence JSONB NOT NULL DEFAULT '{}', reason TEXT,
    next_look_at TIMESTAMP WITH TIME ZONE, look_until TIMESTAMP WITH TIME ZONE,      -- unconfirmed: hourly for 7 days
    decided_by TEXT, decision VARCHAR(20) CHECK (decision IN ('adopt','not_created','abandon')), decided_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(), updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    UNIQUE (kind, token),
    CONSTRAINT provider_orders_called_has_claim CHECK (state IN ('intended','rejected','needs_operator','abandoned','fulfilled') OR claimed_at IS NOT NULL),
    FOREIGN KEY (tenant_id, run_id) REFERENCES provisioning_runs (tenant_id, id) ON DELETE SET NULL (run_id),
    FOREIGN KEY (tenant_id, vps_instance_id) REFERENCES vps_instances (tenant_id, id)
);
CREATE INDEX idx_provider_orders_run ON provider_orders (tenant_id, run_id);
CREATE INDEX idx_provider_orders_vps ON provider_orders (tenant_id, vps_instance_id);
CREATE INDEX idx_provider_orders_open ON provider_orders (next_look_at) WHERE state IN ('intended','calling','accepted','unconfirmed','needs_operator');

-- One row per canary, written before it is sent, answered by what a mailbox we own received.
CREATE TABLE delivery_proofs (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    run_id UUID, domain_id BIGINT NOT NULL, smtp_ip_address_id BIGINT NOT NULL,
    receiver VARCHAR(255) NOT NULL, nonce TEXT NOT NULL UNIQUE, message_id VARCHAR(255) NOT NULL,
    verdict VARCHAR(10) NOT NULL DEFAULT 'unknown' CHECK (verdict IN ('pass','fail','unknown')),
    checks JSONB NOT NULL DEFAULT '{}',          -- spf, dkim per signature, dmarc, tls, helo = ptr = a: verdict and evidence each
    raw_message BYTEA,                           -- as fetched, Authentication-Results included
    sent_at TIMESTAMP WITH TIME ZONE, received_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    CONSTRAINT delivery_proofs_pass_has_message CHECK (verdict <> 'pass' OR raw_message IS NOT NULL),
    FOREIGN KEY (tenant_id, run_id) REFERENCES provisioning_runs (tenant_id, id) ON DELETE SET NULL (run_id),
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, smtp_ip_address_id) REFERENCES smtp_ip_addresses (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX idx_delivery_proofs_path ON delivery_proofs (tenant_id, domain_id, smtp_ip_address_id, created_at DESC);
CREATE INDEX idx_delivery_proofs_ip ON delivery_proofs (smtp_ip_address_id);
CREATE INDEX idx_delivery_proofs_run ON delivery_proofs (run_id);

-- Append-only trail of every status change: purchase, assignment, migration, pause, decommission.
CREATE TABLE infrastructure_events (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    subject_type VARCHAR(20) NOT NULL CHECK (subject_type IN ('tenant','subscription','run','order','vps','ip','domain','dkim_key','mailbox','warmup','secret')),
    subject_id TEXT NOT NULL, event VARCHAR(50) NOT NULL,
    from_status VARCHAR(50), to_status VARCHAR(50), reason TEXT, actor TEXT NOT NULL, flow_run_id UUID,
    details JSONB NOT NULL DEFAULT '{}', created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW()
);
CREATE INDEX idx_infrastructure_events_subject ON infrastructure_events (tenant_id, subject_type, subject_id, created_at DESC);
CREATE INDEX idx_infrastructure_events_at ON infrastructure_events USING brin (created_at);

SELECT isolate_tenant_table('provisioning_runs'), isolate_tenant_table('provisioning_steps'),
       isolate_tenant_table('provisioning_attempts'), isolate_tenant_table('provider_orders'),
       isolate_tenant_table('delivery_proofs'), isolate_tenant_table('infrastructure_events');
SELECT grant_table('provisioning_runs', 'read'), grant_table('provisioning_steps', 'read'),
       grant_table('provisioning_attempts', 'none'), grant_table('provider_orders', 'none'),
       grant_table('delivery_proofs', 'read'), grant_table('infrastructure_events', 'read');
-- Append-only: retention may delete old events, nobody rewrites one.
REVOKE UPDATE ON infrastructure_events FROM penguin_orchestrator;
