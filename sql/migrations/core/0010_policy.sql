-- Platform settings and policy presets: no tenant owns them.
-- Undo: presets that rows of other tables point at are gone with their users. Locks: none, the tables are new.
CREATE TABLE system_config (
    key VARCHAR(100) PRIMARY KEY, value JSONB NOT NULL, category VARCHAR(50) NOT NULL DEFAULT 'infrastructure',
    is_sensitive BOOLEAN NOT NULL DEFAULT FALSE, updated_by TEXT, updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW()
);
-- Ramps, weights and thresholds; rows are never edited, a change is a new version.
CREATE TABLE policy_presets (
    id BIGSERIAL PRIMARY KEY,
    kind VARCHAR(50) NOT NULL CHECK (kind ~ '^[a-z][a-z_]*$'),      -- the kinds stand in code, beside their readers
    name VARCHAR(100) NOT NULL, version INTEGER NOT NULL CHECK (version > 0), body JSONB NOT NULL,
    is_default BOOLEAN NOT NULL DEFAULT FALSE, created_by TEXT, created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    UNIQUE (kind, name, version)
);
CREATE UNIQUE INDEX policy_presets_one_default ON policy_presets (kind) WHERE is_default;

SELECT grant_table('system_config', 'none'), grant_table('policy_presets', 'read');
-- A preset is never edited: a change is a new version, and only which one is the default may move.
REVOKE UPDATE, DELETE ON policy_presets FROM penguin_orchestrator;
GRANT UPDATE (is_default) ON policy_presets TO penguin_orchestrator;
