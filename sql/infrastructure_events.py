"""The trail of every change of state: what happened to what, why, and at whose word. Rows are only ever added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

SubjectType = Literal[
    "tenant", "subscription", "run", "order", "vps", "ip", "domain", "dkim_key", "mailbox", "warmup", "secret"
]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the trail."""

    id: int
    subject_type: str
    subject_id: str
    event: str
    from_status: str | None
    to_status: str | None
    reason: str | None
    actor: str
    flow_run_id: UUID | None
    details: dict[str, Any]
    created_at: datetime


async def record_event(  # noqa: PLR0913 - a line of the trail has this many parts
    conn: AsyncConnection,
    *,
    tenant_id: int,
    subject_type: SubjectType,
    subject_id: object,
    event: str,
    actor: str,
    from_status: str | None = None,
    to_status: str | None = None,
    reason: str | None = None,
    flow_run_id: UUID | None = None,
    details: Mapping[str, Any] | None = None,
) -> int:
    """Write one line, in the transaction of the change it tells of; its number."""
    cursor = await conn.execute(
        """
        INSERT INTO infrastructure_events
          (tenant_id, subject_type, subject_id, event, from_status, to_status, reason, actor, flow_run_id, details)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
        """,
        [
            tenant_id,
            subject_type,
            str(subject_id),
            event,
            from_status,
            to_status,
            reason,
            actor,
            flow_run_id,
            Jsonb(details or {}),
        ],
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def list_events(
    conn: AsyncConnection,
    tenant_id: int,
    *,
    subject_type: SubjectType | None = None,
    subject_id: object = None,
    events: Sequence[str] | None = None,
    limit: int = 100,
) -> list[Event]:
    """A tenant's trail, or that of one subject, or some events of it, newest first."""
    cursor = conn.cursor(row_factory=class_row(Event))
    await cursor.execute(
        """
        SELECT id, subject_type, subject_id, event, from_status, to_status, reason, actor, flow_run_id, details,
               created_at
          FROM infrastructure_events
         WHERE tenant_id = %(tenant_id)s AND (%(type)s::text IS NULL OR subject_type = %(type)s)
           AND (%(subject)s::text IS NULL OR subject_id = %(subject)s)
           AND (%(events)s::text[] IS NULL OR event = ANY(%(events)s))
         ORDER BY created_at DESC, id DESC LIMIT %(limit)s
        """,
        {
            "tenant_id": tenant_id,
            "type": subject_type,
            "subject": None if subject_id is None else str(subject_id),
            "events": None if events is None else list(events),
            "limit": limit,
        },
    )
    return await cursor.fetchall()
