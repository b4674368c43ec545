"""Whose hands publish a domain, and what the tenant consented to."""

from psycopg import AsyncConnection


async def leave_to_tenant(conn: AsyncConnection, domain_id: int) -> bool:
    """Publish nothing more for this domain: from now on its tenant does. The settings of its DNS host stay."""
    done = await conn.execute(
        "UPDATE domains SET dns_host = NULL, updated_at = now() WHERE id = %s AND dns_host IS NOT NULL", [domain_id]
    )
    return done.rowcount > 0


async def set_mx_consent(conn: AsyncConnection, domain_id: int, *, given: bool) -> bool:
    """Whether we may point the domain's own mail at our host. False when it was so already."""
    done = await conn.execute(
        "UPDATE domains SET manage_mx = %(given)s, updated_at = now() WHERE id = %(id)s AND manage_mx <> %(given)s",
        {"id": domain_id, "given": given},
    )
    return done.rowcount > 0
