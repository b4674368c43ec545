"""Staff may do what an active member's roles say, and nothing by default."""

import socket

import psycopg
import pytest

from sql import databases, staff
from sql.session import as_orchestrator
from tests.support.postgres import TenantRow, add_tenant


@pytest.fixture
def tenant(database: str) -> TenantRow:
    return add_tenant(database)


async def hired(pool, tenant: TenantRow, *verbs: str, email: str = "ops@penguin.example") -> tuple[int, int]:
    async with as_orchestrator(pool) as conn:
        member = await staff.add_member(conn, tenant_id=tenant.pk, name="Ops", email=email)
        role = await staff.add_role(conn, tenant_id=tenant.pk, name="operator", verbs=verbs)
        await staff.assign(conn, tenant_id=tenant.pk, member_id=member, role_id=role)
    return member, role


async def may(pool, tenant: TenantRow, verb: str, email: str = "ops@penguin.example") -> bool:
    async with as_orchestrator(pool) as conn:
        return await staff.may(conn, tenant.pk, email, verb)


@pytest.mark.parametrize(
    ("held", "asked", "allowed"),
    [
        ("order.decide", "order.decide", True),
        ("order.decide", "order.abandon", False),
        ("order.*", "order.abandon", True),
        ("order.*", "orders.abandon", False),
        ("*", "secret.read", True),
        ("run.retry", "run", False),
    ],
)
async def test_a_verb_is_held_or_it_is_not(pool, tenant, held: str, asked: str, allowed: bool) -> None:
    await hired(pool, tenant, held)
    assert await may(pool, tenant, asked) is allowed


async def test_nobody_and_whoever_left_may_nothing(pool, tenant) -> None:
    await hired(pool, tenant, "*")
    assert not await may(pool, tenant, "run.retry", "stranger@penguin.example")
    async with as_orchestrator(pool) as conn:
        assert await staff.leave(conn, tenant_id=tenant.pk, email="OPS@penguin.example")
    assert not await may(pool, tenant, "run.retry")
    await hired(pool, tenant, "*")
    assert await may(pool, tenant, "run.retry")


async def test_a_role_counts_in_its_own_tenant_only(pool, tenant, database) -> None:
    member, role = await hired(pool, tenant, "*")
    beta = add_tenant(database, "beta")
    assert not await may(pool, beta, "run.retry")
    async with as_orchestrator(pool) as conn:
        assert await staff.revoke(conn, tenant_id=tenant.pk, member_id=member, role_id=role)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        async with as_orchestrator(pool) as conn:
            await staff.assign(conn, tenant_id=beta.pk, member_id=member, role_id=role)


async def test_a_revoked_role_permits_nothing(pool, tenant) -> None:
    member, role = await hired(pool, tenant, "run.retry")
    async with as_orchestrator(pool) as conn:
        assert await staff.revoke(conn, tenant_id=tenant.pk, member_id=member, role_id=role)
    assert not await may(pool, tenant, "run.retry")


@pytest.mark.parametrize("verb", ["", "run", "run.", ".retry", "Run.retry", "run.retry.now", "*.retry"])
async def test_what_is_no_verb_is_refused(pool, tenant, verb: str) -> None:
    with pytest.raises(ValueError, match="is no verb"):
        await hired(pool, tenant, verb)


async def test_a_role_with_odd_permissions_permits_nothing(pool, tenant, database) -> None:
    await hired(pool, tenant, "*")
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("""UPDATE staff_roles SET permissions = '{"verbs": "*", "all": true}'""")
    assert not await may(pool, tenant, "run.retry")


async def test_the_staff_is_listed_with_its_roles(pool, tenant) -> None:
    await hired(pool, tenant, "*")
    async with as_orchestrator(pool) as conn:
        (member,) = await staff.list_staff(conn, tenant.pk)
    assert (member.email, member.roles, member.is_active) == ("ops@penguin.example", ["operator"], True)


async def test_only_the_servers_own_word_makes_a_database_gone(database: str) -> None:
    assert not await databases.is_gone(database)
    assert await databases.is_gone(databases.renamed(database, "never_made"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert not await databases.is_gone(f"host=127.0.0.1 port={port} dbname=any connect_timeout=2")
