"""When each server's certificate ends, and which are due to be looked at."""

from datetime import datetime, timedelta

from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.vps_instances import COLUMNS, Instance


async def note_certificate(conn: AsyncConnection, instance_id: int, *, ends_at: datetime, due_at: datetime) -> None:
    """Keep when a server's certificate ends and when it is next looked at."""
    await conn.execute(
        "UPDATE vps_instances SET certificate_ends_at = %s, certificate_due_at = %s, updated_at = now() WHERE id = %s",
        [ends_at, due_at, instance_id],
    )


async def put_off(conn: AsyncConnection, instance_id: int, pause: timedelta) -> None:
    """Look again after a pause."""
    await conn.execute(
        "UPDATE vps_instances SET certificate_due_at = clock_timestamp() + %s WHERE id = %s", [pause, instance_id]
    )


async def claim_due(conn: AsyncConnection, *, limit: int, lease: timedelta) -> list[Instance]:
    """Servers whose certificate is due and nobody looks at; one whose look dies is due again after `lease`."""
    cursor = conn.cursor(row_factory=class_row(Instance))
    await cursor.execute(
        f"""
        UPDATE vps_instances SET certificate_due_at = clock_timestamp() + %(lease)s
         WHERE id IN (SELECT id FROM vps_instances
                       WHERE configuration ? 'certificate_pem'
                         AND status NOT IN ('scheduled_decommission', 'decommissioned')
                         AND (certificate_due_at IS NULL OR certificate_due_at <= clock_timestamp())
                       ORDER BY certificate_due_at NULLS FIRST LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
        RETURNING {COLUMNS}
        """,  # noqa: S608  a literal of sql/vps_instances.py
        {"lease": lease, "limit": limit},
    )
    return await cursor.fetchall()
