"""Which domain sends from which address."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from psycopg import AsyncConnection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class Assignment:
    """A live assignment, with the address itself."""

    id: int
    domain_id: int
    smtp_ip_address_id: int
    ip_address: IPv4Address
    status: str


async def list_assignments(conn: AsyncConnection, tenant_id: int) -> list[Assignment]:
    """The tenant's live assignments."""
    cursor = conn.cursor(row_factory=class_row(Assignment))
    await cursor.execute(
        """
        SELECT a.id, a.domain_id, a.smtp_ip_address_id, i.ip_address, a.status
          FROM domain_ip_assignments a JOIN smtp_ip_addresses i ON i.id = a.smtp_ip_address_id
         WHERE a.tenant_id = %s AND a.status <> 'expired' ORDER BY a.id
        """,
        [tenant_id],
    )
    return await cursor.fetchall()


async def assign(conn: AsyncConnection, *, tenant_id: int, domain_id: int, smtp_ip_address_id: int) -> None:
    """Give a domain its address; a domain that has a live one keeps it."""
    await conn.execute(
        """
        INSERT INTO domain_ip_assignments (tenant_id, domain_id, smtp_ip_address_id)
        SELECT %(tenant)s, %(domain)s, %(ip)s
         WHERE NOT EXISTS (SELECT FROM domain_ip_assignments WHERE domain_id = %(domain)s AND status <> 'expired')
        """,
        {"tenant": tenant_id, "domain": domain_id, "ip": smtp_ip_address_id},
    )
