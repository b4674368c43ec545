"""The only door to PostgreSQL: pools, role and tenant of a transaction, the run lock, psycopg's errors made ours.

A process takes its role for one transaction at a time. Role, tenant and time limits are set by the transaction's first
statement and end with it, so a connection that goes back to a pool carries nothing over.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

Pool = AsyncConnectionPool
Connection = AsyncConnection
"""For those who hand them on: the driver itself is known to sql alone."""

WAIT_FOR_CONNECTION_SECONDS = 2.0
IDLE_SECONDS = 30.0
LIFETIME_SECONDS = 1800.0
CONNECT_SECONDS = 10
CHANGE_LOCK_WAIT_SECONDS = 180  # a change at the provider may take its whole time-out of 120 s

CONFLICTS = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300"})
"""Serialization failure, deadlock, lock not available, server going away or starting, too many connections."""

ABSENT = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName)
ROLE_MISSING = 'role "penguin_'  # a transaction takes its role by set_config: the value of a parameter, to the server

RUN_LOCK_KEY: Final = "hashtextextended('penguin-run:' || %(run_id)s::text, 0)"
HELD_LOCKS: Final = """
    SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 1 AND granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""The 64-bit advisory locks held in this database, as the keys that were given."""


class Contended(Exception):
    """Another transaction or a lost connection stood in the way: run the whole transaction again."""


class NoSchema(Exception):
    """The database was never migrated, or not far enough."""

    def __init__(self) -> None:
        super().__init__("the schema is not there or behind: python -m flows migrate up")


class AlreadyExists(Exception):
    """A unique key is taken: adopt what is there, or answer neutrally."""

    def __init__(self, constraint: str) -> None:
        self.constraint = constraint
        super().__init__(f"already there: {constraint}")


@contextmanager
def our_errors() -> Generator[None]:
    """What psycopg raises becomes ours here and nowhere else; what is not mapped is a bug and stays loud."""
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        raise AlreadyExists(error.diag.constraint_name or "") from error
    except ABSENT as error:
        raise NoSchema from error
    except psycopg.errors.InvalidParameterValue as error:
        if ROLE_MISSING in str(error):
            raise NoSchema from error
        raise
    except (PoolTimeout, PoolClosed, TooManyRequests) as error:
        raise Contended(f"no database connection: {error}") from error
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate.startswith("08") or error.sqlstate in CONFLICTS:
            raise Contended(f"database: {_first_line(error)}") from error
        raise


async def open_pool(dsn: str, *, part: str, max_size: int = 4, checked: bool = True) -> AsyncConnectionPool:
    """An open pool on `dsn`; `part` names the process in pg_stat_activity. Raises Contended when nothing answers.

    A connection is tried before it is handed out, unless `checked` is False: for those who try again anyhow.
    """
    pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
        dsn,
        kwargs={"application_name": f"penguin:{part}", "connect_timeout": CONNECT_SECONDS},
        min_size=min(2, max_size),
        max_size=max_size,
        timeout=WAIT_FOR_CONNECTION_SECONDS,
        max_idle=IDLE_SECONDS,
        max_lifetime=LIFETIME_SECONDS,
        check=AsyncConnectionPool.check_connection if checked else None,
        open=False,
    )
    with our_errors():
        try:
            await pool.open(wait=True, timeout=CONNECT_SECONDS)
        except BaseException:
            await pool.close()
            raise
    return pool


@asynccontextmanager
async def as_tenant(pool: AsyncConnectionPool, tenant_uuid: UUID) -> AsyncGenerator[AsyncConnection]:
    """One transaction of one tenant: row security shows it its own rows and no others."""
    async with _transaction(pool, "penguin_app", str(tenant_uuid), "30s") as conn:
        yield conn


@asynccontextmanager
async def as_orchestrator(pool: AsyncConnectionPool) -> AsyncGenerator[AsyncConnection]:
    """One transaction of the flows' own work, over all tenants."""
    async with _transaction(pool, "penguin_orchestrator", "", "5min") as conn:
        yield conn


