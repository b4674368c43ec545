-- Claims that are planned once, and jobs that are claimed by name.
-- 1. job_claim was planned anew at each call, and job_tenants parsed as well. Both keep one plan now. It is told which way
--    to go, for a plan that was made while the table was empty is kept while it grows. A locked row is written by its place
--    and not looked up again.
-- 2. A claim walked four times over the index entries of all jobs that were claimed since the last vacuum: for the class,
--    for its tenants on both sides of the ring's end, for the jobs. Now the first of each probe says where the next begins.
-- 3. A notice names the job that came alone. Whoever is idle takes it by its key, and walks over nothing: a look behind
--    175,000 of them took 25 ms.
-- Undo: as before. Locks: none.
-- Both are called by job_claim alone, and that gets a new body.
-- squawk-ignore ban-drop-function
DROP FUNCTION job_classes(text[]);
-- squawk-ignore ban-drop-function
DROP FUNCTION job_tenants(text, int, uuid, uuid, int);

-- Every (queue, priority) with queued jobs of the active queues asked for, best first, with its first tenant and when the
-- first job of that is due: one probe each.
CREATE FUNCTION job_classes(p_queues text[]) RETURNS TABLE (queue varchar, priority int, tenant uuid, since timestamptz)
LANGUAGE sql STABLE AS $$
  WITH RECURSIVE walk(queue, priority, tenant, since) AS (
    SELECT a.name, f.priority, f.tenant, f.run_at
      FROM job_queues a CROSS JOIN LATERAL (
        SELECT j.priority, coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) AS tenant, j.run_at
          FROM jobs j WHERE j.queue_name = a.name AND j.status = 'queued'
         ORDER BY j.priority, coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid), j.run_at, j.id LIMIT 1) f
     WHERE a.name = ANY(p_queues) AND a.is_active
    UNION ALL
    SELECT w.queue, f.priority, f.tenant, f.run_at
      FROM walk w CROSS JOIN LATERAL (
        SELECT j.priority, coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) AS tenant, j.run_at
          FROM jobs j WHERE j.queue_name = w.queue AND j.status = 'queued' AND j.priority > w.priority
         ORDER BY j.priority, coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid), j.run_at, j.id LIMIT 1) f)
  SELECT queue, priority, tenant, since FROM walk ORDER BY priority, random()
$$;

-- Up to `most` tenants with queued jobs of one queue and priority, in order, with when the first job of each is due: after
-- `after`, not after `until` (NULL: no end). `first` is known to be the first of all.
CREATE FUNCTION job_tenants(p_queue text, p_priority int, first uuid, first_since timestamptz, after uuid, until uuid,
                            most int, OUT tenants uuid[], OUT since timestamptz[])
LANGUAGE plpgsql STABLE AS $$
BEGIN
  WITH RECURSIVE walk(tenant, due) AS (
    (SELECT first, first_since WHERE first > after
      UNION ALL
     (SELECT coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid), j.run_at FROM jobs j
       WHERE first <= after AND j.queue_name = p_queue AND j.priority = p_priority AND j.status = 'queued'
         AND coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) > after
       ORDER BY coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid), j.run_at, j.id LIMIT 1))
    UNION ALL
    SELECT n.tenant, n.run_at
      FROM walk CROSS JOIN LATERAL (
        SELECT coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) AS tenant, j.run_at FROM jobs j
         WHERE j.queue_name = p_queue AND j.priority = p_priority AND j.status = 'queued'
           AND coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) > walk.tenant
         ORDER BY coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid), j.run_at, j.id LIMIT 1) n
     WHERE until IS NULL OR walk.tenant < until)
  SELECT array_agg(w.tenant), array_agg(w.due) INTO tenants, since
    FROM (SELECT tenant, due FROM walk WHERE until IS NULL OR tenant <= until LIMIT most) w;
END $$;

CREATE OR REPLACE FUNCTION job_claim(p_queues text[], p_worker text, p_limit int, p_lease interval DEFAULT '60 seconds')
RETURNS SETOF jobs LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off AS $$
DECLARE
  class record;
  begun uuid;         -- where this worker's ring begins and ends
  place uuid;         -- the last tenant who had a turn
  turn record;        -- tenants, and since when each has jobs
  room int;
  wanted int := p_limit;
  taken int;
  taken_in_lap int;
  wrapped boolean;
  lap_ends boolean;
