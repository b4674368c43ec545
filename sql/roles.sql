-- The four roles, the schema's rights, and ownership. Runs before every `migrate up` and before any restore: idempotent.
-- Roles belong to the cluster, not to a database, so two databases may run this at once: a duplicate is no failure.
DO $$
DECLARE wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['penguin_owner', 'penguin_app', 'penguin_orchestrator', 'penguin_backup'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
      END;
    END IF;
  END LOOP;
  IF NOT pg_has_role(current_user, 'penguin_owner', 'MEMBER') THEN
    EXECUTE format('GRANT penguin_owner TO %I', current_user);
  END IF;
  IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'penguin_backup') THEN
    BEGIN
      ALTER ROLE penguin_backup BYPASSRLS;
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE NOTICE 'BYPASSRLS is refused here: dump as penguin_orchestrator with --enable-row-security';
    END;
  END IF;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CREATE, USAGE ON SCHEMA public TO penguin_owner;
GRANT USAGE ON SCHEMA public TO penguin_app, penguin_orchestrator, penguin_backup;

-- A database that already holds the seed's tables hands them over; on ours nothing is left to hand.
DO $$
DECLARE tbl regclass;
BEGIN
  FOR tbl IN
    SELECT oid FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relowner <> 'penguin_owner'::regrole
       AND relname IN ('tenants', 'users', 'tenant_users', 'staff_members', 'staff_roles', 'staff_role_assignments',
                       'plans', 'subscriptions', 'payments', 'vps_instances', 'smtp_ip_addresses', 'domains',
                       'email_accounts', 'templates', 'campaigns', 'leads', 'emails', 'email_opens', 'email_clicks',
                       'email_bounces', 'email_replies', 'daily_analytics', 'warmup_interactions',
                       'warmup_daily_stats', 'job_queues', 'jobs', 'job_logs', 'transactional_emails',
                       'notifications', 'system_notifications')
  LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO penguin_owner', tbl);
  END LOOP;
END $$;
