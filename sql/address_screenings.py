"""Addresses before they are used: what the blocklists say, and whether a person took one of unknown standing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address

from psycopg import AsyncConnection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class Screening:
    """One address. What could not be known is `unknown`, and usable only when somebody has accepted that."""

    tenant_id: int
    vps_instance_id: int
    ip_address: IPv4Address
    verdict: str
    fix: str
    found: list[str]
    screened_at: datetime
    accepted_by: str | None

    @property
    def usable(self) -> bool:
        """Clean, or of unknown standing and accepted; a listed one never is."""
        return self.verdict == "pass" or (self.verdict == "unknown" and self.accepted_by is not None)


_COLUMNS = "tenant_id, vps_instance_id, ip_address, verdict, fix, found, screened_at, accepted_by"


async def note_screening(
    conn: AsyncConnection,
    *,
    tenant_id: int,
    vps_instance_id: int,
    ip_address: IPv4Address,
    verdict: str,
    fix: str,
    found: Sequence[str],
) -> Screening:
    """What the lists say now. A person's word stays beside it."""
    cursor = conn.cursor(row_factory=class_row(Screening))
    await cursor.execute(
        f"""
        INSERT INTO address_screenings AS s (tenant_id, vps_instance_id, ip_address, verdict, fix, found)
        VALUES (%(tenant)s, %(vps)s, %(ip)s, %(verdict)s, %(fix)s, %(found)s)
        ON CONFLICT (tenant_id, vps_instance_id, ip_address) DO UPDATE
           SET verdict = EXCLUDED.verdict, fix = EXCLUDED.fix, found = EXCLUDED.found, screened_at = now()
        RETURNING {_COLUMNS}
        """,  # noqa: S608  literal
        {
            "tenant": tenant_id, "vps": vps_instance_id, "ip": ip_address, "verdict": verdict, "fix": fix,
            "found": list(found),
        },
    )  # fmt: skip
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"{ip_address} was not written")
    return row


async def list_screenings(conn: AsyncConnection, tenant_id: int | None = None) -> list[Screening]:
    """All that are known, of one tenant or of all, in the order of the addresses."""
    cursor = conn.cursor(row_factory=class_row(Screening))
    await cursor.execute(
        f"SELECT {_COLUMNS} FROM address_screenings"  # noqa: S608  literal
        " WHERE %(tenant)s::bigint IS NULL OR tenant_id = %(tenant)s ORDER BY ip_address",
        {"tenant": tenant_id},
    )
    return await cursor.fetchall()


async def accept(conn: AsyncConnection, *, tenant_id: int, ip_address: IPv4Address, by: str) -> bool:
    """Take the risk of an address of unknown standing; False when there is none like that."""
    cursor = await conn.execute(
        """
        UPDATE address_screenings SET accepted_by = %(by)s, accepted_at = now()
         WHERE tenant_id = %(tenant)s AND ip_address = %(ip)s AND verdict = 'unknown'
        """,
        {"by": by, "tenant": tenant_id, "ip": ip_address},
    )
    return cursor.rowcount > 0
