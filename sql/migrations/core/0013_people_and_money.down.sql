-- data-loss: periods paid for, times of payment events, plans of release, invitations
ALTER TABLE staff_members DROP CONSTRAINT staff_members_email_key, DROP CONSTRAINT staff_members_email_lower;
ALTER TABLE tenant_users DROP CONSTRAINT tenant_users_level_known;
ALTER TABLE users DROP CONSTRAINT users_role_known, DROP COLUMN deactivated_at, DROP COLUMN invited_at;
DROP INDEX idx_subscriptions_lapsing;
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_past_due_has_time, DROP CONSTRAINT subscriptions_status_known,
  DROP COLUMN updated_at, DROP COLUMN release_planned_for, DROP COLUMN past_due_since;
ALTER TABLE payments DROP CONSTRAINT payments_period_whole, DROP CONSTRAINT payments_currency_upper,
  DROP CONSTRAINT payments_amount_positive, DROP CONSTRAINT payments_status_known,
  DROP COLUMN updated_at, DROP COLUMN period_end, DROP COLUMN period_start, DROP COLUMN status_at;
