-- Screening of addresses before they are used: what blocklists say of each address a server was seen with, and the word of
-- a person who takes one whose standing cannot be known. An address in use is watched by blacklist_checks instead.
-- And one domain leaves from one address: a second active assignment is refused.
-- Undo: verdicts and words go. Locks: SHARE on domain_ip_assignments while its index is built.
CREATE TABLE address_screenings (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE,
    vps_instance_id BIGINT NOT NULL,
    ip_address INET NOT NULL CHECK (ip_address = host(ip_address)::inet),
    verdict VARCHAR(10) NOT NULL CHECK (verdict IN ('pass', 'fail', 'unknown')),
    fix TEXT NOT NULL DEFAULT '',               -- expected, found, and what to do; empty when clean
    found TEXT[] NOT NULL DEFAULT '{}',         -- lists and codes
    screened_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    accepted_by TEXT, accepted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT address_screenings_accepted_whole CHECK ((accepted_by IS NULL) = (accepted_at IS NULL)),
    UNIQUE (tenant_id, vps_instance_id, ip_address),
    FOREIGN KEY (tenant_id, vps_instance_id) REFERENCES vps_instances (tenant_id, id) ON DELETE CASCADE
);
SELECT isolate_tenant_table('address_screenings');
SELECT grant_table('address_screenings', 'none');
CREATE UNIQUE INDEX domain_ip_assignments_one_active ON domain_ip_assignments (domain_id) WHERE status = 'active';
