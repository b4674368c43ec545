"""The worker of the job queue, and what it does for each queue."""
