"""Real PostgreSQL for tests: one server a session, one freshly migrated database a test.

Use as a plugin: `pytest_plugins = ["tests.support.postgres"]`. The embedded server is always there; Debian's PostgreSQL
15 is used where its binaries are, and must be there with PENGUINMAILS_TEST_PG15=1. A test that asks for `database` runs
on the embedded one, a test that asks for `each_database` on both.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from sql import migrate
from sql.embedded import embedded_dsn, let_go
from sql.session import open_pool
from tests.support.scratch import fast_place, scratch

DEBIAN_BINARIES = Path("/usr/lib/postgresql/15/bin")
FAST = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c shared_buffers=64MB"
TEMPLATE = "penguin_template"


@dataclass(frozen=True, slots=True)
class Server:
    """One running server: databases are cloned on it."""

    name: str
    folder: Path
    admin_dsn: str

    def dsn(self, database: str) -> str:
        return self.admin_dsn.replace("/penguinmails?", f"/{database}?")

    def execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.admin_dsn, autocommit=True) as conn:
            conn.execute(statement)


@contextmanager
def running_server(name: str, binaries: Path | None = None) -> Iterator[Server]:
    """A server of our own in a temporary folder; gone, with its folder, at the end."""
    folder = scratch(name, fast_place())
    folder.chmod(0o755)  # as root the server runs as a user of its own
    try:
        yield Server(name, folder, embedded_dsn(folder, binaries=binaries, options=FAST))
    finally:
        let_go(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cloned(server: Server, template: str) -> Iterator[str]:
    """The DSN of a fresh copy of `template`, dropped at the end."""
    name = f"test_{uuid4().hex[:12]}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    server.execute(create)
    try:
        yield server.dsn(name)
    finally:
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def with_template(server: Server) -> Server:
    """Both targets in one database, the way a small installation has them."""
    server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))

    async def climb() -> None:
        for target in ("core", "analytics"):
            await migrate.up(server.dsn(TEMPLATE), target)

    # In a thread of its own: the session's event loop is left alone.
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, climb()).result()
    return server


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    with running_server("embedded") as server:
        yield with_template(server)


@pytest.fixture(scope="session")
def debian_server() -> Iterator[Server]:
    if not DEBIAN_BINARIES.exists():
        if os.environ.get("PENGUINMAILS_TEST_PG15") == "1":
            pytest.fail(f"PENGUINMAILS_TEST_PG15=1, but {DEBIAN_BINARIES} is not there: apt-get install postgresql-15")
        pytest.skip(f"no PostgreSQL 15 at {DEBIAN_BINARIES}: apt-get install postgresql-15")
    with running_server("debian", DEBIAN_BINARIES) as server:
        yield with_template(server)


@pytest.fixture(params=["embedded_server", "debian_server"])
def each_server(request: pytest.FixtureRequest) -> Server:
    """The embedded server, then PostgreSQL 15."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def database(embedded_server: Server) -> Iterator[str]:
    """DSN of a fresh database with both targets migrated."""
    with cloned(embedded_server, TEMPLATE) as dsn:
        yield dsn


@pytest.fixture
def each_database(each_server: Server) -> Iterator[str]:
    """The same on each server."""
    with cloned(each_server, TEMPLATE) as dsn:
        yield dsn


@pytest.fixture
def empty_database(each_server: Server) -> Iterator[str]:
    """DSN of a database with nothing in it, on each server."""
    with cloned(each_server, "template0") as dsn:
        yield dsn


@pytest.fixture
async def pool(database: str) -> AsyncIterator[AsyncConnectionPool]:
    """A pool on a fresh database."""
    opened = await open_pool(database, part="test")
    yield opened
    await opened.close()


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant a test made: core key and uuid."""

    pk: int
    uuid: UUID


def add_tenant(dsn: str, name: str = "acme") -> TenantRow:
    """A tenant with nothing else, written past row security."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute("INSERT INTO tenants (name) VALUES (%s) RETURNING id, tenant_id", [name]).fetchone()
    assert row is not None
    return TenantRow(row[0], row[1])


def add_server(dsn: str, tenant: TenantRow, token: str = "pm-test-1-01") -> int:
    """A server row as an order makes it; its key."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(
            "INSERT INTO vps_instances (tenant_id, instance_id, status) VALUES (%s, %s, 'requested') RETURNING id",
            [tenant.pk, token],
        ).fetchone()
    assert row is not None
    return int(row[0])
