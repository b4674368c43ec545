"""Canaries: written before they are sent, answered by what a mailbox of ours received."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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
    conn: AsyncConnection, proof_id: int, *, verdict: str, checks: Mapping[str, Any], raw_message: bytes | None
) -> None:
    """What the receiver's mailbox held, and how it was judged."""
    await conn.execute(
        """
        UPDATE delivery_proofs SET verdict = %s, checks = %s, raw_message = %s,
               received_at = CASE WHEN %s THEN now() ELSE received_at END WHERE id = %s
        """,
        [verdict, Jsonb(dict(checks)), raw_message, raw_message is not None, proof_id],
    )


async def proofs_of(conn: AsyncConnection, tenant_id: int) -> list[Proof]:
    """The newest canary of every path of a tenant."""
    cursor = conn.cursor(row_factory=class_row(Proof))
    await cursor.execute(
        f"SELECT DISTINCT ON (domain_id, smtp_ip_address_id, receiver) {_COLUMNS} FROM delivery_proofs"  # noqa: S608  literal
        " WHERE tenant_id = %s ORDER BY domain_id, smtp_ip_address_id, receiver, id DESC",
        [tenant_id],
    )
    return await cursor.fetchall()
