-- Campaigns: state words, lower-case addresses, one message a campaign and lead.
-- Undo: the rules go, the rows stay. Locks: ACCESS EXCLUSIVE, one scan each; two spellings of one address in a tenant, an
-- unknown word, or two messages of a campaign to one lead stop the file: `migrate doctor` lists the addresses.
UPDATE leads SET email = lower(email) WHERE email <> lower(email);
ALTER TABLE leads
  ADD CONSTRAINT leads_email_lower CHECK (email = lower(email));
ALTER TABLE campaigns ALTER COLUMN status SET NOT NULL,
  ADD CONSTRAINT campaigns_status_known CHECK (status IN ('draft', 'scheduled', 'running', 'paused', 'completed', 'cancelled')),
  ADD CONSTRAINT campaigns_scheduled_has_time CHECK (status <> 'scheduled' OR scheduled_at IS NOT NULL);
ALTER TABLE emails ALTER COLUMN status SET NOT NULL,
  ADD CONSTRAINT emails_status_known CHECK (status IN
    ('queued', 'sending', 'sent', 'deferred', 'bounced', 'failed', 'suppressed', 'cancelled')),
  ADD CONSTRAINT emails_sent_has_time CHECK (status <> 'sent' OR sent_at IS NOT NULL);
CREATE UNIQUE INDEX emails_campaign_lead_key ON emails (campaign_id, lead_id);
ALTER TABLE templates ADD CONSTRAINT templates_name_key UNIQUE (tenant_id, template_name);
