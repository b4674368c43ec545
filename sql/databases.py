"""Whole databases of a server: an empty one to restore into, a scratch one that leaves nothing, a change of names."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sql.migration_files import ROLES_FILE
from sql.session import CONNECT_SECONDS, our_errors

SCRATCH: Final = "penguin_rehearsal_"
SCRATCH_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('penguin_rehearsal'))"

SCHEMA_RIGHTS: Final = """
    SET ROLE pg_database_owner;
    GRANT CREATE, USAGE ON SCHEMA public TO penguin_owner;
    GRANT USAGE ON SCHEMA public TO penguin_app, penguin_orchestrator, penguin_backup;
    RESET ROLE
"""
"""A login that does not inherit owns its database, yet before PostgreSQL 16 gives no right to its schema as itself."""


class InTheWay(Exception):
    """The server's state forbids it; the message says what stands in the way and what to do."""


def name_in(dsn: str) -> str:
    """The database a connection string leads to."""
    return str(conninfo_to_dict(dsn).get("dbname") or "")


def renamed(dsn: str, name: str) -> str:
    """The same server, another database."""
    return make_conninfo(dsn, dbname=name)


async def exists(dsn: str, name: str) -> bool:
    """Whether the server has a database of this name. The DSN's own need not be there."""
    async with _server(dsn) as conn:
        return await _exists(conn, name)


async def is_gone(dsn: str) -> bool:
    """Whether the server itself says that it has no such database; one that is silent or full has not said so."""
    try:
        await (await AsyncConnection.connect(dsn, connect_timeout=CONNECT_SECONDS)).close()
    except psycopg.OperationalError as error:
        name = name_in(dsn)
        return bool(name) and f'database "{name}" does not exist' in str(error) and not await exists(dsn, name)
    return False


async def is_in_use(dsn: str, name: str) -> bool:
    """Whether somebody is connected to a database, our own workers among them."""
    async with _server(dsn) as conn:
        found = await conn.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s LIMIT 1", [name])
        return await found.fetchone() is not None


async def make_empty(dsn: str, name: str) -> str:
    """A database with our roles and their rights, and nothing in it; its DSN. Raises InTheWay: it is there."""
    async with _server(dsn) as conn:
        if await _exists(conn, name):
            raise InTheWay(f"there is a database {name} already")
        await conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        made = renamed(dsn, name)
        try:
            async with await _connected(made) as inside:
                await inside.execute(ROLES_FILE.read_bytes())
                await inside.execute(SCHEMA_RIGHTS)
        except BaseException:
            await _drop(conn, name)
            raise
    return made


async def drop(dsn: str, name: str) -> None:
    """Take a database away, whoever is connected to it; one that is gone is no failure."""
    async with _server(dsn) as conn:
        await _drop(conn, name)


@asynccontextmanager
async def scratch(dsn: str) -> AsyncGenerator[str]:
    """An empty database for as long as this block lasts; what a killed rehearsal left goes first.

    Raises InTheWay while another rehearsal is at work on this server.
    """
    async with _server(dsn) as conn:
        got = await (await conn.execute(SCRATCH_LOCK)).fetchone()
        if got is None or not got[0]:
            raise InTheWay("another rehearsal is at work on this server")
        left = await conn.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [SCRATCH])
        for (name,) in await left.fetchall():
            await _drop(conn, str(name))
        name = f"{SCRATCH}{uuid4().hex[:8]}"
        try:
            yield await make_empty(dsn, name)
        finally:
            await _drop(conn, name)


async def change_names(dsn: str, *, live: str, aside: str, restored: str) -> None:
    """In one transaction: `live` becomes `aside`, `restored` becomes `live`. InTheWay while somebody is connected.

    The login must own both and be allowed to create databases.
    """
    async with _server(dsn) as conn:
        try:
            async with conn.transaction():
                for name, new in ((live, aside), (restored, live)):
                    await conn.execute(_rename(name, new))
        except psycopg.errors.ObjectInUse as error:
            raise InTheWay(f"somebody is connected to {live}: stop the workers and everything else first") from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise InTheWay(f"this login may not rename {live}: it must own it, and may create databases") from error


def _rename(name: str, new: str) -> sql.Composed:
    return sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(new))


@asynccontextmanager
async def _server(dsn: str) -> AsyncGenerator[AsyncConnection]:
    """Connected beside the databases that are made, renamed and dropped."""
    with our_errors():
        async with await _connected(renamed(dsn, "postgres")) as conn:
            yield conn


async def _connected(dsn: str) -> AsyncConnection:
    return await AsyncConnection.connect(
        dsn, autocommit=True, application_name="penguin:restore", connect_timeout=CONNECT_SECONDS
    )


async def _exists(conn: AsyncConnection, name: str) -> bool:
    return await (await conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])).fetchone() is not None


async def _drop(conn: AsyncConnection, name: str) -> None:
    await conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
