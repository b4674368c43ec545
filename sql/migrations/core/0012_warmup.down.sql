-- data-loss: ramps, decisions, consents
DROP TABLE warmup_pool_accounts, warmup_daily_logs, warmup_schedules;
