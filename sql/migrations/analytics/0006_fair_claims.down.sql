DROP FUNCTION job_cancel, job_tenants, job_classes;
DROP INDEX idx_jobs_dequeue;
CREATE INDEX idx_jobs_dequeue ON jobs (queue_name, priority, run_at, id) WHERE status = 'queued';

DROP FUNCTION job_claim;
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
REVOKE EXECUTE ON FUNCTION job_claim FROM PUBLIC;
GRANT EXECUTE ON FUNCTION job_claim TO penguin_orchestrator;
