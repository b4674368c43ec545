-- Fair claims: within a priority the tenants take turns, so 50,000 due jobs of one do not starve the others.
-- Priority stays strict: a better one of any queue asked for goes first. The turn begins at a random tenant, so workers
-- need no common memory. The index walks from tenant to tenant (one probe each) and, inside a tenant, by due time: jobs
-- of the far future are not walked over. Jobs of no tenant are the platform's and take turns as one more tenant.
-- Undo: claims go by priority and time alone. Locks: SHARE on jobs while the index is built.
DROP INDEX idx_jobs_dequeue;
CREATE INDEX idx_jobs_dequeue ON jobs
  (queue_name, priority, (coalesce(tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)), run_at, id)
  WHERE status = 'queued';

-- Up to `most` tenants with queued jobs of one queue and priority, in order, after `after`.
CREATE FUNCTION job_tenants(p_queue text, p_priority int, after uuid, most int) RETURNS uuid[] LANGUAGE sql STABLE AS $$
  WITH RECURSIVE walk(tenant) AS (
    (SELECT coalesce(tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) FROM jobs
      WHERE queue_name = p_queue AND priority = p_priority AND status = 'queued'
        AND coalesce(tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) > after
      ORDER BY coalesce(tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) LIMIT 1)
    UNION ALL
    SELECT (SELECT coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) FROM jobs j
             WHERE j.queue_name = p_queue AND j.priority = p_priority AND j.status = 'queued'
               AND coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) > walk.tenant
             ORDER BY coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) LIMIT 1)
      FROM walk WHERE walk.tenant IS NOT NULL)
  SELECT array_agg(tenant) FROM (SELECT tenant FROM walk WHERE tenant IS NOT NULL LIMIT most) w
$$;

-- Every (queue, priority) with queued jobs of the active queues asked for, best first: one probe each.
CREATE FUNCTION job_classes(p_queues text[]) RETURNS TABLE (queue varchar, priority int) LANGUAGE sql STABLE AS $$
  WITH RECURSIVE walk(queue, priority) AS (
    SELECT a.name, (SELECT min(j.priority) FROM jobs j WHERE j.queue_name = a.name AND j.status = 'queued')
      FROM job_queues a WHERE a.name = ANY(p_queues) AND a.is_active
    UNION ALL
    SELECT w.queue, (SELECT min(j.priority) FROM jobs j
                      WHERE j.queue_name = w.queue AND j.status = 'queued' AND j.priority > w.priority)
      FROM walk w WHERE w.priority IS NOT NULL)
  SELECT queue, priority FROM walk WHERE priority IS NOT NULL ORDER BY priority, random()
$$;

CREATE OR REPLACE FUNCTION job_claim(p_queues text[], p_worker text, p_limit int, p_lease interval DEFAULT '60 seconds')
RETURNS SETOF jobs LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  class record;
  place uuid;         -- the last tenant who had a turn
  turn uuid[];
  wanted int := p_limit;
  taken int;
  taken_in_lap int;
  lapped boolean;
BEGIN
  FOR class IN SELECT * FROM job_classes(p_queues) LOOP
    place := gen_random_uuid();
    lapped := false;
    taken_in_lap := 0;
    WHILE wanted > 0 LOOP
      turn := job_tenants(class.queue, class.priority, place, greatest(wanted, 50));
      IF turn IS NULL THEN
        EXIT WHEN lapped AND taken_in_lap = 0;   -- a whole round gave nothing: this class is empty, delayed or locked
        lapped := true;
        taken_in_lap := 0;
        place := '00000000-0000-0000-0000-000000000000';
        CONTINUE;
      END IF;
      RETURN QUERY
        UPDATE jobs j SET status = 'running', worker_id = p_worker, attempt_count = j.attempt_count + 1,
               started_at = clock_timestamp(), lease_expires_at = clock_timestamp() + p_lease, updated_at = clock_timestamp()
          FROM (SELECT due.id FROM unnest(turn) t(tenant) CROSS JOIN LATERAL (
                  SELECT d.id FROM jobs d
                   WHERE d.queue_name = class.queue AND d.priority = class.priority AND d.status = 'queued'
                     AND coalesce(d.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) = t.tenant
                     AND d.run_at <= clock_timestamp()
                   ORDER BY d.run_at, d.id LIMIT greatest(1, wanted / cardinality(turn)) FOR UPDATE SKIP LOCKED) due
                LIMIT wanted) chosen
         WHERE j.id = chosen.id
        RETURNING j.*;
      GET DIAGNOSTICS taken = ROW_COUNT;
      wanted := wanted - taken;
      taken_in_lap := taken_in_lap + taken;
      place := turn[cardinality(turn)];
    END LOOP;
    EXIT WHEN wanted <= 0;
  END LOOP;
END $$;

-- An operator's end of a job: a running one is noticed by its worker, whose heartbeat finds it no longer.
CREATE FUNCTION job_cancel(p_ids uuid[], p_actor text) RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
  WITH u AS (UPDATE jobs SET status = 'cancelled', lease_expires_at = NULL, worker_id = NULL, updated_at = clock_timestamp(),
               last_error_message = 'cancelled by ' || p_actor
             WHERE id = ANY(p_ids) AND status IN ('queued', 'running') RETURNING id, attempt_count),
  logged AS (INSERT INTO job_logs (job_id, status, log_message, attempt_number)
             SELECT id, 'cancelled', 'by ' || p_actor, attempt_count FROM u)
  SELECT id FROM u
$$;

REVOKE EXECUTE ON FUNCTION job_claim, job_cancel, job_tenants, job_classes FROM PUBLIC;
GRANT EXECUTE ON FUNCTION job_claim, job_cancel, job_tenants, job_classes TO penguin_orchestrator;
