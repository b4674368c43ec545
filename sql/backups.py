"""The record of dumps: one row a dump, from its beginning to its proof by a restore, and to its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sql.migration_files import Target


@dataclass(frozen=True, slots=True)
class Backup:
    """One dump. `seconds`: part of the work → how long it took; `sha256` is that of the stored, sealed bytes."""

    id: UUID
    target: str
    store: str
    object_key: str
    status: str
    tables: int | None
    row_total: int | None
    size_bytes: int | None
    sha256: str | None
    seconds: dict[str, float]
    reason: str | None
    started_at: datetime
    verified_at: datetime | None


BACKUP: Final = """id, target, store, object_key, status, tables, row_total, size_bytes, sha256, seconds, reason,
                   started_at, verified_at"""


async def begin(conn: AsyncConnection, *, target: Target, store: str, object_key: str, key_id: str) -> UUID:
    """Note a dump before anything is written. The caller has the lock of its target: an open row is a dead one's."""
    await conn.execute(
        """
        UPDATE backups SET status = 'failed', reason = 'its process died before the dump was stored'
         WHERE target = %s AND status = 'started'
        """,
        [target],
    )
    cursor = await conn.execute(
        "INSERT INTO backups (target, store, object_key, key_id) VALUES (%s, %s, %s, %s) RETURNING id",
        [target, store, object_key, key_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise LookupError("no backup row was made")
    return row[0]


async def mark_stored(
    conn: AsyncConnection,
    backup_id: UUID,
    *,
    tables: int,
    row_total: int,
    size_bytes: int,
    sha256: str,
    seconds: Mapping[str, float],
) -> bool:
    """It lies in the store and was read back; False when the row is not a begun one."""
    cursor = await conn.execute(
        """
        UPDATE backups SET status = 'stored', stored_at = now(), tables = %s, row_total = %s, size_bytes = %s,
               sha256 = %s, seconds = seconds || %s
         WHERE id = %s AND status = 'started'
        """,
        [tables, row_total, size_bytes, sha256, Jsonb(dict(seconds)), backup_id],
    )
    return cursor.rowcount > 0


async def mark_verified(conn: AsyncConnection, backup_id: UUID, *, seconds: Mapping[str, float]) -> bool:
    """A restore has shown that it holds everything; False when it is not a stored one."""
    cursor = await conn.execute(
        """
        UPDATE backups SET status = 'verified', verified_at = now(), seconds = seconds || %s
         WHERE id = %s AND status IN ('stored', 'verified')
        """,
        [Jsonb(dict(seconds)), backup_id],
    )
    return cursor.rowcount > 0


async def mark_failed(conn: AsyncConnection, backup_id: UUID, reason: str) -> None:
    """It is no backup, and why."""
    await conn.execute(
        "UPDATE backups SET status = 'failed', reason = %s WHERE id = %s AND status <> 'pruned'", [reason, backup_id]
    )


async def mark_pruned(conn: AsyncConnection, store: str, object_key: str) -> None:
    """It was taken out of the store; a failed one keeps its word."""
    await conn.execute(
        """
        UPDATE backups SET pruned_at = now(), status = CASE WHEN status = 'failed' THEN status ELSE 'pruned' END
         WHERE store = %s AND object_key = %s
        """,
        [store, object_key],
    )


async def list_backups(conn: AsyncConnection, *, target: Target | None = None, limit: int = 50) -> list[Backup]:
    """The newest first."""
    cursor = conn.cursor(row_factory=class_row(Backup))
    await cursor.execute(
        f"SELECT {BACKUP} FROM backups WHERE %(target)s::text IS NULL OR target = %(target)s"  # noqa: S608 - a literal
        " ORDER BY started_at DESC LIMIT %(limit)s",
        {"target": target, "limit": limit},
    )
    return await cursor.fetchall()


async def of_key(conn: AsyncConnection, store: str, object_key: str) -> Backup | None:
    """The row of a stored object; None after a restore of an older dump, or for a stranger's object."""
    cursor = conn.cursor(row_factory=class_row(Backup))
    await cursor.execute(
        f"SELECT {BACKUP} FROM backups WHERE store = %s AND object_key = %s",  # noqa: S608 - a literal
        [store, object_key],
    )
    return await cursor.fetchone()


async def verified_keys(conn: AsyncConnection, store: str) -> frozenset[str]:
    """Names in this store that a restore has proven."""
    cursor = await conn.execute("SELECT object_key FROM backups WHERE store = %s AND status = 'verified'", [store])
    return frozenset(row[0] for row in await cursor.fetchall())
