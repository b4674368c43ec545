-- The job queue: leases, fencing, retry with backoff, a reaper, one live job a dedupe key, NOTIFY.
-- A job of a worker that died comes back when its lease ends; a worker that comes back late changes nothing, because every
-- answer names the worker and the attempt. Times are clock_timestamp(): a transaction may be older than the lease.
-- Undo: leases and dedupe keys go, running jobs are queued again. Locks: ACCESS EXCLUSIVE on jobs, one scan.
UPDATE jobs SET status = 'queued' WHERE status = 'migrated_to_redis';
ALTER TABLE jobs ALTER COLUMN queue_name SET NOT NULL, ALTER COLUMN status SET NOT NULL, ALTER COLUMN priority SET NOT NULL,
  ALTER COLUMN attempt_count SET NOT NULL, ALTER COLUMN max_attempts SET NOT NULL, ALTER COLUMN run_at SET NOT NULL,
  ADD COLUMN tenant_id UUID, ADD COLUMN lease_expires_at TIMESTAMP WITH TIME ZONE, ADD COLUMN worker_id TEXT,
  ADD COLUMN dedupe_key TEXT, ADD COLUMN timeout_seconds INTEGER NOT NULL DEFAULT 300;
UPDATE jobs SET lease_expires_at = NOW() WHERE status = 'running';
ALTER TABLE jobs
  ADD CONSTRAINT jobs_status_known CHECK (status IN ('queued','running','completed','failed','cancelled')),
  ADD CONSTRAINT jobs_running_has_lease CHECK (status <> 'running' OR lease_expires_at IS NOT NULL),
  SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX idx_jobs_dequeue ON jobs (queue_name, priority, run_at, id) WHERE status = 'queued';
CREATE INDEX idx_jobs_lease ON jobs (lease_expires_at) WHERE status = 'running';
CREATE INDEX idx_jobs_cleanup ON jobs (completed_at) WHERE status = 'completed';
CREATE INDEX idx_jobs_failed ON jobs (queue_name, failed_at DESC) WHERE status = 'failed';
CREATE INDEX idx_jobs_tenant ON jobs (tenant_id) WHERE tenant_id IS NOT NULL;
CREATE UNIQUE INDEX jobs_dedupe_key ON jobs (queue_name, dedupe_key) WHERE status IN ('queued','running');
ALTER TABLE transactional_emails DROP CONSTRAINT transactional_emails_job_id_fkey,
  ADD CONSTRAINT transactional_emails_job_id_fkey FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE SET NULL;
INSERT INTO job_queues (name, default_priority) VALUES
  ('email-processing', 75), ('email-sending', 100), ('analytics', 150),
  ('infra-provisioning', 50), ('dns-verification', 75), ('mail-sync', 75), ('reputation', 125), ('warmup', 150)
  ON CONFLICT (name) DO NOTHING;

CREATE FUNCTION job_claim(p_queues text[], p_worker text, p_limit int, p_lease interval DEFAULT '60 seconds')
RETURNS SETOF jobs LANGUAGE sql VOLATILE AS $$
  UPDATE jobs j SET status = 'running', worker_id = p_worker, attempt_count = j.attempt_count + 1,
         started_at = clock_timestamp(), lease_expires_at = clock_timestamp() + p_lease, updated_at = clock_timestamp()
  FROM (SELECT j2.id FROM unnest(p_queues) q(name)
          JOIN job_queues jq ON jq.name = q.name AND jq.is_active
          CROSS JOIN LATERAL (SELECT id, priority, run_at FROM jobs
                               WHERE queue_name = q.name AND status = 'queued' AND run_at <= now()
                               ORDER BY priority, run_at, id LIMIT p_limit FOR UPDATE SKIP LOCKED) j2
        ORDER BY j2.priority, j2.run_at LIMIT p_limit) c
  WHERE j.id = c.id
  RETURNING j.*
$$;
-- Fencing: only the worker that still owns this attempt may finish it.
CREATE FUNCTION job_finish(p_worker text, p_ids uuid[], p_attempts int[]) RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
  WITH done AS (
    UPDATE jobs j SET status = 'completed', completed_at = clock_timestamp(), lease_expires_at = NULL, updated_at = clock_timestamp()
    FROM unnest(p_ids, p_attempts) a(id, attempt)
    WHERE j.id = a.id AND j.attempt_count = a.attempt AND j.worker_id = p_worker AND j.status = 'running'
    RETURNING j.id, j.attempt_count, j.started_at, j.completed_at),
  logged AS (INSERT INTO job_logs (job_id, status, attempt_number, started_at, finished_at, duration)
    SELECT id, 'completed', attempt_count, started_at, completed_at, completed_at - started_at FROM done)
  SELECT id FROM done
