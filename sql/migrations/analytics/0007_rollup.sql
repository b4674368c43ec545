-- What the rollup remembers between runs, and words that keep the raw rows clean.
-- A watermark is a time of writing (created_at), not of the event: an event that is told late still touches its day.
-- Undo: the watermarks go, so the next rollup looks at every day again. Locks: ACCESS EXCLUSIVE, one scan for the CHECK.
CREATE TABLE rollup_watermarks (
    name VARCHAR(50) PRIMARY KEY,
    seen_until TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW()
);
SELECT grant_table('rollup_watermarks', 'none');

ALTER TABLE email_complaints ALTER COLUMN created_at SET NOT NULL, ALTER COLUMN complained_at SET NOT NULL;
CREATE INDEX idx_email_complaints_created ON email_complaints USING brin (created_at);
CREATE INDEX idx_email_bounces_date ON email_bounces (((bounced_at AT TIME ZONE 'UTC')::DATE));
CREATE INDEX idx_email_replies_date ON email_replies (((replied_at AT TIME ZONE 'UTC')::DATE));
CREATE INDEX idx_email_complaints_date ON email_complaints (((complained_at AT TIME ZONE 'UTC')::DATE));
