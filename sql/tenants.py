"""Tenants as the back end wrote them: who they are, what they bought, what they want."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant and its newest subscription; plan fields are None when there is none."""

    id: int
    tenant_id: UUID
    name: str
    status: str
    settings: Mapping[str, Any]
    subscription_status: str | None
    subscription_expires_at: datetime | None
    plan_name: str | None
    limits: Mapping[str, Any] | None


_SELECT = """
    SELECT t.id, t.tenant_id, t.name, t.status, coalesce(t.settings, '{}') AS settings,
           s.status AS subscription_status, s.expires_at AS subscription_expires_at,
           p.plan_name, p.limits
      FROM tenants t
      LEFT JOIN LATERAL (
           SELECT status, expires_at, plan_id FROM subscriptions
            WHERE tenant_id = t.id
            ORDER BY (status IN ('active', 'trialing')) DESC, started_at DESC, id DESC LIMIT 1) s ON true
      LEFT JOIN plans p ON p.id = s.plan_id
"""


async def get_tenant(conn: AsyncConnection, tenant_uuid: UUID) -> Tenant | None:
    """The tenant, with the subscription that counts: an active one before an ended one."""
    cursor = conn.cursor(row_factory=class_row(Tenant))
    await cursor.execute(_SELECT + " WHERE t.tenant_id = %s", [tenant_uuid])
    return await cursor.fetchone()


async def get_tenant_by_id(conn: AsyncConnection, tenant_id: int) -> Tenant | None:
    """The same by the core key."""
    cursor = conn.cursor(row_factory=class_row(Tenant))
    await cursor.execute(_SELECT + " WHERE t.id = %s", [tenant_id])
    return await cursor.fetchone()


async def find_tenant(conn: AsyncConnection, word: str) -> Tenant | None:
    """An operator's word for a tenant: its uuid, or a domain or name that only one tenant bears."""
    cursor = conn.cursor(row_factory=class_row(Tenant))
    await cursor.execute(
        _SELECT
        + """ WHERE t.tenant_id::text = %(word)s OR t.domain = lower(%(word)s) OR t.name = %(word)s
               OR EXISTS (SELECT FROM domains d WHERE d.tenant_id = t.id AND d.domain_name = lower(%(word)s)
                                                  AND d.verification_status <> 'deleted') LIMIT 2""",
        {"word": word},
    )
    rows = await cursor.fetchall()
    return rows[0] if len(rows) == 1 else None


async def add_tenant(conn: AsyncConnection, name: str) -> UUID:
    """A tenant with nothing else: the platform's own. Customers are written by the back end."""
    cursor = await conn.execute("INSERT INTO tenants (name) VALUES (%s) RETURNING tenant_id", [name])
    row = await cursor.fetchone()
    if row is None:
        raise LookupError("the tenant was not written")
    return UUID(str(row[0]))