$$;
CREATE FUNCTION job_fail(p_worker text, p_id uuid, p_attempt int, p_error text, p_retryable boolean DEFAULT true,
                         p_base interval DEFAULT '2 seconds', p_cap interval DEFAULT '300 seconds') RETURNS text LANGUAGE sql VOLATILE AS $$
  WITH f AS (
    UPDATE jobs SET
      status = CASE WHEN p_retryable AND attempt_count < max_attempts THEN 'queued' ELSE 'failed' END,
      run_at = CASE WHEN p_retryable AND attempt_count < max_attempts
                    THEN clock_timestamp() + LEAST(p_cap, p_base * power(2, LEAST(attempt_count, 20) - 1)) * (0.5 + random() / 2) ELSE run_at END,
      failed_at = CASE WHEN p_retryable AND attempt_count < max_attempts THEN NULL ELSE clock_timestamp() END,
      last_error_message = left(p_error, 8000), lease_expires_at = NULL, worker_id = NULL, updated_at = clock_timestamp()
    WHERE id = p_id AND attempt_count = p_attempt AND worker_id = p_worker AND status = 'running'
    RETURNING id, status, attempt_count, started_at),
  logged AS (INSERT INTO job_logs (job_id, status, log_message, attempt_number, started_at, finished_at, duration)
    SELECT id, 'failed', left(p_error, 8000), attempt_count, started_at, clock_timestamp(), clock_timestamp() - started_at FROM f)
  SELECT status FROM f
$$;
CREATE FUNCTION job_heartbeat(p_worker text, p_ids uuid[], p_attempts int[], p_lease interval DEFAULT '60 seconds') RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
  UPDATE jobs j SET lease_expires_at = clock_timestamp() + p_lease FROM unnest(p_ids, p_attempts) a(id, attempt)
  WHERE j.id = a.id AND j.attempt_count = a.attempt AND j.worker_id = p_worker AND j.status = 'running' RETURNING j.id
$$;
CREATE FUNCTION job_reap(p_limit int DEFAULT 1000) RETURNS int LANGUAGE sql VOLATILE AS $$
  WITH dead AS (SELECT id, worker_id AS last_worker FROM jobs WHERE status = 'running' AND lease_expires_at < clock_timestamp()
                ORDER BY lease_expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED),
  u AS (UPDATE jobs j SET status = CASE WHEN attempt_count < max_attempts THEN 'queued' ELSE 'failed' END,
          run_at = clock_timestamp(), failed_at = CASE WHEN attempt_count < max_attempts THEN NULL ELSE clock_timestamp() END,
          last_error_message = 'lease expired (worker ' || coalesce(last_worker, '?') || ')',
          worker_id = NULL, lease_expires_at = NULL, updated_at = clock_timestamp()
        FROM dead WHERE j.id = dead.id RETURNING j.id, j.attempt_count, j.started_at, j.last_error_message),
  logged AS (INSERT INTO job_logs (job_id, status, log_message, attempt_number, started_at, finished_at, duration)
    SELECT id, 'crashed', last_error_message, attempt_count, started_at, clock_timestamp(), clock_timestamp() - started_at FROM u RETURNING 1)
  SELECT count(*)::int FROM logged
$$;
-- Operator: by id, never by list position. Grants one more round of attempts and keeps the count for fencing.
CREATE FUNCTION job_retry(p_ids uuid[], p_actor text) RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
  WITH u AS (UPDATE jobs SET status = 'queued', run_at = clock_timestamp(), failed_at = NULL,
               max_attempts = attempt_count + 3, updated_at = clock_timestamp()
             WHERE id = ANY(p_ids) AND status IN ('failed','cancelled') RETURNING id, attempt_count),
  logged AS (INSERT INTO job_logs (job_id, status, log_message, attempt_number)
             SELECT id, 'retried', 'by ' || p_actor, attempt_count FROM u)
  SELECT id FROM u
$$;
-- One NOTIFY per INSERT statement and queue. Retried, delayed and reaped jobs are found by polling.
CREATE FUNCTION jobs_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('jobs', q) FROM (SELECT DISTINCT queue_name AS q FROM new_jobs WHERE status = 'queued' AND run_at <= clock_timestamp()) s;
  RETURN NULL;
END $$;
CREATE TRIGGER jobs_notify AFTER INSERT ON jobs REFERENCING NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION jobs_notify();


SELECT isolate_tenant_table('jobs');
REVOKE EXECUTE ON FUNCTION job_claim, job_finish, job_fail, job_heartbeat, job_reap, job_retry, jobs_notify FROM PUBLIC;
GRANT EXECUTE ON FUNCTION job_claim, job_finish, job_fail, job_heartbeat, job_reap, job_retry TO penguin_orchestrator;
