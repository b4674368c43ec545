"""Certificate orders: one open for each server, ended once, and counted as the authority counts them."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from sql import acme_orders, certificates
from sql.acme_orders import AcmeOrder, Counted
from sql.session import AlreadyExists, as_orchestrator
from tests.support.postgres import TenantRow, add_server, add_tenant

DIRECTORY = "https://ca.example/dir"
NAMES = ("mail2.acme.example", "mail.acme.example")


@pytest.fixture
def tenant(database: str) -> TenantRow:
    return add_tenant(database)


@pytest.fixture
def server(database: str, tenant: TenantRow) -> int:
    return add_server(database, tenant, "pm-test-1-01")


async def intended(
    pool: AsyncConnectionPool,
    tenant: TenantRow,
    server: int,
    *,
    names: tuple[str, ...] = NAMES,
    zones: tuple[str, ...] = ("acme.example",),
    directory: str = DIRECTORY,
) -> AcmeOrder:
    async with as_orchestrator(pool) as conn:
        return await acme_orders.note_intent(
            conn, tenant_id=tenant.pk, vps_instance_id=server, directory=directory, names=names, zones=zones
        )


async def ended(pool: AsyncConnectionPool, order: AcmeOrder, state: acme_orders.End, *failed: str) -> bool:
    problems = [{"kind": "connection", "detail": "refused", "name": name} for name in failed]
    async with as_orchestrator(pool) as conn:
        return await acme_orders.end(conn, order.id, state=state, problems=problems)


async def count(pool: AsyncConnectionPool, *names: str, zones: tuple[str, ...] = ("acme.example",)) -> Counted:
    async with as_orchestrator(pool) as conn:
        return await acme_orders.counted(
            conn, directory=DIRECTORY, names=names or NAMES, zones=zones, orders_within=timedelta(hours=3),
            certificates_within=timedelta(days=7), failures_within=timedelta(hours=1),
        )  # fmt: skip


async def test_a_server_has_one_open_order(pool, tenant, server) -> None:
    first = await intended(pool, tenant, server)
    with pytest.raises(AlreadyExists, match="acme_orders_one_open"):
        await intended(pool, tenant, server)
    assert await ended(pool, first, "abandoned")
    second = await intended(pool, tenant, server)
    assert second.id != first.id


async def test_an_order_keeps_its_address_and_ends_once(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    assert order.names == sorted(NAMES)
    async with as_orchestrator(pool) as conn:
        await acme_orders.note_placed(conn, order.id, "https://ca.example/order/7")
        found = await acme_orders.open_order(conn, server)
        assert found is not None
        assert (found.state, found.order_url) == ("placed", "https://ca.example/order/7")
    assert await ended(pool, order, "failed", "mail.acme.example")
    assert not await ended(pool, order, "issued")
    async with as_orchestrator(pool) as conn:
        assert await acme_orders.open_order(conn, server) is None
        last = await acme_orders.last_order(conn, server)
        await acme_orders.note_placed(conn, order.id, "https://ca.example/order/8")
    assert last is not None
    assert (last.state, last.problems[0]["name"]) == ("failed", "mail.acme.example")


async def test_the_same_names_again_are_a_renewal_and_spare_the_domain(pool, tenant, server) -> None:
    first = await intended(pool, tenant, server)
    await ended(pool, first, "issued")
    again = await intended(pool, tenant, server, names=NAMES[::-1])
    assert (first.renews, again.renews) == (False, True)
    found = await count(pool)
    assert found.certified_before
    assert not (await count(pool, "mail.acme.example")).certified_before
    assert len(found.first_certificates["acme.example"]) == 1
    assert len(found.same_names) == 2
    await ended(pool, again, "issued")
    other = await intended(pool, tenant, server, names=NAMES, directory="https://other.example/dir")
    assert not other.renews


async def test_what_is_open_counts_and_what_failed_gives_its_place_back(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    assert len((await count(pool)).first_certificates["acme.example"]) == 1
    await ended(pool, order, "failed", "mail.acme.example")
    found = await count(pool)
    assert (found.first_certificates["acme.example"], found.same_names) == ([], [])
    assert len(found.orders) == 1
    assert [len(found.failures[name]) for name in sorted(NAMES)] == [1, 0]


async def test_another_domain_and_another_authority_do_not_count(pool, tenant, server) -> None:
    await ended(pool, await intended(pool, tenant, server, zones=("beta.example",)), "issued")
    await ended(pool, await intended(pool, tenant, server, directory="https://other.example/dir"), "issued")
    assert (await count(pool)).first_certificates["acme.example"] == []


@pytest.mark.parametrize(("hours", "orders", "certificates_", "failures"), [(2, 2, 1, 0), (4, 0, 1, 0), (169, 0, 0, 0)])
async def test_what_is_long_ago_no_longer_counts(
    pool, database, tenant, server, hours: int, orders: int, certificates_: int, failures: int
) -> None:
    await ended(pool, await intended(pool, tenant, server), "issued")
    await ended(pool, await intended(pool, tenant, server), "failed", *NAMES)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "UPDATE acme_orders SET created_at = created_at - %(h)s, ended_at = ended_at - %(h)s",
            {"h": timedelta(hours=hours)},
        )
    found = await count(pool)
    assert len(found.orders) == orders
    assert len(found.first_certificates["acme.example"]) == certificates_
    assert len(found.failures[NAMES[0]]) == failures


async def due(pool: AsyncConnectionPool) -> list[int]:
    async with as_orchestrator(pool) as conn:
        return [one.id for one in await certificates.claim_due(conn, limit=10, lease=timedelta(minutes=10))]


async def test_a_due_certificate_is_claimed_once_and_again_when_its_look_died(pool, database, server) -> None:
    assert await due(pool) == []  # it has no certificate
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("""UPDATE vps_instances SET configuration = '{"certificate_pem": "x"}' WHERE id = %s""", [server])
        assert await due(pool) == [server]
        assert await due(pool) == []
        conn.execute("UPDATE vps_instances SET certificate_due_at = certificate_due_at - interval '10 minutes'")
        assert await due(pool) == [server]


async def test_a_certificate_that_was_looked_at_is_due_when_it_was_said(pool, database, server) -> None:
    now = datetime.now(UTC)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("""UPDATE vps_instances SET configuration = '{"certificate_pem": "x"}' WHERE id = %s""", [server])
        async with as_orchestrator(pool) as mine:
            await certificates.note_certificate(mine, server, ends_at=now + timedelta(days=30), due_at=now)
        assert await due(pool) == [server]
        async with as_orchestrator(pool) as mine:
            await certificates.put_off(mine, server, timedelta(hours=1))
        assert await due(pool) == []
        conn.execute("UPDATE vps_instances SET certificate_due_at = NULL, status = 'decommissioned'")
        assert await due(pool) == []


async def test_a_host_is_found_by_name_or_token_and_looked_at_next(pool, database, server) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "UPDATE vps_instances SET hostname = 'mail.acme.example', certificate_due_at = now() + interval '1 day'"
        )
        async with as_orchestrator(pool) as mine:
            assert not await certificates.look_now(mine, "mail.acme.example")  # no certificate
        conn.execute("""UPDATE vps_instances SET configuration = '{"certificate_pem": "x"}'""")
        async with as_orchestrator(pool) as mine:
            assert await certificates.look_now(mine, "mail.acme.example")
            (shown,) = await certificates.list_shown(mine)
            assert (shown.instance.id, shown.due_at) == (server, None)
            assert await certificates.look_now(mine, "pm-test-1-01")
            assert not await certificates.look_now(mine, "mail.beta.example")
    assert await due(pool) == [server]
