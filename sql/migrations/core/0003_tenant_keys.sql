-- Every row belongs to a tenant, and a reference cannot leave its tenant.
-- A foreign key is checked without row security, so only a composite key stops campaign 5 of tenant 1 from using
-- template 9 of tenant 2. Rows without a tenant stop this file: `migrate doctor` lists them, nobody guesses.
-- Undo: the seed's single-column keys return. Locks: ACCESS EXCLUSIVE on each table, one scan each.
ALTER TABLE users             ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE tenant_users      ALTER COLUMN tenant_id SET NOT NULL, ALTER COLUMN user_id SET NOT NULL;
ALTER TABLE staff_members     ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE staff_roles       ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE staff_role_assignments ALTER COLUMN staff_member_id SET NOT NULL, ALTER COLUMN role_id SET NOT NULL;
ALTER TABLE subscriptions     ALTER COLUMN tenant_id SET NOT NULL, ALTER COLUMN plan_id SET NOT NULL;
ALTER TABLE payments          ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE vps_instances     ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE smtp_ip_addresses ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE domains           ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE email_accounts    ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE templates         ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE campaigns         ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE leads             ALTER COLUMN tenant_id SET NOT NULL;
ALTER TABLE emails            ALTER COLUMN tenant_id SET NOT NULL;

ALTER TABLE templates         ADD CONSTRAINT templates_tenant_key         UNIQUE (tenant_id, id);
ALTER TABLE campaigns         ADD CONSTRAINT campaigns_tenant_key         UNIQUE (tenant_id, id);
ALTER TABLE leads             ADD CONSTRAINT leads_tenant_key             UNIQUE (tenant_id, id);
ALTER TABLE email_accounts    ADD CONSTRAINT email_accounts_tenant_key    UNIQUE (tenant_id, id);
ALTER TABLE subscriptions     ADD CONSTRAINT subscriptions_tenant_key     UNIQUE (tenant_id, id);
ALTER TABLE vps_instances     ADD CONSTRAINT vps_instances_tenant_key     UNIQUE (tenant_id, id);
ALTER TABLE smtp_ip_addresses ADD CONSTRAINT smtp_ip_addresses_tenant_key UNIQUE (tenant_id, id);
ALTER TABLE domains           ADD CONSTRAINT domains_tenant_key           UNIQUE (tenant_id, id);
ALTER TABLE staff_members     ADD CONSTRAINT staff_members_tenant_key     UNIQUE (tenant_id, id);
ALTER TABLE staff_roles       ADD CONSTRAINT staff_roles_tenant_key       UNIQUE (tenant_id, id);

ALTER TABLE campaigns DROP CONSTRAINT campaigns_template_id_fkey,
  ADD CONSTRAINT campaigns_template_id_fkey FOREIGN KEY (tenant_id, template_id) REFERENCES templates (tenant_id, id);
ALTER TABLE payments DROP CONSTRAINT payments_subscription_id_fkey,
  ADD CONSTRAINT payments_subscription_id_fkey FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions (tenant_id, id);
-- Deleting a lead, mailbox or campaign neither fails on nor destroys the send record.
ALTER TABLE emails
  DROP CONSTRAINT emails_campaign_id_fkey, DROP CONSTRAINT emails_email_account_id_fkey, DROP CONSTRAINT emails_lead_id_fkey,
  ADD CONSTRAINT emails_campaign_id_fkey      FOREIGN KEY (tenant_id, campaign_id)      REFERENCES campaigns (tenant_id, id)      ON DELETE SET NULL (campaign_id),
  ADD CONSTRAINT emails_email_account_id_fkey FOREIGN KEY (tenant_id, email_account_id) REFERENCES email_accounts (tenant_id, id) ON DELETE SET NULL (email_account_id),
  ADD CONSTRAINT emails_lead_id_fkey          FOREIGN KEY (tenant_id, lead_id)          REFERENCES leads (tenant_id, id)          ON DELETE SET NULL (lead_id);

ALTER TABLE staff_role_assignments ADD COLUMN tenant_id BIGINT REFERENCES tenants(id) ON DELETE CASCADE;
UPDATE staff_role_assignments a SET tenant_id = m.tenant_id FROM staff_members m WHERE m.id = a.staff_member_id;
ALTER TABLE staff_role_assignments ALTER COLUMN tenant_id SET NOT NULL,
  DROP CONSTRAINT staff_role_assignments_staff_member_id_fkey, DROP CONSTRAINT staff_role_assignments_role_id_fkey,
  ADD CONSTRAINT staff_role_assignments_staff_member_id_fkey FOREIGN KEY (tenant_id, staff_member_id) REFERENCES staff_members (tenant_id, id) ON DELETE CASCADE,
  ADD CONSTRAINT staff_role_assignments_role_id_fkey         FOREIGN KEY (tenant_id, role_id)         REFERENCES staff_roles (tenant_id, id)   ON DELETE CASCADE;
CREATE INDEX idx_staff_role_assignments_tenant ON staff_role_assignments (tenant_id, role_id);

