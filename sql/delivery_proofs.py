"""Canaries: written before they are sent, answered by what a mailbox of ours received."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb


@dataclass(frozen=True, slots=True)
class Proof:
    """One canary of one domain through one address."""

    id: int
    domain_id: int
    smtp_ip_address_id: int
    receiver: str
    nonce: str
    message_id: str
    verdict: str
    checks: Mapping[str, Any]
    sent_at: datetime | None
    received_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredProof:
    """A passing canary whole, with the names of its path: what a proof bundle is made of."""

    id: int
    domain_name: str
    ip_address: IPv4Address
    receiver: str
    checks: Mapping[str, Any]
    evidence: Mapping[str, Any]
    raw_message: bytes = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class PathStanding:
    """How the newest canary of a path fared."""

    domain_id: int
    domain_name: str
    ip_address: IPv4Address
    receiver: str
    verdict: str
    received_at: datetime | None


_COLUMNS = (
    "id, domain_id, smtp_ip_address_id, receiver, nonce, message_id, verdict, checks, sent_at, received_at, created_at"
)


async def latest_proof(
    conn: AsyncConnection, *, tenant_id: int, domain_id: int, smtp_ip_address_id: int, receiver: str
) -> Proof | None:
    """The newest canary of a path to a receiver."""
    cursor = conn.cursor(row_factory=class_row(Proof))
    await cursor.execute(
        f"SELECT {_COLUMNS} FROM delivery_proofs WHERE tenant_id = %s AND domain_id = %s"  # noqa: S608  literal
        " AND smtp_ip_address_id = %s AND receiver = %s ORDER BY id DESC LIMIT 1",
        [tenant_id, domain_id, smtp_ip_address_id, receiver],
    )
    return await cursor.fetchone()


async def intend_proof(
    conn: AsyncConnection,
    *,
    tenant_id: int,
    run_id: UUID,
    domain_id: int,
    smtp_ip_address_id: int,
    receiver: str,
    nonce: str,
    message_id: str,
) -> Proof:
    """Write the canary down before it leaves."""
    cursor = conn.cursor(row_factory=class_row(Proof))
    await cursor.execute(
        f"""
        INSERT INTO delivery_proofs (tenant_id, run_id, domain_id, smtp_ip_address_id, receiver, nonce, message_id)
        VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}
        """,  # noqa: S608  literal
        [tenant_id, run_id, domain_id, smtp_ip_address_id, receiver, nonce, message_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise LookupError("INSERT … RETURNING gave no row")
    return row


async def note_sent(conn: AsyncConnection, proof_id: int) -> None:
    """The host accepted the canary."""
    await conn.execute("UPDATE delivery_proofs SET sent_at = coalesce(sent_at, now()) WHERE id = %s", [proof_id])


async def note_verdict(
    conn: AsyncConnection,
    proof_id: int,
    *,
    verdict: str,
    checks: Mapping[str, Any],
    raw_message: bytes | None,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """What the receiver's mailbox held, how it was judged, and what that rests on."""
    await conn.execute(
        """
        UPDATE delivery_proofs SET verdict = %s, checks = %s, raw_message = %s, evidence = %s,
               received_at = CASE WHEN %s THEN now() ELSE received_at END WHERE id = %s
        """,
        [verdict, Jsonb(dict(checks)), raw_message, Jsonb(dict(evidence or {})), raw_message is not None, proof_id],
    )


async def canaries_of_a_day(
    conn: AsyncConnection, *, tenant_id: int, domain_id: int, smtp_ip_address_id: int, receiver: str
) -> int:
    """How many canaries this path has had in 24 hours."""
    cursor = await conn.execute(
        "SELECT count(*) FROM delivery_proofs WHERE tenant_id = %s AND domain_id = %s AND smtp_ip_address_id = %s"
        " AND receiver = %s AND created_at > now() - interval '24 hours'",
        [tenant_id, domain_id, smtp_ip_address_id, receiver],
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def passing_proofs(conn: AsyncConnection, tenant_id: int) -> list[StoredProof]:
    """The newest passing canary of every path whose domain and address are still there, in a lasting order."""
    cursor = conn.cursor(row_factory=class_row(StoredProof))
    await cursor.execute(
        """
        SELECT DISTINCT ON (d.domain_name, a.ip_address, p.receiver)
               p.id, d.domain_name, a.ip_address, p.receiver, p.checks, p.evidence, p.raw_message, p.received_at
          FROM delivery_proofs p JOIN domains d ON d.id = p.domain_id
          JOIN smtp_ip_addresses a ON a.id = p.smtp_ip_address_id
         WHERE p.tenant_id = %s AND p.verdict = 'pass' AND d.verification_status <> 'deleted'
         ORDER BY d.domain_name, a.ip_address, p.receiver, p.id DESC
        """,
        [tenant_id],
    )
    return await cursor.fetchall()


async def proofs_of(conn: AsyncConnection, tenant_id: int) -> list[Proof]:
    """The newest canary of every path of a tenant."""
    cursor = conn.cursor(row_factory=class_row(Proof))
    await cursor.execute(
        f"SELECT DISTINCT ON (domain_id, smtp_ip_address_id, receiver) {_COLUMNS} FROM delivery_proofs"  # noqa: S608  literal
        " WHERE tenant_id = %s ORDER BY domain_id, smtp_ip_address_id, receiver, id DESC",
        [tenant_id],
    )
    return await cursor.fetchall()


async def standing_of_paths(conn: AsyncConnection, tenant_id: int) -> list[PathStanding]:
    """Every path of a tenant as its newest canary left it, in a lasting order."""
    cursor = conn.cursor(row_factory=class_row(PathStanding))
    await cursor.execute(
        """
        SELECT DISTINCT ON (d.domain_name, a.ip_address, p.receiver)
               p.domain_id, d.domain_name, a.ip_address, p.receiver, p.verdict, p.received_at
          FROM delivery_proofs p JOIN domains d ON d.id = p.domain_id
          JOIN smtp_ip_addresses a ON a.id = p.smtp_ip_address_id
         WHERE p.tenant_id = %s ORDER BY d.domain_name, a.ip_address, p.receiver, p.id DESC
        """,
        [tenant_id],
    )
    return await cursor.fetchall()
