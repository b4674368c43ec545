"""DKIM keys of a domain, from generated to deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class DkimKey:
    """One key; the private half is sealed elsewhere."""

    id: int
    domain_id: int
    selector: str
    algorithm: str
    public_key: str
    private_key_secret_id: UUID
    status: str


async def list_keys(conn: AsyncConnection, tenant_id: int) -> list[DkimKey]:
    """The tenant's keys that still matter, oldest first."""
    cursor = conn.cursor(row_factory=class_row(DkimKey))
    await cursor.execute(
        """
        SELECT id, domain_id, selector, algorithm, public_key, private_key_secret_id, status
          FROM dkim_keys WHERE tenant_id = %s AND status NOT IN ('revoked', 'deleted') ORDER BY id
        """,
        [tenant_id],
    )
    return await cursor.fetchall()


async def add_key(
    conn: AsyncConnection,
    *,
    tenant_id: int,
    domain_id: int,
    selector: str,
    algorithm: str,
    public_key: str,
    private_key_secret_id: UUID,
) -> None:
    """Store a new key pair; AlreadyExists when the selector is taken."""
    await conn.execute(
        """
        INSERT INTO dkim_keys (tenant_id, domain_id, selector, algorithm, public_key, private_key_secret_id)
        VALUES (%s, %s, %s, %s, %s, %s)
        """,
        [tenant_id, domain_id, selector, algorithm, public_key, private_key_secret_id],
    )


async def move(conn: AsyncConnection, key_id: int, *, to: str, allowed_from: Sequence[str]) -> str | None:
    """Change the status and stamp its time; the old word, or None when not allowed."""
    cursor = await conn.execute(
        """
        WITH old AS (SELECT id, status FROM dkim_keys WHERE id = %(id)s FOR UPDATE)
        UPDATE dkim_keys k SET status = %(to)s::text,
               published_at = CASE WHEN %(to)s = 'published' THEN now() ELSE k.published_at END,
               verified_at  = CASE WHEN %(to)s = 'verified'  THEN now() ELSE k.verified_at END,
               activated_at = CASE WHEN %(to)s = 'active'    THEN now() ELSE k.activated_at END,
               retiring_at  = CASE WHEN %(to)s = 'retiring'  THEN now() ELSE k.retiring_at END,
               revoked_at   = CASE WHEN %(to)s = 'revoked'   THEN now() ELSE k.revoked_at END,
               deleted_at   = CASE WHEN %(to)s = 'deleted'   THEN now() ELSE k.deleted_at END
          FROM old WHERE k.id = old.id AND old.status = ANY(%(from)s) RETURNING old.status
        """,
        {"id": key_id, "to": to, "from": list(allowed_from)},
    )
    row = await cursor.fetchone()
    return row[0] if row else None
