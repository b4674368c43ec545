"""DKIM keys of a domain, from generated to deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
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


@dataclass(frozen=True, slots=True)
class KeyOfDomain:
    """One key with its dates."""

    id: int
    domain_id: int
    tenant_id: int
    selector: str
    algorithm: str
    public_key: str
    status: str
    created_at: datetime
    published_at: datetime | None
    verified_at: datetime | None
    activated_at: datetime | None
    retiring_at: datetime | None
    revoked_at: datetime | None


_LIFE: Final = """id, domain_id, tenant_id, selector, algorithm, public_key, status, created_at, published_at,
              verified_at, activated_at, retiring_at, revoked_at"""


async def life_of(conn: AsyncConnection, domain_id: int) -> list[KeyOfDomain]:
    """Every key of a domain that is not deleted, oldest first."""
    cursor = conn.cursor(row_factory=class_row(KeyOfDomain))
    await cursor.execute(
        f"SELECT {_LIFE} FROM dkim_keys WHERE domain_id = %s AND status <> 'deleted' ORDER BY id",  # noqa: S608  a literal
        [domain_id],
    )
    return await cursor.fetchall()


async def domains_to_tend(conn: AsyncConnection, *, active_before: datetime, limit: int) -> list[int]:
    """Ids of live domains with a key that is old, coming or going."""
    cursor = await conn.execute(
        """
        SELECT DISTINCT k.domain_id FROM dkim_keys k JOIN domains d ON d.id = k.domain_id
         WHERE d.verification_status <> 'deleted' AND (
               (k.status = 'active' AND coalesce(k.activated_at, k.created_at) < %(before)s)
            OR (k.status IN ('generated', 'published', 'verified', 'retiring', 'revoked') AND EXISTS (
                  SELECT FROM dkim_keys a WHERE a.domain_id = k.domain_id AND a.algorithm = k.algorithm
                     AND a.status = 'active')))
         ORDER BY k.domain_id LIMIT %(limit)s
        """,
        {"before": active_before, "limit": limit},
    )
    return [int(row[0]) for row in await cursor.fetchall()]


async def succeed(conn: AsyncConnection, *, active_id: int, next_id: int) -> bool:
    """Let one key sign instead of another, both or neither; the old one stays published while its mail is under way."""
    cursor = await conn.execute(
        "UPDATE dkim_keys SET status = 'retiring', retiring_at = now() WHERE id = %s AND status = 'active'", [active_id]
    )
    if cursor.rowcount != 1:
        return False
    cursor = await conn.execute(
        "UPDATE dkim_keys SET status = 'active', activated_at = now() WHERE id = %s AND status = 'verified'", [next_id]
    )
    if cursor.rowcount != 1:
        raise LookupError(f"key {next_id} is not verified")
    return True


async def signing_changed_since_converged(conn: AsyncConnection, tenant_id: int) -> bool:
    """Whether a key of the tenant began to sign after its host was last converged."""
    cursor = await conn.execute(
        """
        SELECT EXISTS (SELECT FROM dkim_keys k JOIN vps_instances v ON v.tenant_id = k.tenant_id
                        WHERE k.tenant_id = %s AND k.status = 'active' AND v.status = 'active'
                          AND k.activated_at > v.converged_at)
        """,
        [tenant_id],
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def selectors_of(conn: AsyncConnection, domain_id: int) -> list[str]:
    """Every selector the domain ever had: none is used twice."""
    cursor = await conn.execute("SELECT selector FROM dkim_keys WHERE domain_id = %s", [domain_id])
    return [str(row[0]) for row in await cursor.fetchall()]
