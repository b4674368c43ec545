"""Alerts for staff: one open row a cause, counted up rather than repeated, taken by a person, closed when over."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

Severity = Literal["info", "low", "medium", "high", "critical"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One cause and how it stands. `tenant_id` None: it is the platform's own."""

    id: UUID
    category: str
    title: str
    message: str
    severity: str
    dedupe_key: str | None
    tenant_id: UUID | None
    occurrences: int
    details: dict[str, Any]
    created_at: datetime
    last_seen_at: datetime
    acknowledged_by: str | None
    is_resolved: bool


async def raise_alert(
    conn: AsyncConnection,
    *,
    dedupe_key: str,
    category: str,
    title: str,
    message: str,
    severity: Severity,
    tenant_id: UUID | None = None,
    details: Mapping[str, Any] | None = None,
) -> bool:
    """Open an alert, or count one more of an open one, which takes the newer words and the worse severity.

    True: opened. An alert that was resolved opens anew.
    """
    cursor = await conn.execute(
        """
        INSERT INTO system_notifications AS s
          (dedupe_key, category, title, message, severity, tenant_id, details, is_resolved)
        VALUES (%s, %s, %s, %s, %s, %s, %s, false)
        ON CONFLICT (dedupe_key) WHERE NOT is_resolved AND dedupe_key IS NOT NULL DO UPDATE SET
          title = EXCLUDED.title, message = EXCLUDED.message, details = EXCLUDED.details,
          occurrences = s.occurrences + 1, last_seen_at = now(),
          severity = (ARRAY['info', 'low', 'medium', 'high', 'critical'])[greatest(
            array_position(ARRAY['info', 'low', 'medium', 'high', 'critical'], s.severity::text),
            array_position(ARRAY['info', 'low', 'medium', 'high', 'critical'], EXCLUDED.severity::text))]
        RETURNING occurrences = 1
        """,
        [dedupe_key, category, title, message, severity, tenant_id, Jsonb(dict(details or {}))],
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def acknowledge(conn: AsyncConnection, dedupe_key: str, actor: str) -> bool:
    """A person has taken it; the first to say so stays."""
    cursor = await conn.execute(
        """
        UPDATE system_notifications SET acknowledged_at = now(), acknowledged_by = %s
         WHERE dedupe_key = %s AND NOT is_resolved AND acknowledged_at IS NULL
        """,
        [actor, dedupe_key],
    )
    return cursor.rowcount > 0


async def resolve(conn: AsyncConnection, dedupe_key: str, actor: str) -> bool:
    """It is over."""
    cursor = await conn.execute(
        """
        UPDATE system_notifications SET is_resolved = true, resolved_at = now(), resolved_by = %s
         WHERE dedupe_key = %s AND NOT is_resolved
        """,
        [actor, dedupe_key],
    )
    return cursor.rowcount > 0


async def open_alerts(
    conn: AsyncConnection, tenant_id: UUID | None = None, *, category: str | None = None
) -> list[Alert]:
    """What is open, of one tenant or of all, of one category or of all, the worst and oldest first."""
    cursor = conn.cursor(row_factory=class_row(Alert))
    await cursor.execute(
        """
        SELECT id, category, title, message, severity, dedupe_key, tenant_id, occurrences, details, created_at,
               last_seen_at, acknowledged_by, coalesce(is_resolved, false) AS is_resolved
          FROM system_notifications
         WHERE NOT is_resolved AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s::uuid)
           AND (%(category)s::text IS NULL OR category = %(category)s)
         ORDER BY array_position(ARRAY['critical', 'high', 'medium', 'low', 'info'], severity::text), created_at
        """,
        {"tenant": tenant_id, "category": category},
    )
    return await cursor.fetchall()
