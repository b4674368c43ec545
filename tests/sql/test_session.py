"""Role and tenant of a transaction, what leaks to the next borrower (nothing), and psycopg's errors made ours."""

import asyncio
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from sql.session import (
    AlreadyExists,
    Contended,
    as_orchestrator,
    as_orchestrator_at_once,
    as_tenant,
    open_pool,
    run_lock,
)
from tests.support.postgres import add_tenant

SETTINGS = """
    SELECT current_user::text, current_setting('app.current_tenant_id', true), current_setting('statement_timeout'),
           current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')
"""


async def row(conn, statement: str) -> tuple:
    found = await (await conn.execute(statement)).fetchone()
    assert found is not None
    return found


async def test_a_transaction_has_its_role_tenant_and_limits(pool: AsyncConnectionPool) -> None:
    tenant = uuid4()
    async with as_tenant(pool, tenant) as conn:
        assert await row(conn, SETTINGS) == ("penguin_app", str(tenant), "30s", "5s", "1min")
    async with as_orchestrator(pool) as conn:
        assert await row(conn, SETTINGS) == ("penguin_orchestrator", "", "5min", "5s", "1min")


async def test_a_connection_goes_back_without_role_and_tenant(database: str) -> None:
    pool = await open_pool(database, part="test", max_size=1)
    async with pool:
        async with as_tenant(pool, uuid4()):
            pass
        async with pool.connection() as conn:
            user, tenant, limit, *_ = await row(conn, SETTINGS)
            assert (user, tenant, limit) == ("postgres", "", "0")


async def test_the_process_is_named_in_the_servers_list(pool: AsyncConnectionPool) -> None:
    async with as_orchestrator(pool) as conn:
        assert await row(conn, "SELECT current_setting('application_name')") == ("penguin:test",)


async def test_a_tenant_sees_its_own_rows_only(pool: AsyncConnectionPool, database: str) -> None:
    acme, beta = add_tenant(database, "acme"), add_tenant(database, "beta")
    async with as_tenant(pool, acme.uuid) as conn:
        await conn.execute("INSERT INTO leads (tenant_id, email) VALUES (%s, 'a@x.example')", [acme.pk])
    async with as_tenant(pool, beta.uuid) as conn:
        assert await row(conn, "SELECT count(*) FROM leads") == (0,)
    async with as_tenant(pool, uuid4()) as conn:
        assert await row(conn, "SELECT count(*) FROM leads") == (0,)
    async with as_orchestrator(pool) as conn:
        assert await row(conn, "SELECT count(*) FROM leads") == (1,)


async def test_a_context_that_is_no_uuid_is_loud(pool: AsyncConnectionPool) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        async with as_tenant(pool, "acme'; DROP TABLE leads --") as conn:  # type: ignore[arg-type]
            await conn.execute("SELECT * FROM leads")


async def test_a_failure_takes_the_whole_transaction_back(pool: AsyncConnectionPool, database: str) -> None:
    acme = add_tenant(database)
    with pytest.raises(RuntimeError):  # noqa: PT012 - the transaction is what raises
        async with as_tenant(pool, acme.uuid) as conn:
            await conn.execute("INSERT INTO leads (tenant_id, email) VALUES (%s, 'a@x.example')", [acme.pk])
            raise RuntimeError
    async with as_orchestrator(pool) as conn:
        assert await row(conn, "SELECT count(*) FROM leads") == (0,)


async def test_a_transaction_sent_at_once_is_one_all_the_same(pool: AsyncConnectionPool) -> None:
    async def breaks() -> None:
        async with as_orchestrator_at_once(pool) as conn:
            await conn.execute("UPDATE job_queues SET is_active = false")
            await conn.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await breaks()
    async with as_orchestrator_at_once(pool) as conn:
        paused = await conn.execute("SELECT current_user::text, count(*) FROM job_queues WHERE NOT is_active")
        assert await paused.fetchall() == [("penguin_orchestrator", 0)]


async def test_a_taken_key_is_already_there(pool: AsyncConnectionPool, database: str) -> None:
    acme = add_tenant(database)
    with pytest.raises(AlreadyExists) as raised:  # noqa: PT012 - the transaction is what raises
        async with as_tenant(pool, acme.uuid) as conn:
            for _ in range(2):
                await conn.execute("INSERT INTO leads (tenant_id, email) VALUES (%s, 'a@x.example')", [acme.pk])
    assert raised.value.constraint == "leads_tenant_id_email_key"


async def test_two_that_wait_for_each_other_are_contended(pool: AsyncConnectionPool, database: str) -> None:
    for name in ("acme", "beta"):
        add_tenant(database, name)
    met = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> None:
        async with as_orchestrator(pool) as conn:
            await conn.execute("UPDATE tenants SET status = 'x' WHERE name = %s", [first])
            await met.wait()
            await conn.execute("UPDATE tenants SET status = 'x' WHERE name = %s", [second])

    ended = await asyncio.gather(lock("acme", "beta"), lock("beta", "acme"), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ended) == ["Contended", "NoneType"]


async def test_a_connection_cut_in_the_middle_is_contended(pool: AsyncConnectionPool, database: str) -> None:
    with pytest.raises(Contended):  # noqa: PT012 - the transaction is what raises
        async with as_orchestrator(pool) as conn:
            (pid,) = await row(conn, "SELECT pg_backend_pid()")
            with psycopg.connect(database, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [pid])
            await conn.execute("SELECT 1")
    async with as_orchestrator(pool) as conn:  # the pool has replaced it
        assert await row(conn, "SELECT 1") == (1,)


async def test_a_pool_that_is_all_lent_out_is_contended(database: str) -> None:
    pool = await open_pool(database, part="test", max_size=1)
    async with pool, as_orchestrator(pool):
        with pytest.raises(Contended, match="no database connection"):
            async with as_orchestrator(pool):
                pass


async def test_a_server_that_is_not_there_is_contended_and_leaves_no_task() -> None:
    nowhere = "postgresql://postgres@/x?host=/nonexistent&connect_timeout=2"
    with pytest.raises(Contended):
        async with run_lock(nowhere, uuid4()):
            pass


async def test_a_mistake_in_a_statement_stays_loud(pool: AsyncConnectionPool) -> None:
    with pytest.raises(psycopg.errors.UndefinedColumn):
        async with as_orchestrator(pool) as conn:
            await conn.execute("SELECT no_such_column")


async def test_a_query_outside_a_transaction_of_ours_is_refused(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(
            "DROP ROLE IF EXISTS bare_login; CREATE ROLE bare_login LOGIN NOINHERIT"
            " IN ROLE penguin_app, penguin_orchestrator"
        )
    pool = await open_pool(database.replace("//postgres@", "//bare_login@"), part="test", max_size=1)
    try:
        async with pool:
            async with as_orchestrator(pool) as conn:
                assert await row(conn, "SELECT count(*) FROM tenants") == (0,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with pool.connection() as conn:
                    await conn.execute("SELECT * FROM tenants")
    finally:
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("DROP ROLE bare_login")