BEGIN
  FOR class IN SELECT * FROM job_classes(p_queues) LOOP
    begun := gen_random_uuid();
    place := begun;
    wrapped := false;
    taken_in_lap := 0;
    WHILE wanted > 0 LOOP
      room := greatest(wanted, 50);
      SELECT t.tenants, t.since INTO turn
        FROM job_tenants(class.queue, class.priority, class.tenant, class.since, place, CASE WHEN wrapped THEN begun END,
                         room) t;
      IF NOT wrapped AND coalesce(cardinality(turn.tenants), 0) < room THEN
        wrapped := true;
        SELECT turn.tenants || t.tenants AS tenants, turn.since || t.since AS since INTO turn
          FROM job_tenants(class.queue, class.priority, class.tenant, class.since,
                           '00000000-0000-0000-0000-000000000000', begun,
                           room - coalesce(cardinality(turn.tenants), 0)) t;
      END IF;
      lap_ends := wrapped AND coalesce(cardinality(turn.tenants), 0) < room;
      IF turn.tenants IS NOT NULL THEN
        RETURN QUERY
          UPDATE jobs j SET status = 'running', worker_id = p_worker, attempt_count = j.attempt_count + 1,
                 started_at = clock_timestamp(), lease_expires_at = clock_timestamp() + p_lease, updated_at = clock_timestamp()
            FROM (SELECT due.place FROM unnest(turn.tenants, turn.since) t(tenant, since) CROSS JOIN LATERAL (
                    SELECT d.ctid AS place FROM jobs d
                     WHERE d.queue_name = class.queue AND d.priority = class.priority AND d.status = 'queued'
                       AND coalesce(d.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) = t.tenant
                       AND d.run_at >= t.since AND d.run_at <= now()
                     ORDER BY coalesce(d.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid), d.run_at, d.id
                     LIMIT greatest(1, wanted / cardinality(turn.tenants)) FOR UPDATE SKIP LOCKED) due
                  LIMIT wanted) chosen
           WHERE j.ctid = chosen.place
          RETURNING j.*;
        GET DIAGNOSTICS taken = ROW_COUNT;
        wanted := wanted - taken;
        taken_in_lap := taken_in_lap + taken;
        place := turn.tenants[cardinality(turn.tenants)];
      END IF;
      IF lap_ends THEN
        EXIT WHEN taken_in_lap = 0;   -- a whole round gave nothing: this class is empty, delayed or locked
        place := begun;
        wrapped := false;
        taken_in_lap := 0;
      END IF;
    END LOOP;
    EXIT WHEN wanted <= 0;
  END LOOP;
END $$;

-- Jobs by their keys, for a worker that heard of them and knows of nothing else that is due.
CREATE FUNCTION job_claim_named(p_ids uuid[], p_queues text[], p_worker text, p_limit int, p_lease interval)
RETURNS SETOF jobs LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off AS $$
BEGIN
  RETURN QUERY
    UPDATE jobs j SET status = 'running', worker_id = p_worker, attempt_count = j.attempt_count + 1,
           started_at = clock_timestamp(), lease_expires_at = clock_timestamp() + p_lease, updated_at = clock_timestamp()
      FROM (SELECT d.place FROM unnest(p_ids) named(id)
             CROSS JOIN LATERAL (   -- by its key: nothing else is said here that an index would serve
               SELECT ctid AS place, queue_name, status, priority, run_at FROM jobs WHERE jobs.id = named.id
                  FOR UPDATE SKIP LOCKED) d
              JOIN job_queues q ON q.name = d.queue_name AND q.is_active
             WHERE d.queue_name = ANY(p_queues) AND d.status = 'queued' AND d.run_at <= clock_timestamp()
             ORDER BY d.priority, d.run_at LIMIT p_limit) due
     WHERE j.ctid = due.place
    RETURNING j.*;
END $$;

ALTER FUNCTION job_finish(text, uuid[], int[])
  SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off;

-- One NOTIFY per INSERT statement and queue: the queue, and the job's key when it is one. Retried, delayed and reaped jobs
-- are found by looking.
CREATE OR REPLACE FUNCTION jobs_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('jobs', CASE count(*) WHEN 1 THEN queue_name || ' ' || min(id::text) ELSE queue_name END)
     FROM new_jobs WHERE status = 'queued' AND run_at <= clock_timestamp() GROUP BY queue_name;
  RETURN NULL;
END $$;

REVOKE EXECUTE ON FUNCTION job_claim_named, job_classes, job_tenants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION job_claim_named, job_classes, job_tenants TO penguin_orchestrator;
