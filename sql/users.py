"""People of a tenant: invited, active once they have a password, deactivated rather than deleted.

A user has one home tenant and may be a member of others. Addresses are unique over all tenants, so an invitation
answers alike whether the person is new to us or not: nobody learns who our customers are.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Role = Literal["owner", "admin", "employee"]
Level = Literal["basic", "manager", "admin", "owner"]

NO_PASSWORD: Final = "!"  # noqa: S105 - no hash has this form, so nobody logs in with it


class LastOwner(Exception):
    """A tenant keeps at least one active owner."""


@dataclass(frozen=True, slots=True)
class Member:
    """One person in one tenant."""

    id: int
    user_id: UUID
    email: str
    role: str
    permission_level: str
    first_name: str | None
    last_name: str | None
    is_active: bool
    invited_at: datetime | None
    joined_at: datetime | None


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody a notice is for."""

    user_id: UUID
    email: str


async def deciders(conn: AsyncConnection, tenant: UUID) -> list[Recipient]:
    """Active owners and admins of a tenant: who is told when something is wrong, by address."""
    cursor = conn.cursor(row_factory=class_row(Recipient))
    await cursor.execute(
        """
        SELECT u.user_id, u.email FROM tenant_users m JOIN users u ON u.id = m.user_id
          JOIN tenants t ON t.id = m.tenant_id
         WHERE t.tenant_id = %s AND m.permission_level IN ('owner', 'admin') AND u.is_active
           AND u.deactivated_at IS NULL ORDER BY u.email
        """,
        [tenant],
    )
    return await cursor.fetchall()


async def address_of(conn: AsyncConnection, user_id: UUID) -> str | None:
    """Where mail to an active person goes; None for nobody, or somebody who was deactivated."""
    cursor = await conn.execute(
        "SELECT email FROM users WHERE user_id = %s AND is_active AND deactivated_at IS NULL", [user_id]
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def invite(conn: AsyncConnection, *, tenant_id: int, email: str, role: Role, level: Level) -> UUID:
    """Make a person a member: a new one waits for a password, a known one joins. Safe to repeat.

    As the orchestrator: a tenant cannot see people of another home, so it could not find a known one.
    """
    address = email.strip().lower()
    cursor = await conn.execute(
        """
        WITH made AS (
          INSERT INTO users (tenant_id, email, password_hash, role, is_active, invited_at)
          VALUES (%(tenant)s, %(email)s, %(none)s, %(role)s, false, now())
          ON CONFLICT (email) DO NOTHING RETURNING id, user_id),
        person AS (SELECT * FROM made UNION ALL SELECT id, user_id FROM users WHERE email = %(email)s LIMIT 1),
        joined AS (
          INSERT INTO tenant_users (tenant_id, user_id, permission_level)
          SELECT %(tenant)s, id, %(level)s FROM person ON CONFLICT (tenant_id, user_id) DO NOTHING)
        SELECT user_id FROM person
        """,
        {"tenant": tenant_id, "email": address, "none": NO_PASSWORD, "role": role, "level": level},
    )
    row = await cursor.fetchone()
    if row is None:
        raise LookupError("nobody was invited")
    return UUID(str(row[0]))


async def set_password(conn: AsyncConnection, user_id: UUID, password_hash: str) -> bool:
    """Keep an argon2 hash; the first one activates. False for nobody, or somebody who was deactivated."""
    if not password_hash.startswith("$argon2id$"):
        raise ValueError("a password is kept as an argon2id hash and nothing else")
    cursor = await conn.execute(
        """
        UPDATE users SET password_hash = %s, is_active = true, updated_at = now()
         WHERE user_id = %s AND deactivated_at IS NULL
        """,
        [password_hash, user_id],
    )
    return cursor.rowcount > 0


async def deactivate(conn: AsyncConnection, user_id: UUID) -> bool:
    """Nobody logs in as this person any more; what they did stays theirs. Raises LastOwner."""
    memberships = await conn.execute(
        """
        SELECT m.tenant_id FROM tenant_users m JOIN users u ON u.id = m.user_id
         WHERE u.user_id = %s ORDER BY m.tenant_id
        """,
        [user_id],
    )
    async with AsyncExitStack() as owned:
        for (tenant_id,) in await memberships.fetchall():
            await owned.enter_async_context(_an_owner_stays(conn, int(tenant_id)))
        cursor = await conn.execute(
            """
            UPDATE users SET is_active = false, deactivated_at = now(), password_hash = %s, updated_at = now()
             WHERE user_id = %s AND deactivated_at IS NULL
            """,
            [NO_PASSWORD, user_id],
        )
    return cursor.rowcount > 0


async def set_level(conn: AsyncConnection, *, tenant_id: int, user_id: UUID, level: Level) -> bool:
    """What a member may do in one tenant. Raises LastOwner."""
    async with _an_owner_stays(conn, tenant_id):
        cursor = await conn.execute(
            """
            UPDATE tenant_users m SET permission_level = %s FROM users u
             WHERE u.id = m.user_id AND u.user_id = %s AND m.tenant_id = %s
            """,
            [level, user_id, tenant_id],
        )
    return cursor.rowcount > 0


async def remove_member(conn: AsyncConnection, *, tenant_id: int, user_id: UUID) -> bool:
    """End a membership; the person's account stays. Raises LastOwner."""
    async with _an_owner_stays(conn, tenant_id):
        cursor = await conn.execute(
            """
            DELETE FROM tenant_users m USING users u
             WHERE u.id = m.user_id AND u.user_id = %s AND m.tenant_id = %s
            """,
            [user_id, tenant_id],
        )
    return cursor.rowcount > 0


async def members(conn: AsyncConnection, tenant_id: int) -> list[Member]:
    """Everybody in a tenant, by address."""
    cursor = conn.cursor(row_factory=class_row(Member))
    await cursor.execute(
        """
        SELECT u.id, u.user_id, u.email, u.role, m.permission_level, u.first_name, u.last_name,
               coalesce(u.is_active, false) AS is_active, u.invited_at, m.joined_at
          FROM tenant_users m JOIN users u ON u.id = m.user_id WHERE m.tenant_id = %s ORDER BY u.email
        """,
        [tenant_id],
    )
    return await cursor.fetchall()


@asynccontextmanager
async def _an_owner_stays(conn: AsyncConnection, tenant_id: int) -> AsyncGenerator[None]:
    """Refuse a change that takes a tenant's last owner. One that has none is left alone.

    Two owners who demote each other at once would each still see the other: a lock makes them take turns.
    """
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('penguin-owners:' || %s::text, 0))", [tenant_id])
    before = await _owners(conn, tenant_id)
    yield
    if before and not await _owners(conn, tenant_id):
        raise LastOwner(f"tenant {tenant_id} would have no owner")


async def _owners(conn: AsyncConnection, tenant_id: int) -> int:
    cursor = await conn.execute(
        """
        SELECT count(*) FROM tenant_users m JOIN users u ON u.id = m.user_id
         WHERE m.tenant_id = %s AND m.permission_level = 'owner' AND u.deactivated_at IS NULL
        """,
        [tenant_id],
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
