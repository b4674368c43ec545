-- Runs of equal answers: what is doubted or not confirmed yet stands on the open run, and when to look again; each
-- subject keeps the time of its next look, which is what workers claim.
-- Undo: the added columns and what they say go. Locks: ACCESS EXCLUSIVE, no scan: every default is constant or NOW().
ALTER TABLE blacklist_checks
  ADD COLUMN tier INTEGER CHECK (tier BETWEEN 1 AND 3),
  ADD COLUMN effect VARCHAR(10) CHECK (effect IN ('listed','policy','age')),
  ADD COLUMN contrary VARCHAR(80), ADD COLUMN contrary_since TIMESTAMP WITH TIME ZONE,   -- another answer, not confirmed yet
  ADD COLUMN unknown_reason VARCHAR(50),
  ADD COLUMN next_check_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD COLUMN announced VARCHAR(10) NOT NULL DEFAULT '' CHECK (announced IN ('','listed','ended')),   -- what people were told
  ADD CONSTRAINT blacklist_checks_contrary_has_a_time CHECK ((contrary IS NULL) = (contrary_since IS NULL)),
  ADD CONSTRAINT blacklist_checks_listing_has_a_class CHECK (verdict <> 'fail' OR (tier IS NOT NULL AND effect IS NOT NULL AND blacklist_category IS NOT NULL));
CREATE INDEX idx_blacklist_checks_untold ON blacklist_checks (id)
  WHERE verdict = 'fail' AND ((ended_at IS NULL AND announced = '') OR (ended_at IS NOT NULL AND announced = 'listed'));

ALTER TABLE smtp_ip_addresses ADD COLUMN blacklist_next_check_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW();
ALTER TABLE domains ADD COLUMN blacklist_next_check_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD COLUMN provider_blacklist_status JSONB NOT NULL DEFAULT '{}';
CREATE INDEX idx_smtp_ip_addresses_blacklist_due ON smtp_ip_addresses (blacklist_next_check_at, tenant_id, id) WHERE status <> 'released';
CREATE INDEX idx_domains_blacklist_due ON domains (blacklist_next_check_at, tenant_id, id) WHERE verification_status <> 'deleted';
