-- A worker that stops gives back what it could not end: the job is due at once, and the attempt does not count.
-- The count itself stays, because it is what fences off a late answer; the limit moves instead.
-- Undo: such jobs wait for their lease to end. Locks: none.
CREATE FUNCTION job_release(p_worker text, p_ids uuid[], p_attempts int[]) RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
  WITH r AS (
    UPDATE jobs j SET status = 'queued', run_at = clock_timestamp(), max_attempts = j.max_attempts + 1, worker_id = NULL,
           lease_expires_at = NULL, updated_at = clock_timestamp()
    FROM unnest(p_ids, p_attempts) a(id, attempt)
    WHERE j.id = a.id AND j.attempt_count = a.attempt AND j.worker_id = p_worker AND j.status = 'running'
    RETURNING j.id, j.queue_name, j.attempt_count, j.started_at),
  logged AS (INSERT INTO job_logs (job_id, status, log_message, attempt_number, started_at, finished_at, duration)
    SELECT id, 'released', 'worker ' || p_worker || ' stopped', attempt_count, started_at, clock_timestamp(),
           clock_timestamp() - started_at FROM r),
  told AS (SELECT pg_notify('jobs', queue_name) FROM (SELECT DISTINCT queue_name FROM r) q)
  SELECT id FROM r WHERE (SELECT count(*) FROM told) >= 0
$$;

REVOKE EXECUTE ON FUNCTION job_release FROM PUBLIC;
GRANT EXECUTE ON FUNCTION job_release TO penguin_orchestrator;
