DO $$
DECLARE
  gone record;
  tbl text;
  seq regclass;
BEGIN
  FOREACH tbl IN ARRAY ARRAY['email_opens', 'email_clicks', 'email_bounces', 'email_replies', 'email_complaints',
    'daily_analytics', 'warmup_interactions', 'warmup_daily_stats', 'job_queues', 'jobs', 'job_logs',
    'transactional_emails', 'notifications', 'system_notifications'] LOOP
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

-- The other target may live in this database and still use them; then they stay.
DO $$
BEGIN
  DROP FUNCTION current_tenant_uuid(), isolate_tenant_table(regclass, name), grant_table(regclass, text);
EXCEPTION WHEN dependent_objects_still_exist THEN
  NULL;
END $$;
