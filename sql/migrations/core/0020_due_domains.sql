-- Due domains are claimed fairly: a walk from tenant to tenant needs each tenant's own next check.
-- Undo: claims go by time alone. Locks: SHARE on domains while the index is built.
CREATE INDEX idx_domains_tenant_dns_due ON domains (tenant_id, dns_next_check_at) WHERE verification_status <> 'deleted';
