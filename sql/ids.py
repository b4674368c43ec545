"""The border between core keys and the ids that analytics, notifications and jobs carry.

Core counts in bigint; analytics names an email, campaign or mailbox by that number as text, and a tenant or user by the
uuid of its core row. No foreign key and no statement crosses the border: this module is the only crossing.
"""

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection


def to_analytics(core_id: int | None) -> str | None:
    """A core key as analytics carries it."""
    return None if core_id is None else str(core_id)


def to_core(analytics_id: str | None) -> int | None:
    """The core key behind an analytics id. Raises ValueError for text that is no such key."""
    if analytics_id is None:
        return None
    if not (analytics_id.isascii() and analytics_id.isdigit()):
        raise ValueError(f"no core key: {analytics_id[:40]!r}")
    return int(analytics_id)


async def tenant_pk(conn: AsyncConnection[Any], tenant_uuid: UUID) -> int | None:
    """The core key of a tenant, None for an unknown one."""
    cursor = await conn.execute("SELECT id FROM tenants WHERE tenant_id = %s", [tenant_uuid])
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def tenant_uuid(conn: AsyncConnection[Any], pk: int) -> UUID | None:
    """The uuid of a tenant, None for an unknown one."""
    cursor = await conn.execute("SELECT tenant_id FROM tenants WHERE id = %s", [pk])
    row = await cursor.fetchone()
    return None if row is None else UUID(str(row[0]))
