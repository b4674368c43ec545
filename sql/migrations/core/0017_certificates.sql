-- Certificates: orders at an ACME authority, remembered before it is asked, and when each server's certificate is due.
-- The authority's published limits are counted from these rows.
-- Undo: open orders are forgotten (the authority lets them lapse) and so are the counts. Locks: ACCESS EXCLUSIVE on
-- vps_instances for the time of its catalog entry.
CREATE TABLE acme_orders (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    vps_instance_id BIGINT NOT NULL,
    directory TEXT NOT NULL,                     -- the authority, by its directory's address
    names TEXT[] NOT NULL CHECK (cardinality(names) > 0),   -- host names in order of the alphabet: one set, one text
    zones TEXT[] NOT NULL,                       -- registered domains they count against
    renews BOOLEAN NOT NULL,                     -- the very same names were certified before
    state VARCHAR(20) NOT NULL DEFAULT 'intended' CHECK (state IN ('intended', 'placed', 'issued', 'failed', 'abandoned')),
    order_url TEXT,                              -- the authority's name for it, once it answered
    problems JSONB NOT NULL DEFAULT '[]',        -- [{kind, detail, name}], the authority's own words
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT clock_timestamp(),
    ended_at TIMESTAMP WITH TIME ZONE,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, vps_instance_id) REFERENCES vps_instances (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT acme_orders_placed_has_url CHECK (state <> 'placed' OR order_url IS NOT NULL),
    CONSTRAINT acme_orders_end_has_time CHECK ((state IN ('intended', 'placed')) = (ended_at IS NULL))
);
CREATE UNIQUE INDEX acme_orders_one_open ON acme_orders (vps_instance_id) WHERE state IN ('intended', 'placed');
CREATE INDEX idx_acme_orders_server ON acme_orders (tenant_id, vps_instance_id, id DESC);
CREATE INDEX idx_acme_orders_counted ON acme_orders (directory, created_at);

ALTER TABLE vps_instances
  ADD COLUMN certificate_ends_at TIMESTAMP WITH TIME ZONE,     -- of the certificate it shows
  ADD COLUMN certificate_due_at TIMESTAMP WITH TIME ZONE;      -- next look; NULL: never looked, due at once
CREATE INDEX idx_vps_instances_certificate ON vps_instances (certificate_due_at NULLS FIRST)
 WHERE configuration ? 'certificate_pem' AND status NOT IN ('scheduled_decommission', 'decommissioned');

SELECT isolate_tenant_table('acme_orders');
SELECT grant_table('acme_orders', 'none');
