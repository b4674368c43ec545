"""Sending domains: what the tenant wants, what is published, what the world sees of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
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


@dataclass(frozen=True, slots=True)
class DueDomain:
    """A domain to be looked at, as it was when it was taken; `updated_at` fences what is written about it."""

    id: int
    tenant_id: int
    domain_name: str
    verification_status: str
    dns_records: Mapping[str, Any]
    dns_host: str | None
    dns_last_verified_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found. `records` None: all as it was; `next_at` None: no more looks unasked."""

    domain_id: int
    updated_at: datetime  # of the row that was looked at
    records: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    next_at: datetime | None


CLAIM_LASTS: Final = "10 minutes"
TENANTS_A_TURN: Final = "200"
_DUE: Final = "verification_status <> 'deleted' AND dns_next_check_at <= now()"
_DUE_COLUMNS: Final = """id, tenant_id, domain_name, verification_status, coalesce(dns_records, '{}') AS dns_records,
              dns_host, dns_last_verified_at, updated_at"""


async def any_due(conn: AsyncConnection) -> bool:
    """Whether a look is due at all: one step down one index."""
    cursor = await conn.execute(f"SELECT EXISTS (SELECT FROM domains WHERE {_DUE})")  # noqa: S608  a literal
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def claim_due(conn: AsyncConnection, limit: int) -> list[DueDomain]:
    """Take due domains nobody else is looking at; one whose look dies is due again in ten minutes.

    Up to 200 tenants from a random one on get equal shares; what is left of the limit goes to those who waited longest.
    """
    if not await any_due(conn):
        return []
    taken = await _claim(
        conn,
        f"""
        WITH RECURSIVE walk AS (
            (SELECT tenant_id, 1 AS place FROM domains WHERE verification_status <> 'deleted' AND tenant_id >=
               (SELECT min(tenant_id) + floor(random() * (max(tenant_id) - min(tenant_id) + 1)) FROM domains)
             ORDER BY tenant_id LIMIT 1)
            UNION ALL
            SELECT (SELECT d.tenant_id FROM domains d
                     WHERE d.verification_status <> 'deleted' AND d.tenant_id > walk.tenant_id
                     ORDER BY d.tenant_id LIMIT 1), place + 1
              FROM walk WHERE walk.tenant_id IS NOT NULL AND place < {TENANTS_A_TURN}
        ), turn AS MATERIALIZED (
            SELECT w.tenant_id FROM walk w WHERE EXISTS (SELECT FROM domains d WHERE d.tenant_id = w.tenant_id
                                                        AND {_DUE})
        ), share AS (SELECT greatest(1, ceil(%(limit)s::float / greatest(count(*), 1)))::int AS size FROM turn
        ), mine AS MATERIALIZED (
            SELECT d.id FROM turn t, LATERAL (
                SELECT id FROM domains WHERE tenant_id = t.tenant_id AND {_DUE}
                 ORDER BY dns_next_check_at LIMIT (SELECT size FROM share) FOR UPDATE SKIP LOCKED) d
             LIMIT %(limit)s
        )
        UPDATE domains SET dns_next_check_at = now() + interval '{CLAIM_LASTS}'
         WHERE id IN (SELECT id FROM mine) RETURNING {_DUE_COLUMNS}
        """,  # noqa: S608  literals
        limit,
    )
    if len(taken) == limit:
        return taken
    return taken + await _claim(
        conn,
        f"""
        UPDATE domains SET dns_next_check_at = now() + interval '{CLAIM_LASTS}'
         WHERE id IN (SELECT id FROM domains WHERE {_DUE}
                       ORDER BY dns_next_check_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) RETURNING {_DUE_COLUMNS}
        """,  # noqa: S608  literals
        limit - len(taken),
    )


async def _claim(conn: AsyncConnection, statement: LiteralString, limit: int) -> list[DueDomain]:
    cursor = conn.cursor(row_factory=class_row(DueDomain))
    await cursor.execute(statement, {"limit": limit})
    return await cursor.fetchall()


async def find_live(conn: AsyncConnection, name: str) -> list[DueDomain]:
    """Live rows of a name, the verified one first: several tenants may claim it until one has proven it."""
    cursor = conn.cursor(row_factory=class_row(DueDomain))
    await cursor.execute(
        f"SELECT {_DUE_COLUMNS} FROM domains WHERE domain_name = %s AND verification_status <> 'deleted'"  # noqa: S608  a literal
        " ORDER BY verification_status = 'verified' DESC, id",
        [name],
    )
    return await cursor.fetchall()


async def get_live(conn: AsyncConnection, domain_id: int) -> DueDomain | None:
    """One live row by its id."""
    cursor = conn.cursor(row_factory=class_row(DueDomain))
    await cursor.execute(
        f"SELECT {_DUE_COLUMNS} FROM domains WHERE id = %s AND verification_status <> 'deleted'",  # noqa: S608  a literal
        [domain_id],
    )
    return await cursor.fetchone()


async def hold_live(conn: AsyncConnection, domain_id: int) -> DueDomain | None:
    """The same, held until the transaction ends: nobody else writes of it in between."""
    cursor = conn.cursor(row_factory=class_row(DueDomain))
    await cursor.execute(
        f"SELECT {_DUE_COLUMNS} FROM domains WHERE id = %s AND verification_status <> 'deleted' FOR UPDATE",  # noqa: S608  a literal
        [domain_id],
    )
    return await cursor.fetchone()


async def note_looks(conn: AsyncConnection, looks: Sequence[Look]) -> set[int]:
    """Write many looks in one statement; ids of the rows that were still as they had been when they were taken."""
    cursor = await conn.execute(
        """
        UPDATE domains d SET dns_records = coalesce(l.records, d.dns_records), dns_verification_error = l.error,
               dns_last_verified_at = now(), dns_next_check_at = coalesce(l.next_at, 'infinity'),
               dns_verification_attempts = d.dns_verification_attempts + 1, updated_at = now()
          FROM jsonb_to_recordset(%s) AS l(id bigint, seen timestamptz, records jsonb, error jsonb, next_at timestamptz)
         WHERE d.id = l.id AND d.updated_at = l.seen RETURNING d.id
        """,
        [
            Jsonb(
                [
                    {
                        "id": look.domain_id, "seen": look.updated_at.isoformat(), "records": look.records,
                        "error": look.error, "next_at": look.next_at.isoformat() if look.next_at else None,
                    }
                    for look in looks
                ]
            )
        ],
    )  # fmt: skip
    return {row[0] for row in await cursor.fetchall()}


async def put_off(conn: AsyncConnection, domain_ids: Sequence[int], seconds: int) -> None:
    """Look at these again later: nothing is known yet of what they should publish."""
    await conn.execute(
        "UPDATE domains SET dns_next_check_at = now() + make_interval(secs => %s) WHERE id = ANY(%s)",
        [seconds, list(domain_ids)],
    )
