"""Mailboxes of a tenant's domains."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One live row; `password_hash` is the mail server's salted hash, never a password."""

    id: int
    tenant_id: int
    email_address: str
    status: str
    password_hash: str | None
    password_secret_id: UUID | None
    domain_id: int | None
    quota_mb: int
    daily_limit: int
    warmup_status: str


async def list_mailboxes(conn: AsyncConnection, tenant_id: int) -> list[Mailbox]:
    """The tenant's live mailboxes."""
    cursor = conn.cursor(row_factory=class_row(Mailbox))
    await cursor.execute(
        """
        SELECT id, tenant_id, email_address, status, password_hash, password_secret_id, domain_id, quota_mb,
               coalesce(daily_limit, 500) AS daily_limit, warmup_status
          FROM email_accounts WHERE tenant_id = %s AND status <> 'deleted' ORDER BY id
        """,
        [tenant_id],
    )
    return await cursor.fetchall()


async def link_domain(conn: AsyncConnection, mailbox_id: int, *, domain_id: int, address: str) -> None:
    """Tie a mailbox to its domain, under the A-label form of its address."""
    await conn.execute(
        "UPDATE email_accounts SET domain_id = %s, email_address = %s, updated_at = now()"
        " WHERE id = %s AND (domain_id IS DISTINCT FROM %s OR email_address <> %s)",
        [domain_id, address, mailbox_id, domain_id, address],
    )


async def set_password(conn: AsyncConnection, mailbox_id: int, *, password_hash: str, secret_id: UUID) -> bool:
    """Give a mailbox its first password; False when it has one."""
    cursor = await conn.execute(
        "UPDATE email_accounts SET password_hash = %s, password_secret_id = %s, updated_at = now()"
        " WHERE id = %s AND password_hash IS NULL",
        [password_hash, secret_id, mailbox_id],
    )
    return cursor.rowcount == 1


async def move(conn: AsyncConnection, mailbox_id: int, *, to: str, allowed_from: Sequence[str]) -> str | None:
    """Change the status; the old word, or None when the row was in none of the allowed ones."""
    cursor = await conn.execute(
        """
        WITH old AS (SELECT id, status FROM email_accounts WHERE id = %s FOR UPDATE)
        UPDATE email_accounts m SET status = %s, updated_at = now()
          FROM old WHERE m.id = old.id AND old.status = ANY(%s) RETURNING old.status
        """,
        [mailbox_id, to, list(allowed_from)],
    )
    row = await cursor.fetchone()
    return row[0] if row else None
