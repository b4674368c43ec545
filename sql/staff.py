"""Staff of a tenant, their roles, and what a role permits. The platform's operators are staff of the platform's tenant.

A permission is a verb such as `order.decide`; a role holds a list under `verbs`, where `order.*` means every verb of
that noun and `*` everything. Whoever is not known, not active, or holds no such verb may not: there is no default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from sql import databases
from sql.ids import tenant_pk
from sql.session import Contended, NoSchema, as_orchestrator, open_pool

EVERYTHING: Final = "*"
STAFF_VERBS: Final = ("staff.change", "staff.*", EVERYTHING)
"""Whoever holds one of these can let others in."""

Standing = Literal["no schema", "no tenant", "no staff", "unknown", "may not", "may"]


class LastKeeper(Exception):
    """Somebody on the staff must be able to change the staff."""


@dataclass(frozen=True, slots=True)
class StaffMember:
    """One person on the staff with the names of their roles."""

    id: int
    tenant_id: int
    name: str
    email: str
    position: str | None
    is_active: bool
    roles: list[str]


async def add_member(
    conn: AsyncConnection, *, tenant_id: int, name: str, email: str, position: str | None = None
) -> int:
    """Put a person on the staff, or back on it; their key."""
    cursor = await conn.execute(
        """
        INSERT INTO staff_members (tenant_id, name, email, position) VALUES (%s, %s, lower(%s), %s)
        ON CONFLICT (tenant_id, email) DO UPDATE
          SET name = EXCLUDED.name, position = EXCLUDED.position, is_active = true
        RETURNING id
        """,
        [tenant_id, name, email.strip(), position],
    )
    return await _key(cursor, email)


async def add_role(conn: AsyncConnection, *, tenant_id: int, name: str, verbs: Sequence[str]) -> int:
    """Make a role, or give it other verbs; its key. Raises ValueError for what is no verb."""
    for verb in verbs:
        if verb != EVERYTHING and not _is_verb(verb):
            raise ValueError(f"{verb!r} is no verb: write noun.verb, noun.* or *")
    cursor = await conn.execute(
        """
        INSERT INTO staff_roles (tenant_id, role_name, permissions) VALUES (%s, %s, %s)
        ON CONFLICT (tenant_id, role_name) DO UPDATE SET permissions = EXCLUDED.permissions RETURNING id
        """,
        [tenant_id, name, Jsonb({"verbs": sorted(set(verbs))})],
    )
    return await _key(cursor, name)


async def assign(conn: AsyncConnection, *, tenant_id: int, member_id: int, role_id: int) -> None:
    """Give a role. A member or role of another tenant is refused by the database's keys."""
    await conn.execute(
        """
        INSERT INTO staff_role_assignments (tenant_id, staff_member_id, role_id) VALUES (%s, %s, %s)
        ON CONFLICT (staff_member_id, role_id) DO NOTHING
        """,
        [tenant_id, member_id, role_id],
    )


async def revoke(conn: AsyncConnection, *, tenant_id: int, member_id: int, role_id: int) -> bool:
    """Take a role back."""
    cursor = await conn.execute(
        "DELETE FROM staff_role_assignments WHERE tenant_id = %s AND staff_member_id = %s AND role_id = %s",
        [tenant_id, member_id, role_id],
    )
    return cursor.rowcount > 0


async def leave(conn: AsyncConnection, *, tenant_id: int, email: str) -> bool:
    """A person is on the staff no longer; their roles stay on record and permit nothing."""
    cursor = await conn.execute(
        "UPDATE staff_members SET is_active = false WHERE tenant_id = %s AND email = lower(%s) AND is_active",
        [tenant_id, email.strip()],
    )
    return cursor.rowcount > 0


async def verbs_of(conn: AsyncConnection, tenant_id: int, email: str) -> frozenset[str]:
    """Everything the roles of an active member permit, wildcards as they are written."""
    cursor = await conn.execute(
        """
        SELECT DISTINCT jsonb_array_elements_text(r.permissions -> 'verbs')
          FROM staff_members m
          JOIN staff_role_assignments a ON a.tenant_id = m.tenant_id AND a.staff_member_id = m.id
          JOIN staff_roles r ON r.tenant_id = a.tenant_id AND r.id = a.role_id
         WHERE m.tenant_id = %s AND m.email = lower(%s) AND m.is_active
           AND jsonb_typeof(r.permissions -> 'verbs') = 'array'
        """,
        [tenant_id, email.strip()],
    )
    return frozenset(str(row[0]) for row in await cursor.fetchall())


