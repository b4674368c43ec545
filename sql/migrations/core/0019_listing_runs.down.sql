-- data-loss: doubts and confirmations of listings, and what people were told of them
DROP INDEX idx_domains_blacklist_due, idx_smtp_ip_addresses_blacklist_due, idx_blacklist_checks_untold;
ALTER TABLE domains DROP COLUMN provider_blacklist_status, DROP COLUMN blacklist_next_check_at;
ALTER TABLE smtp_ip_addresses DROP COLUMN blacklist_next_check_at;
ALTER TABLE blacklist_checks
  DROP CONSTRAINT blacklist_checks_listing_has_a_class, DROP CONSTRAINT blacklist_checks_contrary_has_a_time,
  DROP COLUMN announced, DROP COLUMN next_check_at, DROP COLUMN unknown_reason, DROP COLUMN contrary_since,
  DROP COLUMN contrary, DROP COLUMN effect, DROP COLUMN tier;
