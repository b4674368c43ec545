"""Sending domains: what the tenant wants, what is published, what the world sees of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb


@dataclass(frozen=True, slots=True)
class Domain:
    """One live row."""

    id: int
    tenant_id: int
    domain_name: str
    verification_status: str
    verification_token: str | None
    dns_label: str | None
    dns_records: Mapping[str, Any]
    manage_mx: bool
    dns_host: str | None
    dns_host_settings: Mapping[str, Any]
    dns_host_secret_id: UUID | None
    verified_at: datetime | None
    dns_last_verified_at: datetime | None


_COLUMNS = """id, tenant_id, domain_name, verification_status, verification_token, dns_label,
              coalesce(dns_records, '{}') AS dns_records, manage_mx, dns_host, dns_host_settings, dns_host_secret_id,
              verified_at, dns_last_verified_at"""


async def list_domains(conn: AsyncConnection, tenant_id: int) -> list[Domain]:
    """The tenant's live domains, the primary one first."""
    cursor = conn.cursor(row_factory=class_row(Domain))
    await cursor.execute(
        f"SELECT {_COLUMNS} FROM domains WHERE tenant_id = %s AND verification_status <> 'deleted'"  # noqa: S608  literal
        " ORDER BY is_primary DESC NULLS LAST, id",
        [tenant_id],
    )
    return await cursor.fetchall()


async def owned_elsewhere(conn: AsyncConnection, *, tenant_id: int, names: Sequence[str]) -> list[str]:
    """Those of the names that another tenant has verified; neutral, it does not say which tenant."""
    cursor = await conn.execute(
        "SELECT domain_name FROM domains WHERE domain_name = ANY(%s) AND tenant_id <> %s"
        " AND verification_status = 'verified'",
        [list(names), tenant_id],
    )
    return [row[0] for row in await cursor.fetchall()]


async def settle_identity(conn: AsyncConnection, domain_id: int, *, name: str, token: str, label: str) -> None:
    """Give a domain its A-label form, ownership token and opaque label; what is there already stays."""
    await conn.execute(
        """
        UPDATE domains SET domain_name = %(name)s, verification_token = coalesce(verification_token, %(token)s),
               dns_label = coalesce(dns_label, %(label)s), updated_at = now()
         WHERE id = %(id)s AND (domain_name <> %(name)s OR verification_token IS NULL OR dns_label IS NULL)
        """,
        {"id": domain_id, "name": name, "token": token, "label": label},
    )


async def note_look(
    conn: AsyncConnection,
    domain_id: int,
    *,
    records: Mapping[str, Any],
    error: Mapping[str, Any] | None,
    next_at: datetime | None,
) -> None:
    """Replace the latest picture of what should be, and what is, published; `next_at` None: no more looks unasked."""
    await conn.execute(
        """
        UPDATE domains SET dns_records = %s, dns_verification_error = %s, dns_last_verified_at = now(),
               dns_next_check_at = coalesce(%s::timestamptz, 'infinity'),
               dns_verification_attempts = dns_verification_attempts + 1, updated_at = now() WHERE id = %s
        """,
        [Jsonb(dict(records)), Jsonb(dict(error)) if error else None, next_at, domain_id],
    )


async def note_expected(conn: AsyncConnection, domain_id: int, records: Mapping[str, Any]) -> None:
    """Write what is to be published, before anything is; from now on it is looked for."""
    await conn.execute(
        "UPDATE domains SET dns_records = %s, dns_next_check_at = now(), updated_at = now() WHERE id = %s",
        [Jsonb(dict(records)), domain_id],
    )


async def move(conn: AsyncConnection, domain_id: int, *, to: str, allowed_from: Sequence[str]) -> str | None:
    """Change the status; the old word, or None. AlreadyExists: another tenant has verified this name."""
    cursor = await conn.execute(
        """
        WITH old AS (SELECT id, verification_status FROM domains WHERE id = %(id)s FOR UPDATE)
        UPDATE domains d SET verification_status = %(to)s::text, updated_at = now(),
               verified_at = CASE WHEN %(to)s = 'verified' THEN coalesce(d.verified_at, now()) ELSE d.verified_at END
          FROM old WHERE d.id = old.id AND old.verification_status = ANY(%(from)s) RETURNING old.verification_status
        """,
        {"id": domain_id, "to": to, "from": list(allowed_from)},
    )
    row = await cursor.fetchone()
    return row[0] if row else None
