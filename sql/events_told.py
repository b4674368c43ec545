"""Lines of the trail that people are told of, as the notices need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

CHUNK: Final = 1000


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """One line of the trail with the tenant it is about."""

    id: int
    event: str
    tenant: UUID
    tenant_name: str
    details: dict[str, Any]
    created_at: datetime


async def events_since(
    conn: AsyncConnection, since: datetime, events: Sequence[str]
) -> tuple[list[ToldEvent], datetime]:
    """Such events since then, the oldest first, and the moment up to which that is all of them."""
    cursor = conn.cursor(row_factory=class_row(ToldEvent))
    await cursor.execute(
        """
        SELECT e.id, e.event, t.tenant_id AS tenant, t.name AS tenant_name, e.details, e.created_at
          FROM infrastructure_events e JOIN tenants t ON t.id = e.tenant_id
         WHERE e.created_at >= %s AND e.event = ANY(%s) ORDER BY e.created_at, e.id LIMIT %s
        """,
        [since, list(events), CHUNK],
    )
    found = await cursor.fetchall()
    if len(found) == CHUNK:
        return found, found[-1].created_at
    row = await (await conn.execute("SELECT now()")).fetchone()
    if row is None:
        raise LookupError("the server has no time")
    return found, row[0]
