ALTER TABLE staff_role_assignments DROP COLUMN tenant_id;
ALTER TABLE staff_role_assignments
  ADD CONSTRAINT staff_role_assignments_staff_member_id_fkey FOREIGN KEY (staff_member_id) REFERENCES staff_members (id) ON DELETE CASCADE,
  ADD CONSTRAINT staff_role_assignments_role_id_fkey FOREIGN KEY (role_id) REFERENCES staff_roles (id) ON DELETE CASCADE;

ALTER TABLE emails
  DROP CONSTRAINT emails_campaign_id_fkey, DROP CONSTRAINT emails_email_account_id_fkey, DROP CONSTRAINT emails_lead_id_fkey,
  ADD CONSTRAINT emails_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES campaigns (id),
  ADD CONSTRAINT emails_email_account_id_fkey FOREIGN KEY (email_account_id) REFERENCES email_accounts (id),
  ADD CONSTRAINT emails_lead_id_fkey FOREIGN KEY (lead_id) REFERENCES leads (id);
ALTER TABLE payments DROP CONSTRAINT payments_subscription_id_fkey,
  ADD CONSTRAINT payments_subscription_id_fkey FOREIGN KEY (subscription_id) REFERENCES subscriptions (id);
ALTER TABLE campaigns DROP CONSTRAINT campaigns_template_id_fkey,
  ADD CONSTRAINT campaigns_template_id_fkey FOREIGN KEY (template_id) REFERENCES templates (id);

ALTER TABLE templates         DROP CONSTRAINT templates_tenant_key;
ALTER TABLE campaigns         DROP CONSTRAINT campaigns_tenant_key;
ALTER TABLE leads             DROP CONSTRAINT leads_tenant_key;
ALTER TABLE email_accounts    DROP CONSTRAINT email_accounts_tenant_key;
ALTER TABLE subscriptions     DROP CONSTRAINT subscriptions_tenant_key;
ALTER TABLE vps_instances     DROP CONSTRAINT vps_instances_tenant_key;
ALTER TABLE smtp_ip_addresses DROP CONSTRAINT smtp_ip_addresses_tenant_key;
ALTER TABLE domains           DROP CONSTRAINT domains_tenant_key;
ALTER TABLE staff_members     DROP CONSTRAINT staff_members_tenant_key;
ALTER TABLE staff_roles       DROP CONSTRAINT staff_roles_tenant_key;

ALTER TABLE users             ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE tenant_users      ALTER COLUMN tenant_id DROP NOT NULL, ALTER COLUMN user_id DROP NOT NULL;
ALTER TABLE staff_members     ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE staff_roles       ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE staff_role_assignments ALTER COLUMN staff_member_id DROP NOT NULL, ALTER COLUMN role_id DROP NOT NULL;
ALTER TABLE subscriptions     ALTER COLUMN tenant_id DROP NOT NULL, ALTER COLUMN plan_id DROP NOT NULL;
ALTER TABLE payments          ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE vps_instances     ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE smtp_ip_addresses ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE domains           ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE email_accounts    ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE templates         ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE campaigns         ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE leads             ALTER COLUMN tenant_id DROP NOT NULL;
ALTER TABLE emails            ALTER COLUMN tenant_id DROP NOT NULL;
