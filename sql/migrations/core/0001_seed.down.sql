-- data-loss: every core row
DROP TABLE emails, leads, campaigns, templates, email_accounts, domains, smtp_ip_addresses, vps_instances, payments,
  subscriptions, plans, staff_role_assignments, staff_roles, staff_members, tenant_users, users, tenants;
