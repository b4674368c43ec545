"""What core says was sent, counted by day: the other half of the daily figures, carried over by a flow."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.analytics import LATE, Sent

NOBODY: Final = UUID(int=0)
"""Stands for the user of a mailbox that nobody owns: analytics knows no empty one."""


async def counted_until(conn: AsyncConnection) -> datetime | None:
    """The rollup's watermark on the analytics side; None before the first one."""
    cursor = await conn.execute("SELECT seen_until FROM rollup_watermarks WHERE name = 'interactions'")
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def days_with_sends(conn: AsyncConnection, since: datetime | None, *, oldest: date) -> list[date]:
    """UTC days, `oldest` or later, on which core sent something since the watermark."""
    first = datetime.combine(oldest, time(), UTC)
    begin = first if since is None else max(first, since - LATE)
    cursor = await conn.execute(
        "SELECT DISTINCT (sent_at AT TIME ZONE 'UTC')::date FROM emails WHERE sent_at >= %s", [begin]
    )
    return sorted(row[0] for row in await cursor.fetchall())


async def sent_on(conn: AsyncConnection, days: Sequence[date]) -> list[Sent]:
    """Messages that left on these UTC days, whatever became of them, by tenant, owner, campaign and mailbox."""
    if not days:
        return []
    cursor = conn.cursor(row_factory=class_row(Sent))
    await cursor.execute(
        """
        SELECT t.tenant_id, coalesce(u.user_id, %(nobody)s) AS user_id, e.campaign_id::text AS campaign_id,
               e.email_account_id::text AS mailbox_id, (e.sent_at AT TIME ZONE 'UTC')::date AS date,
               count(*)::int AS count
          FROM emails e
          JOIN tenants t ON t.id = e.tenant_id
          LEFT JOIN email_accounts m ON m.id = e.email_account_id
          LEFT JOIN users u ON u.id = m.owner_user_id
         WHERE e.sent_at >= %(first)s AND e.sent_at < %(last)s AND (e.sent_at AT TIME ZONE 'UTC')::date = ANY(%(days)s)
         GROUP BY 1, 2, 3, 4, 5
        """,
        {
            "nobody": NOBODY,
            "first": datetime.combine(min(days), time(), UTC),
            "last": datetime.combine(max(days) + timedelta(days=1), time(), UTC),
            "days": list(days),
        },
    )
    return await cursor.fetchall()
