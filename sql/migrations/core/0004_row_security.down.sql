DO $$
DECLARE
  gone record;
  tbl text;
  seq regclass;
BEGIN
  FOREACH tbl IN ARRAY ARRAY['tenants', 'users', 'tenant_users', 'staff_members', 'staff_roles', 'staff_role_assignments',
    'plans', 'subscriptions', 'payments', 'vps_instances', 'smtp_ip_addresses', 'domains', 'email_accounts',
    'templates', 'campaigns', 'leads', 'emails'] LOOP
    FOR gone IN SELECT polname FROM pg_policy WHERE polrelid = tbl::regclass LOOP
      EXECUTE format('DROP POLICY %I ON %I', gone.polname, tbl);
    END LOOP;
    EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', tbl);
    EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', tbl);
    EXECUTE format('REVOKE ALL ON %I FROM penguin_app, penguin_orchestrator, penguin_backup', tbl);
    FOR seq IN SELECT objid FROM pg_depend WHERE refobjid = tbl::regclass AND deptype IN ('a', 'i')
                AND objid IN (SELECT oid FROM pg_class WHERE relkind = 'S') LOOP
      EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM penguin_app, penguin_orchestrator, penguin_backup', seq);
    END LOOP;
  END LOOP;
END $$;

DROP FUNCTION current_tenant_pk();
-- The other target may live in this database and still use them; then they stay.
DO $$
BEGIN
  DROP FUNCTION current_tenant_uuid(), isolate_tenant_table(regclass, name), grant_table(regclass, text);
EXCEPTION WHEN dependent_objects_still_exist THEN
  NULL;
END $$;
