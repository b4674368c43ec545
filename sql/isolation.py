"""Prove, table by table, that one tenant's row is neither seen nor touched by another.

The tables come from the catalog, never from a list by hand, so a new table without a policy is a breach. All of it
happens in one transaction that is taken back: two tenants, a row of each in every table, and every right granted to the
application's role, so that the policy is tried and not the grant. Wants a superuser and a database nobody works in.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection, sql

from sql.session import CONNECT_SECONDS

NO_TENANT: Final = frozenset(
    {
        *("plans", "policy_presets", "system_config", "platform_secrets", "schema_migrations", "backups"),
        *("job_queues", "job_logs", "rollup_watermarks"),
        *("blocklist_zones", "blocklist_codes", "blocklist_self_tests"),
    }
)
"""Tables that belong to nobody. Any other table without a tenant_id is a breach."""
MAY_BE_NULL: Final = frozenset({"jobs", "system_notifications"})  # the platform's own jobs and alerts
CLOSED_TO_APP: Final = frozenset(
    {
        *("secrets", "platform_secrets", "system_config", "provisioning_attempts", "provider_orders", "backups"),
        "acme_orders",
        *("jobs", "job_logs", "job_queues", "rollup_watermarks"),
    }
)
PLAIN_KEYS: Final = frozenset({("tenant_users", "users"), ("transactional_emails", "jobs")})
"""References without tenant_id on purpose: a member of another home tenant, the job behind a message."""

TABLES: Final = """
    SELECT c.oid::regclass::text, c.relname, c.relrowsecurity, c.relforcerowsecurity, t.atttypid::regtype::text,
           t.attnotnull
      FROM pg_class c
      LEFT JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
     ORDER BY c.relname
"""
COLUMNS: Final = """
    SELECT attname, format_type(atttypid, NULL), greatest(atttypmod - 4, 0) FROM pg_attribute
     WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND NOT atthasdef
       AND attidentity = '' AND attgenerated = '' AND attname <> 'tenant_id'
"""
POLICIES: Final = """
    SELECT polname::text, polcmd::text, coalesce(pg_get_expr(polqual, polrelid), ''),
           coalesce(pg_get_expr(polwithcheck, polrelid), '')
      FROM pg_policy
     WHERE polrelid = %s::regclass AND (polroles = '{0}' OR 'penguin_app'::regrole = ANY(polroles))
"""
TENANT_INDEX: Final = """
    SELECT 1 FROM pg_index i JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = i.indkey[0]
     WHERE i.indrelid = %s::regclass AND t.attname = 'tenant_id'
"""
LOOSE_KEYS: Final = """
    SELECT k.conname::text, child.relname::text, parent.relname::text
      FROM pg_constraint k
      JOIN pg_class child ON child.oid = k.conrelid JOIN pg_class parent ON parent.oid = k.confrelid
     WHERE k.contype = 'f' AND child.relnamespace = 'public'::regnamespace AND parent.relname <> 'tenants'
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = child.oid AND a.attname = 'tenant_id')
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = parent.oid AND a.attname = 'tenant_id')
       AND NOT EXISTS (SELECT FROM pg_attribute a
                        WHERE a.attrelid = child.oid AND a.attname = 'tenant_id' AND a.attnum = ANY(k.conkey))
"""
KEYS_WITHOUT_INDEX: Final = """
    SELECT k.conname::text, k.conrelid::regclass::text FROM pg_constraint k
     WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
       AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indkey[0] = ANY(k.conkey)
         AND (cardinality(k.conkey) = 1 OR i.indkey[1] = ANY(k.conkey)
              OR i.indkey[0] <> (SELECT attnum FROM pg_attribute
                                  WHERE attrelid = k.conrelid AND attname = 'tenant_id')))
"""
WIDENING: Final = """
    SELECT DISTINCT p.polrelid::regclass::text, p.polname::text, d.refobjid::regclass::text
      FROM pg_policy p
      JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass
     WHERE d.refobjid <> p.polrelid AND (polroles = '{0}' OR 'penguin_app'::regrole = ANY(polroles))
       AND (has_table_privilege('penguin_app', d.refobjid, 'INSERT')
            OR has_any_column_privilege('penguin_app', d.refobjid, 'UPDATE'))
