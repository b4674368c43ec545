-- data-loss: suppressions, mailbox state beyond the seed's columns
DROP TABLE suppressions;
DROP INDEX email_accounts_address_key, idx_email_accounts_domain, idx_email_accounts_owner, idx_email_accounts_secret;
ALTER TABLE email_accounts
  ALTER COLUMN status DROP NOT NULL,
  ALTER COLUMN warmup_status DROP NOT NULL,
  DROP CONSTRAINT email_accounts_addr_lower,
  DROP CONSTRAINT email_accounts_status_known,
  DROP CONSTRAINT email_accounts_warmup_known,
  DROP CONSTRAINT email_accounts_domain_fkey,
  DROP CONSTRAINT email_accounts_owner_fkey,
  DROP CONSTRAINT email_accounts_password_fkey,
  DROP COLUMN domain_id,
  DROP COLUMN owner_user_id,
  DROP COLUMN password_secret_id,
  DROP COLUMN provider,
  DROP COLUMN quota_mb,
  DROP COLUMN smtp_settings,
  DROP COLUMN imap_settings,
  DROP COLUMN status_reason,
  DROP COLUMN last_warmed,
  DROP COLUMN updated_at;
