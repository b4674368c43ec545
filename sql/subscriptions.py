"""Subscriptions after their money: paid, past due, suspended, and what is planned for those that stay unpaid."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.infrastructure_events import record_event


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription and where it stands."""

    id: int
    tenant_id: int
    plan_id: int
    status: str
    expires_at: datetime | None
    past_due_since: datetime | None
    release_planned_for: datetime | None


SUBSCRIPTION: Final = "s.id, s.tenant_id, s.plan_id, s.status, s.expires_at, s.past_due_since, s.release_planned_for"


async def lapse(conn: AsyncConnection, now: datetime, *, actor: str) -> list[Subscription]:
    """What has run out is past due from the moment it ran out; those that were moved."""
    return await _moved(
        conn,
        f"""
        UPDATE subscriptions s SET status = 'past_due', past_due_since = expires_at, updated_at = now()
         WHERE status IN ('trialing', 'active') AND expires_at <= %(now)s RETURNING {SUBSCRIPTION}
        """,  # noqa: S608 - a literal
        {"now": now},
        event="past_due",
        from_status="active",
        actor=actor,
    )


async def suspend(conn: AsyncConnection, now: datetime, *, grace: timedelta, actor: str) -> list[Subscription]:
    """What is past due for longer than the grace: its hosts are to refuse submission; those that were moved."""
    return await _moved(
        conn,
        f"""
        UPDATE subscriptions s SET status = 'suspended', updated_at = now()
         WHERE status = 'past_due' AND past_due_since <= %(since)s RETURNING {SUBSCRIPTION}
        """,  # noqa: S608 - a literal
        {"since": now - grace},
        event="suspended",
        from_status="past_due",
        actor=actor,
    )


async def plan_release(conn: AsyncConnection, subscription_id: int, at: datetime, *, actor: str) -> bool:
    """Give back what was bought at `at`, the end of the month that is paid to the provider. A payment takes it back."""
    moved = await _moved(
        conn,
        f"""
        UPDATE subscriptions s SET release_planned_for = %(at)s, updated_at = now()
         WHERE id = %(id)s AND status = 'suspended' AND release_planned_for IS NULL RETURNING {SUBSCRIPTION}
        """,  # noqa: S608 - a literal
        {"id": subscription_id, "at": at},
        event="release_planned",
        from_status="suspended",
        actor=actor,
    )
    return bool(moved)


async def due_for_release(conn: AsyncConnection, now: datetime) -> list[Subscription]:
    """Unpaid to the end: what they bought may go now."""
    cursor = conn.cursor(row_factory=class_row(Subscription))
    await cursor.execute(
        f"""
        SELECT {SUBSCRIPTION} FROM subscriptions s
         WHERE status = 'suspended' AND release_planned_for <= %s ORDER BY release_planned_for
        """,  # noqa: S608 - a literal
        [now],
    )
    return await cursor.fetchall()


async def list_subscriptions(conn: AsyncConnection, tenant_id: int) -> list[Subscription]:
    """A tenant's subscriptions, newest first."""
    cursor = conn.cursor(row_factory=class_row(Subscription))
    await cursor.execute(
        f"SELECT {SUBSCRIPTION} FROM subscriptions s WHERE tenant_id = %s ORDER BY started_at DESC, id DESC",  # noqa: S608 - a literal
        [tenant_id],
    )
    return await cursor.fetchall()


async def _moved(
    conn: AsyncConnection,
    statement: LiteralString,
    values: dict[str, object],
    *,
    event: str,
    from_status: str,
    actor: str,
) -> list[Subscription]:
    """Run a move and write a line of the trail for each row, in the same transaction."""
    cursor = conn.cursor(row_factory=class_row(Subscription))
    await cursor.execute(statement, values)
    moved = await cursor.fetchall()
    for one in moved:
        await record_event(
            conn,
            tenant_id=one.tenant_id,
            subject_type="subscription",
            subject_id=one.id,
            event=event,
            from_status=from_status,
            to_status=one.status,
            actor=actor,
            details={
                name: moment.isoformat()
                for name in ("expires_at", "past_due_since", "release_planned_for")
                if (moment := getattr(one, name)) is not None
            },
        )
    return moved
