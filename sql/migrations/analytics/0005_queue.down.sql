-- data-loss: leases, dedupe keys and tenants of jobs
DROP TRIGGER jobs_notify ON jobs;
DROP FUNCTION job_claim, job_finish, job_fail, job_heartbeat, job_reap, job_retry, jobs_notify;
DROP POLICY tenant_isolation ON jobs;
DROP POLICY orchestrator_all ON jobs;
DROP POLICY owner_all ON jobs;
ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE jobs DISABLE ROW LEVEL SECURITY;
ALTER TABLE transactional_emails DROP CONSTRAINT transactional_emails_job_id_fkey,
  ADD CONSTRAINT transactional_emails_job_id_fkey FOREIGN KEY (job_id) REFERENCES jobs (id);
DROP INDEX idx_jobs_dequeue, idx_jobs_lease, idx_jobs_cleanup, idx_jobs_failed, idx_jobs_tenant, jobs_dedupe_key;
UPDATE jobs SET status = 'queued' WHERE status = 'running';
ALTER TABLE jobs RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_cost_delay),
  DROP CONSTRAINT jobs_running_has_lease, DROP CONSTRAINT jobs_status_known,
  DROP COLUMN timeout_seconds, DROP COLUMN dedupe_key, DROP COLUMN worker_id, DROP COLUMN lease_expires_at, DROP COLUMN tenant_id,
  ALTER COLUMN queue_name DROP NOT NULL, ALTER COLUMN status DROP NOT NULL, ALTER COLUMN priority DROP NOT NULL,
  ALTER COLUMN attempt_count DROP NOT NULL, ALTER COLUMN max_attempts DROP NOT NULL, ALTER COLUMN run_at DROP NOT NULL;
DELETE FROM job_queues q WHERE name IN ('email-processing', 'email-sending', 'analytics', 'infra-provisioning',
  'dns-verification', 'mail-sync', 'reputation', 'warmup') AND NOT EXISTS (SELECT FROM jobs j WHERE j.queue_name = q.name);
