"""Policy presets as rows: named, versioned, never edited. Those we ship are put in when missing."""

# ruff: noqa: S608 - every statement is a LiteralString: the type checker refuses anything else
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, LiteralString, Protocol

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb


class Edited(Exception):
    """A preset in the database bears the name and version of one we ship, and another body."""


class Shipped(Protocol):
    """What a shipped preset looks like; the first of a kind becomes its default where there is none."""

    @property
    def kind(self) -> str:
        """The group of presets that serve one purpose."""
        ...

    @property
    def name(self) -> str:
        """The name people choose it by."""
        ...

    @property
    def version(self) -> int:
        """Which edition of it."""
        ...

    @property
    def body(self) -> Mapping[str, Any]:
        """The figures, as JSON."""
        ...


@dataclass(frozen=True, slots=True)
class PresetRow:
    """One preset; `id` is the `policy_preset_id` that other rows name."""

    id: int
    kind: str
    name: str
    version: int
    body: dict[str, Any]
    is_default: bool


PRESET: Final = "id, kind, name, version, body, is_default"


async def sync_presets(conn: AsyncConnection, presets: Iterable[Shipped]) -> int:
    """Put in what is missing; how many. Raises Edited when a row differs from what we ship under its name."""
    added = 0
    for preset in presets:
        row = await get_preset(conn, preset.kind, preset.name, preset.version)
        if row is None:
            added += await _add(conn, preset)
        elif row.body != _as_stored(preset.body):
            raise Edited(
                f"preset {preset.kind} {preset.name} version {preset.version} was changed in the database: "
                "give the changed one a version of its own"
            )
    return added


async def default_preset(conn: AsyncConnection, kind: str) -> PresetRow | None:
    """The preset that holds where none was chosen."""
    return await _one(conn, f"SELECT {PRESET} FROM policy_presets WHERE kind = %s AND is_default", [kind])


async def get_preset(conn: AsyncConnection, kind: str, name: str, version: int | None = None) -> PresetRow | None:
    """One preset by name, in its newest version unless one is said."""
    return await _one(
        conn,
        f"""
        SELECT {PRESET} FROM policy_presets WHERE kind = %s AND name = %s AND version = coalesce(%s, version)
         ORDER BY version DESC LIMIT 1
        """,
        [kind, name, version],
    )


async def _add(conn: AsyncConnection, preset: Shipped) -> int:
    cursor = await conn.execute(
        """
        INSERT INTO policy_presets (kind, name, version, body, is_default, created_by)
        VALUES (%(kind)s::text, %(name)s, %(version)s, %(body)s,
                NOT EXISTS (SELECT FROM policy_presets WHERE kind = %(kind)s::text AND is_default), 'shipped')
        ON CONFLICT (kind, name, version) DO NOTHING
        """,
        {"kind": preset.kind, "name": preset.name, "version": preset.version, "body": Jsonb(dict(preset.body))},
    )
    return cursor.rowcount


def _as_stored(body: Mapping[str, Any]) -> Any:
    """What JSON keeps of a body: tuples are lists there, keys are text."""
    return json.loads(json.dumps(dict(body)))


async def _one(conn: AsyncConnection, statement: LiteralString, values: list[Any]) -> PresetRow | None:
    cursor = conn.cursor(row_factory=class_row(PresetRow))
    await cursor.execute(statement, values)
    return await cursor.fetchone()
