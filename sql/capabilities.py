"""What a server offers and a login may do, tried rather than believed: before work begins, not in the middle of it."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection, sql

from sql.session import CONNECT_SECONDS, our_errors

OLDEST_SERVER: Final = 150000
NOTICE_SECONDS: Final = 5.0
ROLES: Final = ("penguin_app", "penguin_orchestrator", "penguin_owner", "penguin_backup")
FACTS: Final = """
    SELECT current_setting('server_version_num')::int, current_setting('wal_level'),
           current_setting('max_connections')::int, r.rolsuper, r.rolcreatedb,
           ARRAY(SELECT x FROM unnest(%s::text[]) x
                  WHERE to_regrole(x) IS NOT NULL AND pg_has_role(to_regrole(x), 'MEMBER')),
           coalesce((SELECT rolbypassrls OR rolsuper FROM pg_roles WHERE rolname = 'penguin_app'), false),
           coalesce((SELECT rolbypassrls FROM pg_roles WHERE rolname = 'penguin_backup'), false),
           (SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
               AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'
                            AND NOT a.attisdropped)
               AND NOT (c.relrowsecurity AND c.relforcerowsecurity
                        AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)))
      FROM pg_roles r WHERE r.rolname = session_user
"""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One server through one login. `open_tables` have a tenant_id and no forced row security with a policy."""

    server_version: int
    wal_level: str
    max_connections: int
    superuser: bool
    may_create_databases: bool
    roles: tuple[str, ...]
    app_bypasses_row_security: bool
    backup_bypasses_row_security: bool
    open_tables: int
    session_locks: bool
    notices: bool

    @property
    def unsafe(self) -> tuple[str, ...]:
        """Why no tenant's data may be worked on through this login; nothing: it is safe."""
        roles = (f"the login may not take the role {role}" for role in ROLES[:2] if role not in self.roles)
        return (*self.unsafe_before_migration, *roles)

    @property
    def unsafe_before_migration(self) -> tuple[str, ...]:
        """The same where the schema is still to come, and the roles with it."""
        return (
            *([f"PostgreSQL {self.server_version // 10000} is too old: 15 or newer is needed"] if self.too_old else []),
            *(["row security does not bind penguin_app"] if self.app_bypasses_row_security else []),
            *([f"{self.open_tables} tenant tables are open"] if self.open_tables else []),
            *([] if self.session_locks else ["session locks do not hold: a transaction pooler stands between"]),
        )

    @property
    def weaker(self) -> tuple[str, ...]:
        """What works less well here, and what is done instead."""
        return (
            *([] if self.notices else ["no notices arrive: the job queue polls"]),
            *([] if self.backup_bypasses_row_security else ["dumps are read by the orchestrator's policies"]),
            *([] if self.superuser or self.may_create_databases else ["no rehearsal of restores: CREATEDB is missing"]),
        )

    @property
    def too_old(self) -> bool:
        """Older than what we test on."""
        return self.server_version < OLDEST_SERVER


async def probe(dsn: str) -> Capabilities:
    """Ask and try; leaves nothing behind. Raises Contended when nothing answers."""
    with our_errors():
        async with await _connected(dsn) as conn, await _connected(dsn) as other:
            row = await (await conn.execute(FACTS, [list(ROLES)])).fetchone()
            if row is None:
                raise LookupError("the login is not in pg_roles")
            return Capabilities(
                row[0], row[1], row[2], row[3], row[4], tuple(row[5]), row[6], row[7], row[8],
                session_locks=await _locks_hold(conn, other), notices=await _notices_arrive(conn, other),
            )  # fmt: skip


async def _connected(dsn: str) -> AsyncConnection:
    return await AsyncConnection.connect(
        dsn, autocommit=True, application_name="penguin:doctor", connect_timeout=CONNECT_SECONDS
    )


async def _locks_hold(conn: AsyncConnection, other: AsyncConnection) -> bool:
    """A lock that one session has, the other does not get: not so where a pooler deals out sessions by transaction."""
    key = uuid4().int & 0x7FFFFFFF
    await conn.execute("SELECT pg_advisory_lock(%s)", [key])
    taken = await (await other.execute("SELECT pg_try_advisory_lock(%s)", [key])).fetchone()
    await conn.execute("SELECT pg_advisory_unlock_all()")
    await other.execute("SELECT pg_advisory_unlock_all()")
    return taken is not None and not taken[0]


async def _notices_arrive(conn: AsyncConnection, other: AsyncConnection) -> bool:
    channel = f"penguin_probe_{uuid4().hex[:8]}"
    with suppress(psycopg.Error, TimeoutError):
        await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        await other.execute("SELECT pg_notify(%s, '')", [channel])
        async with asyncio.timeout(NOTICE_SECONDS):
            async for notice in conn.notifies(timeout=NOTICE_SECONDS):
                return notice.channel == channel
    return False
