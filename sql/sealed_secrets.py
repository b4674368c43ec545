"""Sealed texts as they lie in the database. Sealing and opening is elsewhere: no clear text comes through here."""

# ruff: noqa: S608 - every statement is a LiteralString: the type checker refuses anything else
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.session import CONNECT_SECONDS


@dataclass(frozen=True, slots=True)
class SecretRow:
    """One sealed text; tenant, purpose and path are what its seal is bound to. `tenant_id` None: the platform's own."""

    id: UUID
    tenant_id: int | None
    purpose: str
    path: str
    key_id: str
    ciphertext: bytes = field(repr=False)


TENANT: Final = "id, tenant_id, purpose, vault_key_path AS path, key_id, ciphertext"
PLATFORM: Final = "id, NULL::bigint AS tenant_id, purpose, vault_key_path AS path, key_id, ciphertext"


async def put_secret(
    conn: AsyncConnection, *, tenant_id: int | None, purpose: str, path: str, key_id: str, ciphertext: bytes
) -> UUID:
    """Keep a sealed text under its path; one that is there is replaced and keeps its id."""
    values = {"tenant_id": tenant_id, "purpose": purpose, "path": path, "key_id": key_id, "ciphertext": ciphertext}
    cursor = await conn.execute(_PUT_PLATFORM if tenant_id is None else _PUT_TENANT, values)
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"secret {path} was not written")
    return UUID(str(row[0]))


async def get_secret(conn: AsyncConnection, *, tenant_id: int | None, path: str) -> SecretRow | None:
    """The sealed text under a path; one that lies in a vault is not here."""
    if tenant_id is None:
        return await _one(
            conn,
            f"SELECT {PLATFORM} FROM platform_secrets WHERE vault_key_path = %(path)s AND backend = 'sealed'",
            path=path,
        )
    return await _one(
        conn,
        f"""
        SELECT {TENANT} FROM secrets
         WHERE tenant_id = %(tenant_id)s AND vault_key_path = %(path)s AND backend = 'sealed'
        """,
        tenant_id=tenant_id,
        path=path,
    )


async def get_secret_by_id(conn: AsyncConnection, secret_id: UUID) -> SecretRow | None:
    """A tenant's sealed text by the id that other tables point at."""
    return await _one(conn, f"SELECT {TENANT} FROM secrets WHERE id = %(id)s AND backend = 'sealed'", id=secret_id)


async def sealed_with_another_key(conn: AsyncConnection, active_key_id: str, limit: int) -> list[SecretRow]:
    """Texts to seal again after a change of key, a tenant's and the platform's."""
    cursor = conn.cursor(row_factory=class_row(SecretRow))
    await cursor.execute(
        f"""
        SELECT {TENANT} FROM secrets WHERE backend = 'sealed' AND key_id <> %(key)s
        UNION ALL
        SELECT {PLATFORM} FROM platform_secrets WHERE backend = 'sealed' AND key_id <> %(key)s
        ORDER BY path LIMIT %(limit)s
        """,
        {"key": active_key_id, "limit": limit},
    )
    return await cursor.fetchall()


async def are_kept_in(dsn: str) -> bool:
    """Whether a database has these tables: analytics in one of its own has none."""
    async with await AsyncConnection.connect(dsn, connect_timeout=CONNECT_SECONDS) as conn:
        row = await (await conn.execute("SELECT to_regclass('public.platform_secrets') IS NOT NULL")).fetchone()
    return row is not None and bool(row[0])


async def every_sealed(conn: AsyncConnection) -> AsyncGenerator[SecretRow]:
    """All sealed texts, however many, a few hundred in memory at a time."""
    async with conn.cursor("every_sealed", row_factory=class_row(SecretRow)) as cursor:
        cursor.itersize = 500
        await cursor.execute(
            f"""
            SELECT {TENANT} FROM secrets WHERE backend = 'sealed'
            UNION ALL SELECT {PLATFORM} FROM platform_secrets WHERE backend = 'sealed'
            """
        )
        async for row in cursor:
            yield row


async def drop_secret(conn: AsyncConnection, *, tenant_id: int | None, path: str) -> bool:
    """Forget a sealed text for ever. AlreadyExists never, a foreign key violation when a row still points at it."""
    if tenant_id is None:
        cursor = await conn.execute("DELETE FROM platform_secrets WHERE vault_key_path = %s", [path])
    else:
        cursor = await conn.execute(
            "DELETE FROM secrets WHERE tenant_id = %s AND vault_key_path = %s", [tenant_id, path]
        )
    return cursor.rowcount > 0


_PUT_TENANT: Final = """
    INSERT INTO secrets (tenant_id, purpose, vault_key_path, key_id, ciphertext)
    VALUES (%(tenant_id)s, %(purpose)s, %(path)s, %(key_id)s, %(ciphertext)s)
    ON CONFLICT (tenant_id, vault_key_path) DO UPDATE
      SET purpose = EXCLUDED.purpose, key_id = EXCLUDED.key_id, ciphertext = EXCLUDED.ciphertext, rotated_at = now()
    RETURNING id
"""
_PUT_PLATFORM: Final = """
    INSERT INTO platform_secrets (purpose, vault_key_path, key_id, ciphertext)
    VALUES (%(purpose)s, %(path)s, %(key_id)s, %(ciphertext)s)
    ON CONFLICT (vault_key_path) DO UPDATE
      SET purpose = EXCLUDED.purpose, key_id = EXCLUDED.key_id, ciphertext = EXCLUDED.ciphertext, rotated_at = now()
    RETURNING id
"""


async def _one(conn: AsyncConnection, statement: LiteralString, **values: Any) -> SecretRow | None:
    cursor = conn.cursor(row_factory=class_row(SecretRow))
    await cursor.execute(statement, values)
    return await cursor.fetchone()
