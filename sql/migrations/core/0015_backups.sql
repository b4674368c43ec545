-- Dumps of our databases: what was stored where, and whether a restore has proven it. The platform's own, no tenant's.
-- What a dump holds, table by table, is told inside the dump itself: this row must not be needed to restore it.
-- Undo: the record is gone, the stored dumps stay. Locks: none, the table is new.
CREATE TABLE backups (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    target VARCHAR(20) NOT NULL CHECK (target IN ('core', 'analytics')),
    store TEXT NOT NULL,                        -- bucket or folder
    object_key TEXT NOT NULL UNIQUE,
    key_id TEXT NOT NULL,                       -- which sealing key closed it
    status VARCHAR(20) NOT NULL DEFAULT 'started' CHECK (status IN ('started', 'stored', 'verified', 'failed', 'pruned')),
    tables INTEGER, row_total BIGINT, size_bytes BIGINT, sha256 VARCHAR(64),
    seconds JSONB NOT NULL DEFAULT '{}',        -- part of the work → how long it took
    reason TEXT,                                -- why it failed
    started_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    stored_at TIMESTAMP WITH TIME ZONE, verified_at TIMESTAMP WITH TIME ZONE, pruned_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT backups_stored_is_known CHECK (
      status NOT IN ('stored', 'verified') OR (sha256 IS NOT NULL AND size_bytes > 0 AND stored_at IS NOT NULL)),
    CONSTRAINT backups_verified_has_time CHECK (status <> 'verified' OR verified_at IS NOT NULL),
    CONSTRAINT backups_failed_says_why CHECK (status <> 'failed' OR reason IS NOT NULL)
);
CREATE INDEX idx_backups_target ON backups (target, started_at DESC);
SELECT grant_table('backups', 'none');
