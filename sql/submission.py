"""Whether a tenant's host is to let mail out, by what is paid, and whether it does."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

SUBMISSION: Final = "submission"  # in vps_instances.configuration: refused, or open
# Closed only where something is unpaid beyond its grace and nothing else runs: a tenant without any subscription row,
# or with one that ended as agreed, is not an unpaid one.
UNPAID: Final = """
    EXISTS (SELECT FROM subscriptions s WHERE s.tenant_id = v.tenant_id AND s.status = 'suspended')
    AND NOT EXISTS (SELECT FROM subscriptions s WHERE s.tenant_id = v.tenant_id
                       AND s.status IN ('trialing', 'active', 'past_due'))
"""


@dataclass(frozen=True, slots=True)
class HostToChange:
    """A host whose submission is not as paid for; `refuse` is what it should do."""

    instance_id: int
    token: str
    tenant_id: int
    tenant_uuid: UUID
    refuse: bool


@dataclass(frozen=True, slots=True)
class ReleaseDue:
    """A suspended subscription whose server has no end yet; the provider's month, as far as it is known."""

    subscription_id: int
    period_ends_on: date | None
    bought_at: datetime


async def may_send(conn: AsyncConnection, tenant_id: int) -> bool:
    """Whether what is paid lets this tenant send."""
    cursor = await conn.execute(
        f"SELECT NOT ({UNPAID}) FROM (SELECT %s::bigint AS tenant_id) v",  # noqa: S608 - a literal
        [tenant_id],
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def hosts_to_change(conn: AsyncConnection, tenant_id: int | None, limit: int) -> list[HostToChange]:
    """Working hosts that do not do as paid for, of one tenant or of all."""
    cursor = conn.cursor(row_factory=class_row(HostToChange))
    await cursor.execute(
        f"""
        SELECT instance_id, token, tenant_id, tenant_uuid, refuse FROM (
          SELECT v.id AS instance_id, v.instance_id AS token, v.tenant_id, t.tenant_id AS tenant_uuid,
                 ({UNPAID}) AS refuse, coalesce(v.configuration ->> '{SUBMISSION}', 'open') = 'refused' AS refuses
            FROM vps_instances v JOIN tenants t ON t.id = v.tenant_id
           WHERE v.status IN ('active', 'maintenance') AND (%(tenant)s::bigint IS NULL OR v.tenant_id = %(tenant)s)) h
         WHERE refuse <> refuses ORDER BY instance_id LIMIT %(limit)s
        """,  # noqa: S608 - literals
        {"tenant": tenant_id, "limit": limit},
    )
    return await cursor.fetchall()


async def note_submission(conn: AsyncConnection, instance_id: int, *, refused: bool) -> None:
    """Remember what the host does, once it does."""
    await conn.execute(
        "UPDATE vps_instances SET configuration = coalesce(configuration, '{}') || %s, updated_at = now()"
        " WHERE id = %s",
        [Jsonb({SUBMISSION: "refused" if refused else "open"}), instance_id],
    )


async def unplanned_releases(conn: AsyncConnection, limit: int) -> list[ReleaseDue]:
    """Suspended, with a server, and nothing said yet of when that goes."""
    cursor = conn.cursor(row_factory=class_row(ReleaseDue))
    await cursor.execute(
        """
        SELECT s.id AS subscription_id, max(v.current_billing_period_end) AS period_ends_on,
               min(coalesce(v.provisioned_at, v.created_at)) AS bought_at
          FROM subscriptions s
          JOIN vps_instances v ON v.tenant_id = s.tenant_id
           AND v.status NOT IN ('decommissioned', 'failed', 'requested')
         WHERE s.status = 'suspended' AND s.release_planned_for IS NULL
         GROUP BY s.id ORDER BY s.id LIMIT %s
        """,
        [limit],
    )
    return await cursor.fetchall()
