"""Write the two files of a new migration: a tenant table that is isolated, granted and indexed from its first line."""

import re
from pathlib import Path

from sql.migration_files import FOLDER, Refused, Target, migrations_of

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
KEY_OF_TENANT: dict[Target, str] = {
    "core": "BIGINT NOT NULL REFERENCES tenants(id) ON DELETE CASCADE",
    "analytics": "UUID NOT NULL,                              -- tenants.tenant_id; no key crosses into core",
}
UP = """-- What this table is for, in one sentence; why now.
-- Undo: what is lost. Locks: none, the table is new.
CREATE TABLE {name} (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id {tenant}
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW()
);
CREATE INDEX idx_{name}_tenant ON {name} (tenant_id, created_at DESC);
SELECT isolate_tenant_table('{name}');
SELECT grant_table('{name}', 'read');          -- what the back end may do: write, read or none
"""
DOWN = """-- data-loss: every row of {name}
DROP TABLE {name};
"""


def write_migration(target: Target, name: str, folder: Path = FOLDER) -> tuple[Path, Path]:
    """The paths of the new up and down file, numbered after the last. Raises Refused for a taken or odd name."""
    if not NAME.fullmatch(name):
        raise Refused(f"{name!r} is no table's name: lower case, digits and single underscores")
    known = migrations_of(target, folder)
    if any(migration.name == name for migration in known):
        raise Refused(f"{target} has a migration called {name}")
    stem = f"{len(known) + 1:04}_{name}"
    up, down = folder / target / f"{stem}.sql", folder / target / f"{stem}.down.sql"
    tenant = KEY_OF_TENANT[target]
    up.write_text(UP.format(name=name, tenant=tenant if "--" in tenant else f"{tenant},"))
    down.write_text(DOWN.format(name=name))
    return up, down
