-- People and money: state words, when a payment last changed, what it paid for, who was invited.
-- An event of a payment may come twice or out of order: status_at is the time of the event that holds, and an older one
-- changes nothing. Amounts of two currencies are never added, so the currency is part of every total.
-- Undo: these facts go. Locks: ACCESS EXCLUSIVE, one scan each for the CHECKs; an unknown word stops the file.
ALTER TABLE payments
  ADD COLUMN status_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD COLUMN period_start TIMESTAMP WITH TIME ZONE, ADD COLUMN period_end TIMESTAMP WITH TIME ZONE,
  ADD COLUMN updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD CONSTRAINT payments_status_known CHECK (status IN ('pending', 'succeeded', 'failed', 'refunded', 'disputed')),
  ADD CONSTRAINT payments_amount_positive CHECK (amount >= 0),
  ADD CONSTRAINT payments_currency_upper CHECK (currency ~ '^[A-Z]{3}$'),
  ADD CONSTRAINT payments_period_whole CHECK ((period_start IS NULL) = (period_end IS NULL) AND period_start < period_end);
UPDATE payments SET status_at = coalesce(paid_at, created_at, NOW());

ALTER TABLE subscriptions
  ADD COLUMN past_due_since TIMESTAMP WITH TIME ZONE,
  ADD COLUMN release_planned_for TIMESTAMP WITH TIME ZONE,       -- when what was bought is given back, unless a payment comes
  ADD COLUMN updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
  ADD CONSTRAINT subscriptions_status_known CHECK (status IN ('trialing', 'active', 'past_due', 'suspended', 'cancelled', 'expired')),
  ADD CONSTRAINT subscriptions_past_due_has_time CHECK (status NOT IN ('past_due', 'suspended') OR past_due_since IS NOT NULL) NOT VALID;
UPDATE subscriptions SET past_due_since = NOW() WHERE status IN ('past_due', 'suspended');
ALTER TABLE subscriptions VALIDATE CONSTRAINT subscriptions_past_due_has_time;
CREATE INDEX idx_subscriptions_lapsing ON subscriptions (expires_at) WHERE status IN ('trialing', 'active', 'past_due', 'suspended');

ALTER TABLE users
  ADD COLUMN invited_at TIMESTAMP WITH TIME ZONE, ADD COLUMN deactivated_at TIMESTAMP WITH TIME ZONE,
  ADD CONSTRAINT users_role_known CHECK (role IN ('owner', 'admin', 'employee'));
ALTER TABLE tenant_users
  ADD CONSTRAINT tenant_users_level_known CHECK (permission_level IN ('basic', 'manager', 'admin', 'owner'));
UPDATE staff_members SET email = lower(email) WHERE email <> lower(email);
ALTER TABLE staff_members
  ADD CONSTRAINT staff_members_email_lower CHECK (email = lower(email)),
  ADD CONSTRAINT staff_members_email_key UNIQUE (tenant_id, email);
