-- data-loss: sending paths, DKIM keys, DNS history, domain state beyond the seed's columns
DROP TABLE dns_checks, dkim_keys, domain_ip_assignments;
DROP INDEX domains_one_primary, domains_live_key, idx_domains_dns_verification, idx_domains_dns_host_secret;
ALTER TABLE domains
  ALTER COLUMN verification_status DROP NOT NULL,
  DROP CONSTRAINT domains_status_known,
  DROP CONSTRAINT domains_name_lower,
  DROP CONSTRAINT domains_dns_label_key,
  DROP CONSTRAINT domains_dns_host_fkey,
  DROP COLUMN verification_token,
  DROP COLUMN verified_at,
  DROP COLUMN dns_last_verified_at,
  DROP COLUMN dns_next_check_at,
  DROP COLUMN dns_ttl_observed,
  DROP COLUMN dns_verification_error,
  DROP COLUMN dns_verification_attempts,
  DROP COLUMN manage_mx,
  DROP COLUMN dns_label,
  DROP COLUMN dns_host,
  DROP COLUMN dns_host_settings,
  DROP COLUMN dns_host_secret_id,
  DROP COLUMN updated_at;
