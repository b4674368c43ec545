DROP FUNCTION job_release;
