"""When each server's certificate ends, and which are due to be looked at."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.vps_instances import COLUMNS, Instance

LIVE: Final = "configuration ? 'certificate_pem' AND status NOT IN ('scheduled_decommission', 'decommissioned')"


async def note_certificate(conn: AsyncConnection, instance_id: int, *, ends_at: datetime, due_at: datetime) -> None:
    """Keep when a server's certificate ends and when it is next looked at."""
    await conn.execute(
        """
        UPDATE vps_instances SET certificate_ends_at = %(ends)s, certificate_due_at = %(due)s, updated_at = now()
         WHERE id = %(id)s AND (certificate_ends_at, certificate_due_at) IS DISTINCT FROM (%(ends)s, %(due)s)
        """,
        {"ends": ends_at, "due": due_at, "id": instance_id},
    )


async def put_off(conn: AsyncConnection, instance_id: int, pause: timedelta) -> None:
    """Look again after a pause."""
    await conn.execute(
        "UPDATE vps_instances SET certificate_due_at = clock_timestamp() + %s WHERE id = %s", [pause, instance_id]
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """A server with the certificate it shows; `due_at` None: it is looked at next."""

    instance: Instance
    ends_at: datetime | None
    due_at: datetime | None


async def list_shown(conn: AsyncConnection) -> list[Shown]:
    """Every live server that has a certificate, the one that ends first on top."""
    cursor = conn.cursor(row_factory=class_row(Instance))
    await cursor.execute(
        f"SELECT {COLUMNS} FROM vps_instances WHERE {LIVE} ORDER BY certificate_ends_at NULLS FIRST, id"  # noqa: S608  literals
    )
    rows = {row.id: row for row in await cursor.fetchall()}
    times = await conn.execute(
        "SELECT id, certificate_ends_at, certificate_due_at FROM vps_instances WHERE id = ANY(%s)", [list(rows)]
    )
    known = {row[0]: row[1:] for row in await times.fetchall()}
    return [Shown(row, *known[row.id]) for row in rows.values()]


async def look_now(conn: AsyncConnection, host: str) -> bool:
    """Let a server, by host name or token, be the next one looked at; False when there is none with a certificate."""
    cursor = await conn.execute(
        f"UPDATE vps_instances SET certificate_due_at = NULL WHERE {LIVE} AND %s IN (hostname, instance_id)",  # noqa: S608  literal
        [host],
    )
    return cursor.rowcount > 0


async def claim_due(conn: AsyncConnection, *, limit: int, lease: timedelta) -> list[Instance]:
    """Servers whose certificate is due and nobody looks at; one whose look dies is due again after `lease`."""
    cursor = conn.cursor(row_factory=class_row(Instance))
    await cursor.execute(
        f"""
        UPDATE vps_instances SET certificate_due_at = clock_timestamp() + %(lease)s
         WHERE id IN (SELECT id FROM vps_instances
                       WHERE {LIVE}
                         AND (certificate_due_at IS NULL OR certificate_due_at <= clock_timestamp())
                       ORDER BY certificate_due_at NULLS FIRST LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
        RETURNING {COLUMNS}
        """,  # noqa: S608  a literal of sql/vps_instances.py
        {"lease": lease, "limit": limit},
    )
    return await cursor.fetchall()
