DROP FUNCTION job_claim_named(uuid[], text[], text, int, interval);
DROP FUNCTION job_classes(text[]);
DROP FUNCTION job_tenants(text, int, uuid, timestamptz, uuid, uuid, int);
ALTER FUNCTION job_finish(text, uuid[], int[]) RESET ALL;
CREATE OR REPLACE FUNCTION jobs_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('jobs', q) FROM (SELECT DISTINCT queue_name AS q FROM new_jobs WHERE status = 'queued' AND run_at <= clock_timestamp()) s;
  RETURN NULL;
END $$;
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
CREATE FUNCTION job_tenants(p_queue text, p_priority int, after uuid, until uuid, most int) RETURNS uuid[]
LANGUAGE sql STABLE AS $$
  WITH RECURSIVE walk(tenant) AS (
    (SELECT coalesce(tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) FROM jobs
      WHERE queue_name = p_queue AND priority = p_priority AND status = 'queued' AND coalesce(tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) > after
      ORDER BY coalesce(tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) LIMIT 1)
    UNION ALL
    SELECT (SELECT coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) FROM jobs j
             WHERE j.queue_name = p_queue AND j.priority = p_priority AND j.status = 'queued'
               AND coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) > walk.tenant
             ORDER BY coalesce(j.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) LIMIT 1)
      FROM walk WHERE walk.tenant IS NOT NULL AND (until IS NULL OR walk.tenant <= until))
  SELECT array_agg(tenant)
    FROM (SELECT tenant FROM walk WHERE tenant IS NOT NULL AND (until IS NULL OR tenant <= until) LIMIT most) w
$$;
CREATE OR REPLACE FUNCTION job_claim(p_queues text[], p_worker text, p_limit int, p_lease interval DEFAULT '60 seconds')
RETURNS SETOF jobs LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  class record;
  begun uuid;         -- where this worker's ring begins and ends
  place uuid;         -- the last tenant who had a turn
  turn uuid[];
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
      turn := job_tenants(class.queue, class.priority, place, CASE WHEN wrapped THEN begun END, room);
      IF NOT wrapped AND coalesce(cardinality(turn), 0) < room THEN
        wrapped := true;
        turn := turn || job_tenants(class.queue, class.priority, '00000000-0000-0000-0000-000000000000', begun,
                                    room - coalesce(cardinality(turn), 0));
      END IF;
      lap_ends := wrapped AND coalesce(cardinality(turn), 0) < room;
      IF turn IS NOT NULL THEN
        RETURN QUERY
          UPDATE jobs j SET status = 'running', worker_id = p_worker, attempt_count = j.attempt_count + 1,
                 started_at = clock_timestamp(), lease_expires_at = clock_timestamp() + p_lease, updated_at = clock_timestamp()
            FROM (SELECT due.id FROM unnest(turn) t(tenant) CROSS JOIN LATERAL (
                    SELECT d.id FROM jobs d
                     WHERE d.queue_name = class.queue AND d.priority = class.priority AND d.status = 'queued'
                       AND coalesce(d.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) = t.tenant
                       AND d.run_at <= now()
                     ORDER BY coalesce(d.tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid), d.run_at, d.id
                     LIMIT greatest(1, wanted / cardinality(turn)) FOR UPDATE SKIP LOCKED) due
                  LIMIT wanted) chosen
           WHERE j.id = chosen.id
          RETURNING j.*;
        GET DIAGNOSTICS taken = ROW_COUNT;
        wanted := wanted - taken;
        taken_in_lap := taken_in_lap + taken;
        place := turn[cardinality(turn)];
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
REVOKE EXECUTE ON FUNCTION job_classes, job_tenants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION job_classes, job_tenants TO penguin_orchestrator;
