DROP FUNCTION job_tenants(text, int, uuid, uuid, int);
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

REVOKE EXECUTE ON FUNCTION job_tenants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION job_tenants TO penguin_orchestrator;
