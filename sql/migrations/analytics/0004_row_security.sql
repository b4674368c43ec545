-- Row security of the analytics, queue and notification tables. Here tenant_id is tenants.tenant_id, a uuid, so this
-- target can live in a database of its own. The functions are the core's, word for word: both may share one database.
-- Undo: policies and rights go, the rows stay. Locks: ACCESS EXCLUSIVE on each table, no scan.
-- The tenant of this transaction: the uuid in app.current_tenant_id. Unset, and '' after a transaction-local
-- setting has ended, mean no tenant: no row. Not a uuid is an error, loud on purpose.
CREATE OR REPLACE FUNCTION current_tenant_uuid() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
  RETURN NULLIF(current_setting('app.current_tenant_id', true), '')::uuid;

-- Row security of one table. The policy is an initplan, `(SELECT f())`: evaluated once a query. A bare call runs
-- once a row, which was measured at 5,600 times the cost of a scan.
CREATE OR REPLACE FUNCTION isolate_tenant_table(tbl regclass, policy name DEFAULT 'tenant_isolation') RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  type_of_tenant regtype;
  own_rows text;
BEGIN
  SELECT atttypid::regtype INTO STRICT type_of_tenant FROM pg_attribute
   WHERE attrelid = tbl AND attname = 'tenant_id' AND NOT attisdropped;
  own_rows := CASE type_of_tenant
    WHEN 'uuid'::regtype THEN 'tenant_id = (SELECT current_tenant_uuid())'
    WHEN 'bigint'::regtype THEN 'tenant_id = (SELECT current_tenant_pk())' END;
  IF own_rows IS NULL THEN
    RAISE EXCEPTION 'tenant_id of % has type %: uuid or bigint is wanted', tbl, type_of_tenant;
  END IF;
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tbl);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tbl);
  EXECUTE format('CREATE POLICY %I ON %s TO penguin_app USING (%s) WITH CHECK (%s)', policy, tbl, own_rows, own_rows);
  EXECUTE format('CREATE POLICY orchestrator_all ON %s TO penguin_orchestrator USING (true) WITH CHECK (true)', tbl);
  -- FORCE binds the owner too: without this policy a back-fill in a migration changes 0 rows and says nothing.
  EXECUTE format('CREATE POLICY owner_all ON %s TO penguin_owner USING (true) WITH CHECK (true)', tbl);
END $$;

-- Rights on one table and its sequences. `app_reach` is what the product's back end may do: write, read or none.
CREATE OR REPLACE FUNCTION grant_table(tbl regclass, app_reach text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE seq regclass;
BEGIN
  IF app_reach NOT IN ('write', 'read', 'none') THEN
    RAISE EXCEPTION 'reach of %: % is none of write, read, none', tbl, app_reach;
  END IF;
  EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, penguin_app, penguin_orchestrator, penguin_backup', tbl);
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO penguin_orchestrator', tbl);
  EXECUTE format('GRANT SELECT ON %s TO penguin_backup', tbl);
  IF app_reach = 'write' THEN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO penguin_app', tbl);
  ELSIF app_reach = 'read' THEN
    EXECUTE format('GRANT SELECT ON %s TO penguin_app', tbl);
  END IF;
  FOR seq IN SELECT objid FROM pg_depend
              WHERE refobjid = tbl AND classid = 'pg_class'::regclass AND deptype IN ('a', 'i')
                AND objid IN (SELECT oid FROM pg_class WHERE relkind = 'S') LOOP
    EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE %s TO penguin_orchestrator', seq);
    EXECUTE format('GRANT SELECT ON SEQUENCE %s TO penguin_backup', seq);
    IF app_reach = 'write' THEN
      EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE %s TO penguin_app', seq);
    END IF;
  END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION isolate_tenant_table(regclass, name), grant_table(regclass, text) FROM PUBLIC;

SELECT isolate_tenant_table(name::regclass) FROM unnest(ARRAY['email_opens', 'email_clicks', 'email_bounces',
  'email_replies', 'email_complaints', 'daily_analytics', 'warmup_interactions', 'warmup_daily_stats',
  'transactional_emails', 'notifications', 'system_notifications']) AS name;

SELECT grant_table(name::regclass, 'write') FROM unnest(ARRAY['email_opens', 'email_clicks', 'email_bounces',
  'email_replies', 'email_complaints', 'daily_analytics', 'warmup_interactions', 'warmup_daily_stats',
  'transactional_emails', 'notifications', 'system_notifications']) AS name;
SELECT grant_table(name::regclass, 'none') FROM unnest(ARRAY['job_queues', 'jobs', 'job_logs']) AS name;