"""
APP_RIGHTS: Final = """
    SELECT table_name::text, privilege_type::text FROM information_schema.role_table_grants
     WHERE grantee IN ('penguin_app', 'PUBLIC') AND table_schema = 'public' AND table_name = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One of the two tenants of the trial."""

    pk: int
    uuid: UUID

    def key(self, tenant_type: str) -> int | UUID:
        """What a tenant_id column of this type holds."""
        return self.pk if tenant_type == "bigint" else self.uuid


@dataclass(frozen=True, slots=True)
class Table:
    """One table as the catalog has it. `tenant_type` None: it has no tenant_id."""

    name: str
    secured: bool
    forced: bool
    tenant_type: str | None
    tenant_required: bool | None

    @property
    def identifier(self) -> sql.Identifier:
        """Its name, quoted."""
        return sql.Identifier(self.name)


async def breaches(conn: AsyncConnection, *, only: frozenset[str] | None = None) -> tuple[str, ...]:
    """Everything that is not isolated, one sentence each; nothing remains of the trial. `conn` is a superuser's.

    With `only` the trial is that of a few tables; what the catalog alone tells is asked of all.
    """
    async with conn.transaction(force_rollback=True):
        found = [*await _closed_tables(conn), *await _widening_policies(conn)]
        tables = await _tables(conn)
        found += [
            f"{table.name}: it has no tenant_id and is not declared to belong to nobody"
            for table in tables
            if table.tenant_type is None and table.name not in NO_TENANT
        ]
        owned = [table for table in tables if table.tenant_type and (only is None or table.name in only)]
        await _open_the_grants(conn, tables)
        trial = await _Trial.set_up(conn, owned)
        for table in owned:
            found += await _shape(conn, table)
            found += await trial.of(table)
        return (*found, *await _keys(conn))


async def breaches_of(dsn: str) -> tuple[str, ...]:
    """The same for a database nobody works in. A login that is no superuser can ask the catalog alone."""
    async with await AsyncConnection.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS) as conn:
        row = await (await conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")).fetchone()
        if row is not None and row[0]:
            return await breaches(conn)
        owned = [table for table in await _tables(conn) if table.tenant_type]
        return (
            *await _closed_tables(conn),
            *await _widening_policies(conn),
            *[found for table in owned for found in await _shape(conn, table)],
            *await _keys(conn),
        )


async def _tables(conn: AsyncConnection) -> list[Table]:
    rows = await (await conn.execute(TABLES)).fetchall()
    return [Table(str(row[1]), row[2], row[3], row[4], row[5]) for row in rows]


async def _closed_tables(conn: AsyncConnection) -> list[str]:
    rows = await (await conn.execute(APP_RIGHTS, [sorted(CLOSED_TO_APP)])).fetchall()
    return [f"{row[0]}: penguin_app may {row[1]}" for row in rows]


async def _widening_policies(conn: AsyncConnection) -> list[str]:
    """Policies that believe a table which the application writes: a row of its own would open another's."""
    rows = await (await conn.execute(WIDENING)).fetchall()
    return [f"{row[0]}: policy {row[1]} believes {row[2]}, which penguin_app may write" for row in rows]


async def _open_the_grants(conn: AsyncConnection, tables: Sequence[Table]) -> None:
    """Grants, CHECKs and foreign keys out of the way, for this transaction: what is tried is the policy alone."""
    await conn.execute("SET LOCAL session_replication_role = replica")
    await conn.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO penguin_app")
    await conn.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO penguin_app")
    names = [table.name for table in tables]
    checks = await conn.execute(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c'"
        " AND conrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s))",
        [names],
    )
    for table, check in await checks.fetchall():
        drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
        await conn.execute(drop.format(sql.Identifier(table), sql.Identifier(check)))


