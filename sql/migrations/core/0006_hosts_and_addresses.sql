-- Hosts and addresses: reach, place, cost and state of a server; link, PTR, egress and reputation of an address.
-- A server row stands before the provider answers, so its address may be empty until it is active.
-- Undo: the added columns and the truth in them go. Locks: ACCESS EXCLUSIVE, one scan each for the CHECKs.
ALTER TABLE vps_instances ALTER COLUMN ip_address DROP NOT NULL,
  ADD COLUMN hostname VARCHAR(255), ADD COLUMN region VARCHAR(50),
  ADD COLUMN approximate_cost DECIMAL(8,2) NOT NULL DEFAULT 0.00 CHECK (approximate_cost >= 0),
  ADD COLUMN hostwinds_billing_day INTEGER CHECK (hostwinds_billing_day BETWEEN 1 AND 31),
  ADD COLUMN current_billing_period_start DATE, ADD COLUMN current_billing_period_end DATE,
  ADD COLUMN decommission_scheduled_for TIMESTAMP WITH TIME ZONE,
  ADD COLUMN ssh_port INTEGER NOT NULL DEFAULT 22, ADD COLUMN ssh_host_key TEXT, ADD COLUMN ssh_key_secret_id UUID,
  ADD COLUMN key_login_at TIMESTAMP WITH TIME ZONE,             -- our key works and the password path is closed for ever
  ADD COLUMN health_status VARCHAR(20) NOT NULL DEFAULT 'unknown' CHECK (health_status IN ('unknown','healthy','degraded','critical')),
  ADD COLUMN last_health_check TIMESTAMP WITH TIME ZONE,
  ADD COLUMN provisioned_at TIMESTAMP WITH TIME ZONE, ADD COLUMN converged_at TIMESTAMP WITH TIME ZONE,
  ADD COLUMN decommissioned_at TIMESTAMP WITH TIME ZONE,
  ALTER COLUMN status SET NOT NULL,
  ADD CONSTRAINT vps_instances_status_known CHECK (status IN
    ('requested','provisioning','active','maintenance','suspended','failed','scheduled_decommission','decommissioned')),
  ADD CONSTRAINT vps_instances_ip_once_ready CHECK (ip_address IS NOT NULL OR status NOT IN ('active','maintenance','suspended')),
  ADD CONSTRAINT vps_instances_ip_is_host CHECK (ip_address = host(ip_address)::inet),
  ADD CONSTRAINT vps_instances_hostwind_id_key UNIQUE (hostwind_id),
  ADD CONSTRAINT vps_instances_ssh_key_fkey FOREIGN KEY (tenant_id, ssh_key_secret_id) REFERENCES secrets (tenant_id, id);
CREATE INDEX idx_vps_instances_ssh_key ON vps_instances (ssh_key_secret_id);
CREATE INDEX idx_vps_instances_cost ON vps_instances (tenant_id, approximate_cost) WHERE status = 'active';

UPDATE smtp_ip_addresses SET status = 'assigned' WHERE status = 'active';   -- the seed's default has no place in the later list
ALTER TABLE smtp_ip_addresses ALTER COLUMN status SET DEFAULT 'available', ALTER COLUMN status SET NOT NULL,
  ADD COLUMN vps_instance_id BIGINT, ADD COLUMN hostwinds_ip_id VARCHAR(255),
  ADD COLUMN approximate_cost DECIMAL(6,2) NOT NULL DEFAULT 0.00 CHECK (approximate_cost >= 0),
  ADD COLUMN rdns_hostname VARCHAR(255), ADD COLUMN rdns_checked_at TIMESTAMP WITH TIME ZONE,
  ADD COLUMN rdns_verdict VARCHAR(10) NOT NULL DEFAULT 'unknown' CHECK (rdns_verdict IN ('pass','fail','unknown')),
  ADD COLUMN egress_checked_at TIMESTAMP WITH TIME ZONE,        -- port 25 outwards from this address
  ADD COLUMN egress_verdict VARCHAR(10) NOT NULL DEFAULT 'unknown' CHECK (egress_verdict IN ('pass','fail','unknown')),
  ADD COLUMN reputation_state VARCHAR(20) CHECK (reputation_state IN ('good','fair','poor','critical')),   -- NULL: unknown
  ADD COLUMN last_reputation_check TIMESTAMP WITH TIME ZONE,                                             -- NULL: score means nothing yet
  ADD COLUMN provider_blacklist_status JSONB NOT NULL DEFAULT '{}',
  ADD COLUMN released_at TIMESTAMP WITH TIME ZONE, ADD COLUMN updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD CONSTRAINT smtp_ip_addresses_status_known CHECK (status IN
    ('available','assigned','warming','warmed','degraded','burned','quarantined','released')),
  ADD CONSTRAINT smtp_ip_addresses_ip_is_host CHECK (ip_address = host(ip_address)::inet),
  ADD CONSTRAINT smtp_ip_addresses_reputation_range CHECK (reputation_score BETWEEN 0 AND 100),
  ADD CONSTRAINT smtp_ip_addresses_vps_fkey FOREIGN KEY (tenant_id, vps_instance_id) REFERENCES vps_instances (tenant_id, id);
CREATE INDEX idx_smtp_ip_addresses_vps ON smtp_ip_addresses (vps_instance_id);
CREATE INDEX idx_smtp_ip_addresses_due ON smtp_ip_addresses (last_reputation_check NULLS FIRST) WHERE status <> 'released';
-- One live owner per address in the whole system; the seed only says: per tenant.
CREATE UNIQUE INDEX smtp_ip_addresses_live_key ON smtp_ip_addresses (ip_address) WHERE status <> 'released';