async def may(conn: AsyncConnection, tenant_id: int, email: str, verb: str) -> bool:
    """Whether this person may do this."""
    held = await verbs_of(conn, tenant_id, email)
    noun = verb.partition(".")[0]
    return not held.isdisjoint({verb, f"{noun}.*", EVERYTHING})


async def standing_of(dsn: str, platform: UUID, email: str, verb: str) -> Standing:
    """Whether somebody on the staff of `platform` may do this; also of a database that is empty still, or gone."""
    try:
        pool = await open_pool(dsn, part="staff", max_size=1)
    except Contended:
        if not await databases.is_gone(dsn):
            raise
        return "no schema"  # whoever restores it has nobody to ask
    try:
        async with pool, as_orchestrator(pool) as conn:
            return await _standing(conn, platform, email, verb)
    except NoSchema:  # no table, or no role to look with
        return "no schema"


async def _standing(conn: AsyncConnection, platform: UUID, email: str, verb: str) -> Standing:
    tenant = await tenant_pk(conn, platform)
    if tenant is None:
        return "no tenant"
    staff = await list_staff(conn, tenant)
    if not staff:
        return "no staff"
    if not any(member.is_active and member.email == email.strip().lower() for member in staff):
        return "unknown"
    return "may" if await may(conn, tenant, email, verb) else "may not"


async def keepers(conn: AsyncConnection, tenant_id: int) -> frozenset[str]:
    """Addresses of those who can change the staff. The rows stay as they are until the transaction ends."""
    cursor = await conn.execute(
        """
        SELECT m.email FROM staff_members m
          JOIN staff_role_assignments a ON a.tenant_id = m.tenant_id AND a.staff_member_id = m.id
          JOIN staff_roles r ON r.tenant_id = a.tenant_id AND r.id = a.role_id
         WHERE m.tenant_id = %s AND m.is_active AND r.permissions -> 'verbs' ?| %s
        """,
        [tenant_id, list(STAFF_VERBS)],
    )
    return frozenset(str(row[0]) for row in await cursor.fetchall())


async def decide_alone(conn: AsyncConnection, tenant_id: int) -> None:
    """Changes of one tenant's staff take turns until the transaction ends: two that part at once would leave nobody."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('penguin-staff:' || %s::text, 0))", [tenant_id])


async def role_key(conn: AsyncConnection, tenant_id: int, name: str) -> int | None:
    """The key of a role by its name."""
    cursor = await conn.execute("SELECT id FROM staff_roles WHERE tenant_id = %s AND role_name = %s", [tenant_id, name])
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def list_roles(conn: AsyncConnection, tenant_id: int) -> list[tuple[str, list[str]]]:
    """Roles by name, with their verbs."""
    cursor = await conn.execute(
        "SELECT role_name, permissions -> 'verbs' FROM staff_roles WHERE tenant_id = %s ORDER BY role_name",
        [tenant_id],
    )
    return [(str(row[0]), list(row[1] or [])) for row in await cursor.fetchall()]


async def list_staff(conn: AsyncConnection, tenant_id: int) -> list[StaffMember]:
    """Everybody who is or was on the staff, by address."""
    cursor = conn.cursor(row_factory=class_row(StaffMember))
    await cursor.execute(
        """
        SELECT m.id, m.tenant_id, m.name, m.email, m.position, coalesce(m.is_active, false) AS is_active,
               array(SELECT r.role_name::text FROM staff_role_assignments a JOIN staff_roles r ON r.id = a.role_id
                      WHERE a.tenant_id = m.tenant_id AND a.staff_member_id = m.id ORDER BY 1) AS roles
          FROM staff_members m WHERE m.tenant_id = %s ORDER BY m.email
        """,
        [tenant_id],
    )
    return await cursor.fetchall()


def _is_verb(verb: str) -> bool:
    noun, dot, action = verb.partition(".")
    words = (noun, "x" if action == "*" else action)
    return dot == "." and all(word.replace("_", "").isalpha() and word.islower() for word in words)


async def _key(cursor: AsyncCursor[TupleRow], name: str) -> int:
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"{name} was not written")
    return int(row[0])