async def _shape(conn: AsyncConnection, table: Table) -> list[str]:
    """What the catalog says: switched on, forced, one policy for the application, no constant, an index."""
    found: list[str] = []
    if not table.secured:
        found.append(f"{table.name}: row security is off")
    if not table.forced:
        found.append(f"{table.name}: row security does not bind the owner")
    if not table.tenant_required and table.name not in MAY_BE_NULL:
        found.append(f"{table.name}: tenant_id may be empty")
    policies = await (await conn.execute(POLICIES, [table.name])).fetchall()
    found += [f"{table.name}: policy {row[0]} is constant true" for row in policies if "true" in {row[2], row[3]}]
    whole = [row for row in policies if row[1] == "*"]
    if len(whole) != 1:
        found.append(f"{table.name}: {len(whole)} policies for penguin_app where one is wanted")
    found += [
        f"{table.name}: policy {row[0]} asks for the tenant once a row, not once a query"
        for row in whole
        if "( SELECT current_tenant_" not in row[2] or "( SELECT current_tenant_" not in row[3]
    ]
    if await (await conn.execute(TENANT_INDEX, [table.name])).fetchone() is None:
        found.append(f"{table.name}: no index is led by tenant_id")
    return found


async def _keys(conn: AsyncConnection) -> list[str]:
    loose = await (await conn.execute(LOOSE_KEYS)).fetchall()
    bare = await (await conn.execute(KEYS_WITHOUT_INDEX)).fetchall()
    return [
        *(
            f"{row[1]}: {row[0]} may lead to another tenant's row of {row[2]}"
            for row in loose
            if (row[1], row[2]) not in PLAIN_KEYS
        ),
        *(f"{row[1]}: {row[0]} has no index" for row in bare),
    ]


