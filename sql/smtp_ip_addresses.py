"""Sending addresses: where they live, whether they may talk, what the world says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from ipaddress import IPv4Address

from psycopg import AsyncConnection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a server."""

    id: int
    tenant_id: int
    vps_instance_id: int | None
    ip_address: IPv4Address
    status: str
    rdns_hostname: str | None
    rdns_verdict: str
    egress_verdict: str
    egress_checked_at: datetime | None


_COLUMNS = """id, tenant_id, vps_instance_id, ip_address, status, rdns_hostname, rdns_verdict, egress_verdict,
              egress_checked_at"""


async def list_addresses(conn: AsyncConnection, vps_instance_id: int) -> list[Address]:
    """The live addresses of a server, in the order they were taken over."""
    cursor = conn.cursor(row_factory=class_row(Address))
    await cursor.execute(
        f"SELECT {_COLUMNS} FROM smtp_ip_addresses WHERE vps_instance_id = %s AND status <> 'released' ORDER BY id",  # noqa: S608  literal
        [vps_instance_id],
    )
    return await cursor.fetchall()


async def take_over(
    conn: AsyncConnection, *, tenant_id: int, vps_instance_id: int, ip_address: IPv4Address, monthly_cost: Decimal
) -> None:
    """Write down an address the provider shows; a live one stays as it is. AlreadyExists: another tenant holds it."""
    await conn.execute(
        """
        INSERT INTO smtp_ip_addresses (tenant_id, vps_instance_id, ip_address, approximate_cost)
        SELECT %(tenant)s, %(vps)s, %(ip)s, %(cost)s
         WHERE NOT EXISTS (SELECT FROM smtp_ip_addresses
                            WHERE tenant_id = %(tenant)s AND ip_address = %(ip)s AND status <> 'released')
        ON CONFLICT (tenant_id, ip_address) DO UPDATE
           SET vps_instance_id = EXCLUDED.vps_instance_id, status = 'available', released_at = NULL,
               rdns_verdict = 'unknown', egress_verdict = 'unknown', updated_at = now()
         WHERE smtp_ip_addresses.status = 'released'
        """,
        {"tenant": tenant_id, "vps": vps_instance_id, "ip": ip_address, "cost": monthly_cost},
    )


async def note_egress(conn: AsyncConnection, address_id: int, verdict: str) -> None:
    """Port 25 outwards, as measured just now from this address."""
    await conn.execute(
        "UPDATE smtp_ip_addresses SET egress_verdict = %s, egress_checked_at = now(), updated_at = now() WHERE id = %s",
        [verdict, address_id],
    )


async def note_reverse_dns(conn: AsyncConnection, address_id: int, *, hostname: str, verdict: str) -> None:
    """PTR, HELO and A, as judged just now; `hostname` is the name we ask for."""
    await conn.execute(
        "UPDATE smtp_ip_addresses SET rdns_hostname = %s, rdns_verdict = %s, rdns_checked_at = now(),"
        " updated_at = now() WHERE id = %s",
        [hostname, verdict, address_id],
    )


async def move(conn: AsyncConnection, address_id: int, *, to: str, allowed_from: Sequence[str]) -> str | None:
    """Change the status; the old word, or None when the row was in none of the allowed ones."""
    cursor = await conn.execute(
        """
        WITH old AS (SELECT id, status FROM smtp_ip_addresses WHERE id = %s FOR UPDATE)
        UPDATE smtp_ip_addresses a SET status = %s, updated_at = now()
          FROM old WHERE a.id = old.id AND old.status = ANY(%s) RETURNING old.status
        """,
        [address_id, to, list(allowed_from)],
    )
    row = await cursor.fetchone()
    return row[0] if row else None