@asynccontextmanager
async def as_orchestrator_at_once(pool: AsyncConnectionPool) -> AsyncGenerator[AsyncConnection]:
    """The same without a wait after each statement: one round trip up to the first answer that is fetched."""
    async with _transaction(pool, "penguin_orchestrator", "", "5min", pipelined=True) as conn:
        yield conn


@asynccontextmanager
async def _transaction(
    pool: AsyncConnectionPool, role: str, tenant: str, statement_timeout: str, *, pipelined: bool = False
) -> AsyncGenerator[AsyncConnection]:
    with our_errors():
        async with pool.connection() as conn, conn.pipeline() if pipelined else nullcontext(), conn.transaction():
            await conn.execute(
                """
                SELECT set_config('role', %s, true), set_config('app.current_tenant_id', %s, true),
                       set_config('statement_timeout', %s, true), set_config('lock_timeout', '5s', true),
                       set_config('idle_in_transaction_session_timeout', '60s', true)
                """,
                [role, tenant, statement_timeout],
            )
            yield conn


@asynccontextmanager
async def run_lock(dsn: str, run_id: UUID) -> AsyncGenerator[bool]:
    """Hold the lock of a run, on a direct connection of its own; False when another process has it.

    It is a session lock: the death of the process frees it, so a false report of a crash cannot start a second actor.
    Whoever leaves the block has given it back: the server ends a closed session in its own time.
    `dsn` must not lead through a transaction pooler.
    """
    with our_errors():
        conn = await AsyncConnection.connect(
            dsn, autocommit=True, application_name=f"penguin:run {run_id}", connect_timeout=CONNECT_SECONDS
        )
    async with conn:
        with our_errors():
            cursor = await conn.execute(f"SELECT pg_try_advisory_lock({RUN_LOCK_KEY})", {"run_id": run_id})
            got = await cursor.fetchone()
        try:
            yield got is not None and bool(got[0])
        finally:
            with suppress(psycopg.OperationalError):  # a lost connection has freed it
                await conn.execute("SELECT pg_advisory_unlock_all()")


@asynccontextmanager
async def change_lock(dsn: str, system: str, *, wait_seconds: int = CHANGE_LOCK_WAIT_SECONDS) -> AsyncGenerator[None]:
    """Be the only process, over all machines, that changes something at an outside system; wait for one's turn.

    A session lock like that of a run: a killed process frees it at once. Raises Contended when the turn does not come.
    """
    with our_errors():
        conn = await AsyncConnection.connect(
            dsn, autocommit=True, application_name=f"penguin:change {system}", connect_timeout=CONNECT_SECONDS
        )
    async with conn:
        with our_errors():
            await conn.execute("SELECT set_config('statement_timeout', %s, false)", [f"{wait_seconds}s"])
            try:
                await conn.execute("SELECT pg_advisory_lock(hashtextextended('penguin-change:' || %s, 0))", [system])
            except psycopg.errors.QueryCanceled as error:
                raise Contended(f"other processes kept changing {system} for {wait_seconds} s") from error
        yield


async def time_of(conn: AsyncConnection[Any]) -> datetime:
    """The time by the clock of the database's machine, now and not when the transaction began."""
    [row] = await (await conn.execute("SELECT clock_timestamp()")).fetchall()
    return row[0]


async def lock_is_free(conn: AsyncConnection[Any], run_id: UUID) -> bool:
    """Whether no process holds the lock of this run. Looks without taking it, so it disturbs no start."""
    cursor = await conn.execute(f"SELECT {RUN_LOCK_KEY} NOT IN ({HELD_LOCKS})", {"run_id": run_id})
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


def is_dsn(dsn: str) -> bool:
    """Whether the driver can read a connection string, URL or key=value; its own complaint would quote the password.

    A host with an @ is the end of a password that was not percent-encoded, and every failure to connect would show it.
    """
    try:
        return "@" not in str(conninfo_to_dict(dsn).get("host") or "")
    except psycopg.ProgrammingError:
        return False


def password_in(dsn: str) -> str:
    """The password a connection string holds, as the server is told it; empty when there is none."""
    return str(conninfo_to_dict(dsn).get("password") or "") if is_dsn(dsn) else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
