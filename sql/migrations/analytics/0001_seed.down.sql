-- data-loss: every analytics, queue and notification row
DROP TABLE system_notifications, notifications, transactional_emails, job_logs, jobs, job_queues, warmup_daily_stats,
  warmup_interactions, daily_analytics, email_replies, email_bounces, email_clicks, email_opens;