class _Trial:
    """Two tenants with a row each in every table, and what each can do to the other's."""

    def __init__(self, conn: AsyncConnection, one: Tenant, other: Tenant) -> None:
        self.conn = conn
        self.pairs = ((one, other), (other, one))
        self.numbers = count(1_000_000)

    @classmethod
    async def set_up(cls, conn: AsyncConnection, tables: Sequence[Table]) -> "_Trial":
        one, other = [await cls._tenant(conn) for _ in range(2)]
        trial = cls(conn, one, other)
        for table in tables:
            for tenant in (one, other):
                if table.name != "tenants":
                    await conn.execute(*await trial._row(table, tenant))
        return trial

    @staticmethod
    async def _tenant(conn: AsyncConnection) -> Tenant:
        known = await (await conn.execute("SELECT to_regclass('public.tenants') IS NOT NULL")).fetchone()
        if known is None or not known[0]:  # analytics in a database of its own knows tenants by uuid alone
            return Tenant(0, uuid4())
        cursor = await conn.execute("INSERT INTO tenants (name) VALUES ('isolation') RETURNING id, tenant_id")
        row = await cursor.fetchone()
        if row is None:
            raise LookupError("no tenant was made")
        return Tenant(row[0], row[1])

    async def of(self, table: Table) -> list[str]:
        """All the ways from one tenant to the other, both directions. An error where none is due is a breach too."""
        ways = [way(table, *pair) for pair in self.pairs for way in (self._sees, self._changes, self._is_refused)]
        found: list[str] = []
        for way in (*ways, self._without_context(table), self._by_orchestrator(table)):
            try:
                found += await way
            except psycopg.Error as error:
                found.append(f"{table.name}: {error.sqlstate} {str(error).strip()}")
        return found

    async def _without_context(self, table: Table) -> list[str]:
        found: list[str] = []
        for word in (None, "", str(uuid4())):
            async with self._as("penguin_app", word):
                if seen := await self._count(table):
                    found.append(f"{table.name}: with context {word!r} {seen} rows are seen")
        return found

    async def _by_orchestrator(self, table: Table) -> list[str]:
        keys = [tenant.key(str(table.tenant_type)) for tenant, _ in self.pairs]
        async with self._as("penguin_orchestrator", None):
            seen = await self._count(table, keys)
        return [] if seen == len(keys) else [f"{table.name}: the orchestrator sees {seen} of {len(keys)} rows"]

    async def _sees(self, table: Table, me: Tenant, other: Tenant) -> list[str]:
        """Its own row and no other."""
        kind = str(table.tenant_type)
        async with self._as("penguin_app", str(me.uuid)):
            mine = await self._count(table, [me.key(kind)])
            theirs = await self._count(table, [other.key(kind)])
            seen = await self._count(table)
        if (mine, theirs, seen) == (1, 0, 1):
            return []
        return [f"{table.name}: a tenant sees {mine} of its own 1 row, {theirs} of another's, {seen} in all"]

    async def _changes(self, table: Table, me: Tenant, other: Tenant) -> list[str]:
        """Nothing of the other's, by update or delete."""
        key = other.key(str(table.tenant_type))
        found: list[str] = []
        for verb, text in (
            ("updates", sql.SQL("UPDATE {} SET tenant_id = tenant_id WHERE tenant_id = %s")),
            ("deletes", sql.SQL("DELETE FROM {} WHERE tenant_id = %s")),
        ):
            async with self._as("penguin_app", str(me.uuid)):
                cursor = await self.conn.execute(text.format(table.identifier), [key])
                if cursor.rowcount:
                    found.append(f"{table.name}: a tenant {verb} {cursor.rowcount} rows of another")
        return found

    async def _is_refused(self, table: Table, me: Tenant, other: Tenant) -> list[str]:
        """A row for another tenant and a row moved to it: the policy refuses both, any other answer is a breach."""
        move = sql.SQL("UPDATE {} SET tenant_id = %s WHERE tenant_id = %s").format(table.identifier)
        keys = [other.key(str(table.tenant_type)), me.key(str(table.tenant_type))]
        insert = await self._row(table, other)
        outcomes = {
            "insert a row for another": await self._outcome(me, *insert),
            "move its row to another": await self._outcome(me, move, keys),
        }
        return [f"{table.name}: to {what}: {said}" for what, said in outcomes.items() if said]

    async def _outcome(self, me: Tenant, statement: sql.Composed, values: Sequence[object]) -> str | None:
        """None when row security refused; else what happened instead."""
        try:
            async with self._as("penguin_app", str(me.uuid)):
                await self.conn.execute(statement, values)
        except psycopg.errors.InsufficientPrivilege as error:
            return None if "row-level security" in str(error) else str(error).strip()
        except psycopg.Error as error:
            return f"{error.sqlstate} {str(error).strip()}"
        return "it was allowed"

    async def _count(self, table: Table, keys: Sequence[object] | None = None) -> int:
        where = sql.SQL("") if keys is None else sql.SQL(" WHERE tenant_id = ANY(%s)")
        statement = sql.SQL("SELECT count(*) FROM {}").format(table.identifier) + where
        row = await (await self.conn.execute(statement, None if keys is None else [list(keys)])).fetchone()
        return -1 if row is None else int(row[0])

    async def _row(self, table: Table, tenant: Tenant) -> tuple[sql.Composed, list[object]]:
        """An INSERT with a value for every column that has no default."""
        columns = await (await self.conn.execute(COLUMNS, [table.name])).fetchall()
        values = [_value(str(kind), int(length), next(self.numbers)) for _, kind, length in columns]
        names = [sql.Identifier("tenant_id"), *(sql.Identifier(str(column[0])) for column in columns)]
        places = sql.SQL(", ").join([sql.Placeholder()] * len(names))
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            table.identifier, sql.SQL(", ").join(names), places
        )
        return statement, [tenant.key(str(table.tenant_type)), *values]

    @asynccontextmanager
    async def _as(self, role: str, tenant: str | None) -> AsyncGenerator[None]:
        """Inside, statements run as `role` in the context of `tenant`; afterwards nothing of it happened."""
        async with self.conn.transaction(force_rollback=True):
            await self.conn.execute("SELECT set_config('role', %s, true)", [role])
            if tenant is not None:
                await self.conn.execute("SELECT set_config('app.current_tenant_id', %s, true)", [tenant])
            yield


def _value(kind: str, length: int, number: int) -> object:
    """Some text that this type reads, another one for every number."""
    texts = {
        "uuid": str(UUID(int=number)),
        "jsonb": "{}",
        "boolean": "false",
        "date": "2026-01-01",
        "timestamp with time zone": "2026-01-01T00:00:00Z",
        "interval": "1 second",
        "inet": f"198.51.{number // 250 % 250}.{number % 250}",
        "bytea": "\\x00",
        "text[]": "{}",
    }
    return texts.get(kind, str(number)[-length:] if length else str(number))
