DROP INDEX jobs_dedupe_key;
CREATE UNIQUE INDEX jobs_dedupe_key ON jobs (queue_name, dedupe_key) WHERE status IN ('queued','running');
DROP INDEX idx_jobs_lease;
CREATE INDEX idx_jobs_lease ON jobs (lease_expires_at) WHERE status = 'running';
CREATE OR REPLACE FUNCTION job_finish(p_worker text, p_ids uuid[], p_attempts int[]) RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
  WITH done AS (
    UPDATE jobs j SET status = 'completed', completed_at = clock_timestamp(), lease_expires_at = NULL, updated_at = clock_timestamp()
    FROM unnest(p_ids, p_attempts) a(id, attempt)
    WHERE j.id = a.id AND j.attempt_count = a.attempt AND j.worker_id = p_worker AND j.status = 'running'
    RETURNING j.id, j.attempt_count, j.started_at, j.completed_at),
  logged AS (INSERT INTO job_logs (job_id, status, attempt_number, started_at, finished_at, duration)
    SELECT id, 'completed', attempt_count, started_at, completed_at, completed_at - started_at FROM done)
  SELECT id FROM done
$$;
