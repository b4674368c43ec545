"""People: invited without telling who is known, active with a password, never without an owner."""

import asyncio
from uuid import uuid4

import psycopg
import pytest

from sql import users
from sql.session import as_orchestrator, as_tenant
from sql.users import LastOwner
from tests.support.postgres import TenantRow, add_tenant

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA"


@pytest.fixture
def tenant(database: str) -> TenantRow:
    return add_tenant(database)


async def invite(pool, tenant: TenantRow, email: str, level: str = "basic"):
    async with as_orchestrator(pool) as conn:
        return await users.invite(conn, tenant_id=tenant.pk, email=email, role="employee", level=level)


async def members(pool, tenant: TenantRow) -> dict[str, users.Member]:
    async with as_tenant(pool, tenant.uuid) as conn:
        return {member.email: member for member in await users.members(conn, tenant.pk)}


async def test_an_invited_person_is_active_once_there_is_a_password(pool, tenant) -> None:
    ada = await invite(pool, tenant, " Ada@Acme.example ")
    assert not (await members(pool, tenant))["ada@acme.example"].is_active
    async with as_orchestrator(pool) as conn:
        assert await users.set_password(conn, ada, HASH)
    assert (await members(pool, tenant))["ada@acme.example"].is_active


async def test_inviting_again_and_inviting_somebody_elses_user_answer_alike(pool, tenant, database) -> None:
    beta = add_tenant(database, "beta")
    ada = await invite(pool, tenant, "ada@acme.example")
    assert await invite(pool, tenant, "ada@acme.example") == ada
    assert await invite(pool, beta, "ada@acme.example") == ada
    assert (await members(pool, beta))["ada@acme.example"].permission_level == "basic"


async def test_a_member_of_another_home_is_read_and_never_written(pool, tenant, database) -> None:
    beta = add_tenant(database, "beta")
    ada = await invite(pool, tenant, "ada@acme.example")
    await invite(pool, beta, "ada@acme.example")
    async with as_tenant(pool, beta.uuid) as conn:
        assert not await users.set_password(conn, ada, HASH)


async def test_a_tenant_makes_nobody_a_member_and_so_reads_no_stranger(pool, tenant, database) -> None:
    beta = add_tenant(database, "beta")
    await invite(pool, beta, "owner@beta.example", "owner")
    await invite(pool, tenant, "ada@acme.example")
    with psycopg.connect(database) as conn:
        (stranger,) = conn.execute("SELECT id FROM users WHERE email = 'owner@beta.example'").fetchone()
    for statement in (
        "INSERT INTO tenant_users (tenant_id, user_id) VALUES (current_tenant_pk(), %s)",
        "UPDATE tenant_users SET user_id = %s",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with as_tenant(pool, tenant.uuid) as conn:
                await conn.execute(statement, [stranger])
    async with as_tenant(pool, tenant.uuid) as conn:
        seen = await (await conn.execute("SELECT email FROM users")).fetchall()
    assert seen == [("ada@acme.example",)]


@pytest.mark.parametrize("word", ["hunter2", "$2b$12$abcdef", ""])
async def test_only_an_argon2id_hash_is_kept(pool, tenant, word: str) -> None:
    ada = await invite(pool, tenant, "ada@acme.example")
    with pytest.raises(ValueError, match="argon2id"):
        async with as_orchestrator(pool) as conn:
            await users.set_password(conn, ada, word)


async def test_a_deactivated_person_stays_out(pool, tenant) -> None:
    await invite(pool, tenant, "owner@acme.example", "owner")
    ada = await invite(pool, tenant, "ada@acme.example")
    async with as_orchestrator(pool) as conn:
        assert await users.deactivate(conn, ada)
        assert not await users.deactivate(conn, ada)
        assert not await users.set_password(conn, ada, HASH)
        assert not await users.deactivate(conn, uuid4())
    assert not (await members(pool, tenant))["ada@acme.example"].is_active


async def test_the_last_owner_stays(pool, tenant) -> None:
    owner = await invite(pool, tenant, "owner@acme.example", "owner")
    ada = await invite(pool, tenant, "ada@acme.example")
    for change in (
        lambda conn: users.deactivate(conn, owner),
        lambda conn: users.set_level(conn, tenant_id=tenant.pk, user_id=owner, level="admin"),
        lambda conn: users.remove_member(conn, tenant_id=tenant.pk, user_id=owner),
    ):
        with pytest.raises(LastOwner):
            async with as_orchestrator(pool) as conn:
                await change(conn)
    async with as_orchestrator(pool) as conn:
        assert await users.set_level(conn, tenant_id=tenant.pk, user_id=ada, level="owner")
        assert await users.remove_member(conn, tenant_id=tenant.pk, user_id=owner)
    assert set(await members(pool, tenant)) == {"ada@acme.example"}


async def test_two_owners_who_demote_each_other_at_once_leave_one(pool, tenant) -> None:
    both = [await invite(pool, tenant, f"{name}@acme.example", "owner") for name in ("ada", "bob")]

    async def demote(user_id) -> None:
        async with as_orchestrator(pool) as conn:
            await users.set_level(conn, tenant_id=tenant.pk, user_id=user_id, level="basic")
            await asyncio.sleep(0.05)

    ended = await asyncio.gather(*(demote(user) for user in both), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ended) == ["LastOwner", "NoneType"]


async def test_a_tenant_that_never_had_an_owner_is_left_alone(pool, tenant) -> None:
    ada = await invite(pool, tenant, "ada@acme.example")
    async with as_orchestrator(pool) as conn:
        assert await users.set_level(conn, tenant_id=tenant.pk, user_id=ada, level="manager")
