"""Sealed texts by path: replaced in place, apart by tenant, out of the application's reach."""

import psycopg
import pytest

from sql import sealed_secrets
from sql.session import as_orchestrator, as_tenant
from tests.support.postgres import TenantRow, add_tenant

SEALED = bytes(range(60))


@pytest.fixture
def tenant(database: str) -> TenantRow:
    return add_tenant(database)


async def put(pool, tenant_id: int | None, ciphertext: bytes = SEALED, key: str = "k1", path: str = "ssh/7"):
    async with as_orchestrator(pool) as conn:
        return await sealed_secrets.put_secret(
            conn, tenant_id=tenant_id, purpose="ssh_private_key", path=path, key_id=key, ciphertext=ciphertext
        )


async def get(pool, tenant_id: int | None, path: str = "ssh/7"):
    async with as_orchestrator(pool) as conn:
        return await sealed_secrets.get_secret(conn, tenant_id=tenant_id, path=path)


@pytest.mark.parametrize("of_platform", [True, False])
async def test_what_is_put_is_got_and_replaced_under_the_same_id(pool, tenant, of_platform: bool) -> None:
    owner = None if of_platform else tenant.pk
    first = await put(pool, owner)
    second = await put(pool, owner, SEALED[::-1], "k2")
    kept = await get(pool, owner)
    assert kept is not None
    assert first == second == kept.id
    assert (kept.tenant_id, kept.key_id, kept.ciphertext, kept.path) == (owner, "k2", SEALED[::-1], "ssh/7")


async def test_a_tenants_path_is_not_the_platforms_nor_anothers(pool, tenant, database) -> None:
    await put(pool, tenant.pk)
    assert await get(pool, None) is None
    assert await get(pool, add_tenant(database, "beta").pk) is None


async def test_a_row_is_found_by_the_id_that_others_point_at(pool, tenant) -> None:
    secret_id = await put(pool, tenant.pk)
    async with as_orchestrator(pool) as conn:
        found = await sealed_secrets.get_secret_by_id(conn, secret_id)
    assert found is not None
    assert found.path == "ssh/7"


async def test_texts_under_an_old_key_are_found_to_be_sealed_again(pool, tenant) -> None:
    await put(pool, tenant.pk, key="k1", path="a")
    await put(pool, None, key="k1", path="b")
    await put(pool, tenant.pk, key="k2", path="c")
    async with as_orchestrator(pool) as conn:
        old = await sealed_secrets.sealed_with_another_key(conn, "k2", 10)
    assert [(row.tenant_id, row.path) for row in old] == [(tenant.pk, "a"), (None, "b")]


async def test_a_dropped_secret_is_gone(pool, tenant) -> None:
    await put(pool, tenant.pk)
    await put(pool, None)
    async with as_orchestrator(pool) as conn:
        assert await sealed_secrets.drop_secret(conn, tenant_id=tenant.pk, path="ssh/7")
        assert await sealed_secrets.drop_secret(conn, tenant_id=None, path="ssh/7")
        assert not await sealed_secrets.drop_secret(conn, tenant_id=None, path="ssh/7")


async def test_a_sealed_text_never_shows_in_repr(pool, tenant) -> None:
    await put(pool, tenant.pk)
    assert "ciphertext" not in repr(await get(pool, tenant.pk))


async def test_an_unsealed_or_unknown_secret_is_refused(pool, tenant) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await put(pool, tenant.pk, b"too short")
    with pytest.raises(psycopg.errors.CheckViolation):
        async with as_orchestrator(pool) as conn:
            await sealed_secrets.put_secret(
                conn, tenant_id=tenant.pk, purpose="diary", path="x", key_id="k", ciphertext=SEALED
            )


async def test_the_application_never_reads_a_secret(pool, tenant) -> None:
    await put(pool, tenant.pk)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with as_tenant(pool, tenant.uuid) as conn:
            await sealed_secrets.get_secret(conn, tenant_id=tenant.pk, path="ssh/7")
