"""Orders: one row a token, one claim an arming, every move from where it may come, no order lost."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from sql import provider_orders
from sql.provider_orders import Order
from sql.session import AlreadyExists, as_orchestrator, as_tenant
from tests.support.postgres import TenantRow, add_server, add_tenant

ROOT = Path(__file__).parents[2]
TOKEN = "pm-test-1-01"


@pytest.fixture
def tenant(database: str) -> TenantRow:
    return add_tenant(database)


@pytest.fixture
def server(database: str, tenant: TenantRow) -> int:
    return add_server(database, tenant, TOKEN)


async def intended(
    pool: AsyncConnectionPool, tenant: TenantRow, server: int, *, token: str = TOKEN, plan: str = "1-2-30"
) -> Order:
    async with as_orchestrator(pool) as conn:
        return await provider_orders.note_intent(
            conn,
            tenant_id=tenant.pk,
            run_id=None,
            vps_instance_id=server,
            kind="server",
            token=token,
            spec={"plan": plan},
            expected_amount=Decimal("8.24"),
        )


async def claimed(pool: AsyncConnectionPool, by: str = "worker-1", token: str = TOKEN) -> Order | None:
    async with as_orchestrator(pool) as conn:
        return await provider_orders.claim(conn, token, "server", by)


async def marked(pool: AsyncConnectionPool, order: Order, state: str, *from_states: str, **more: object) -> bool:
    async with as_orchestrator(pool) as conn:
        return await provider_orders.mark(conn, order.id, state=state, from_states=from_states, **more)


async def look(pool: AsyncConnectionPool, token: str = TOKEN) -> Order:
    async with as_orchestrator(pool) as conn:
        order = await provider_orders.get_order(conn, "server", token)
    assert order is not None
    return order


async def test_the_intent_of_a_token_is_one_row_and_keeps_what_was_ordered(pool, tenant, server) -> None:
    first = await intended(pool, tenant, server)
    again = await intended(pool, tenant, server, plan="another")
    assert (again.id, again.spec, again.state) == (first.id, {"plan": "1-2-30"}, "intended")


async def test_a_token_of_another_tenant_is_refused(pool, tenant, server, database) -> None:
    await intended(pool, tenant, server)
    other = add_tenant(database, "beta")
    theirs = add_server(database, other, "pm-test-2-01")
    with pytest.raises(AlreadyExists):
        await intended(pool, other, theirs)


async def test_ten_claims_at_once_give_one_caller(pool, tenant, server) -> None:
    await intended(pool, tenant, server)
    got = await asyncio.gather(*(claimed(pool, f"worker-{number}") for number in range(10)))
    (winner,) = [order for order in got if order is not None]
    assert (winner.state, winner.claimed_by, winner.called_at is not None) == ("calling", winner.claimed_by, True)
    assert await claimed(pool) is None


async def test_nothing_sent_gives_the_claim_back_and_does_not_count_as_a_call(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    await claimed(pool)
    assert await marked(pool, order, "intended", "calling")
    async with as_orchestrator(pool) as conn:
        assert await provider_orders.orders_called_since(conn, datetime.now(UTC) - timedelta(days=1)) == 0
    assert (await look(pool)).claimed_by is None
    assert await claimed(pool) is not None


async def test_a_move_from_elsewhere_is_refused(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    assert not await marked(pool, order, "fulfilled", "accepted", "unconfirmed")
    assert (await look(pool)).state == "intended"


async def test_a_claim_lost_to_another_can_no_longer_answer(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    await claimed(pool, "worker-1")
    assert not await marked(pool, order, "accepted", "calling", claimed_by="worker-2")
    assert await marked(pool, order, "accepted", "calling", claimed_by="worker-1")


async def test_evidence_gathers_and_the_reference_stays(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    await claimed(pool)
    await marked(pool, order, "unconfirmed", "calling", evidence={"reply": "timeout"}, reason="no answer")
    await marked(pool, order, "fulfilled", "unconfirmed", evidence={"found": "88"}, external_ref="88")
    settled = await look(pool)
    assert (settled.evidence, settled.reason, settled.external_ref) == (
        {"reply": "timeout", "found": "88"},
        "no answer",
        "88",
    )


async def test_a_call_whose_worker_died_is_found_and_never_made_again(pool, tenant, server, database) -> None:
    await intended(pool, tenant, server)
    with killed_caller(database) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "calling\n"
        os.kill(child.pid, signal.SIGKILL)
    assert await claimed(pool) is None
    async with as_orchestrator(pool) as conn:
        stale = await provider_orders.get_order(conn, "server", TOKEN)
        assert stale is not None
        assert await provider_orders.mark(conn, stale.id, state="unconfirmed", from_states=["calling"])
    assert await claimed(pool) is None
    async with as_orchestrator(pool) as conn:
        assert await provider_orders.orders_called_since(conn, datetime.now(UTC) - timedelta(days=1)) == 1


def killed_caller(database: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CALLER, database, TOKEN]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


CALLER = """
import asyncio, sys
from sql import provider_orders
from sql.session import as_orchestrator, open_pool
async def call():
    pool = await open_pool(sys.argv[1], part="doomed")
    async with as_orchestrator(pool) as conn:
        await provider_orders.claim(conn, sys.argv[2], "server", "doomed")
    print("calling", flush=True)
    await asyncio.sleep(600)
asyncio.run(call())
"""


async def test_an_unsettled_order_is_looked_for_hourly_by_one_sweep(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    await claimed(pool)
    now = datetime.now(UTC)
    await marked(pool, order, "unconfirmed", "calling", next_look_at=now)
    async with as_orchestrator(pool) as conn:
        (due,) = await provider_orders.due_looks(conn, 10)
        assert await provider_orders.due_looks(conn, 10) == []
    assert due.next_look_at is not None
    assert due.look_until is not None
    assert due.next_look_at > now + timedelta(minutes=59)
    assert timedelta(days=6, hours=23) < due.look_until - now < timedelta(days=7, hours=1)


async def test_an_abandoned_order_is_still_looked_for(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    await claimed(pool)
    await marked(pool, order, "needs_operator", "calling", next_look_at=datetime.now(UTC))
    async with as_orchestrator(pool) as conn:
        given_up = await provider_orders.decide(conn, order.id, decision="abandon", actor="ops@penguin.example")
        assert given_up is not None
        assert given_up.state == "abandoned"
        assert [due.id for due in await provider_orders.due_looks(conn, 10)] == [order.id]
        assert await provider_orders.decide(conn, order.id, decision="abandon", actor="ops") is None
        after_all = await provider_orders.decide(conn, order.id, decision="not_created", actor="ops@penguin.example")
        assert after_all is not None
        assert (after_all.state, after_all.arming) == ("intended", 2)


async def test_an_operator_arms_an_order_again_under_the_same_token(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    await claimed(pool)
    await marked(pool, order, "needs_operator", "calling")
    async with as_orchestrator(pool) as conn:
        armed = await provider_orders.decide(conn, order.id, decision="not_created", actor="ops")
    assert armed is not None
    assert (armed.state, armed.arming, armed.token, armed.claimed_by) == ("intended", 2, TOKEN, None)
    assert await claimed(pool) is not None


async def test_an_operator_adopts_what_no_other_order_holds(pool, tenant, server, database) -> None:
    first = await intended(pool, tenant, server)
    second_server = add_server(database, tenant, "pm-test-1-02")
    second = await intended(pool, tenant, second_server, token="pm-test-1-02")
    for order, token in ((first, TOKEN), (second, "pm-test-1-02")):
        await claimed(pool, token=token)
        await marked(pool, order, "needs_operator", "calling")
    async with as_orchestrator(pool) as conn:
        adopted = await provider_orders.decide(conn, first.id, decision="adopt", actor="ops", external_ref="88")
    assert adopted is not None
    assert (adopted.state, adopted.external_ref, adopted.decided_by) == ("fulfilled", "88", "ops")
    with pytest.raises(AlreadyExists, match="external_ref"):
        async with as_orchestrator(pool) as conn:
            await provider_orders.decide(conn, second.id, decision="adopt", actor="ops", external_ref="88")
    with psycopg.connect(database, autocommit=True) as direct:
        direct.execute("UPDATE vps_instances SET hostwind_id = '99' WHERE id = %s", [server])
    with pytest.raises(AlreadyExists, match="external_ref"):
        async with as_orchestrator(pool) as conn:
            await provider_orders.decide(conn, second.id, decision="adopt", actor="ops", external_ref="99")


async def test_adopting_nothing_is_refused(pool, tenant, server) -> None:
    order = await intended(pool, tenant, server)
    with pytest.raises(ValueError, match="say which"):
        async with as_orchestrator(pool) as conn:
            await provider_orders.decide(conn, order.id, decision="adopt", actor="ops")


@pytest.mark.parametrize("state", ["calling", "accepted", "unconfirmed", "fulfilled"])
async def test_an_order_that_is_not_open_takes_no_word(pool, tenant, server, state: str) -> None:
    order = await intended(pool, tenant, server)
    await claimed(pool)
    if state != "calling":
        await marked(pool, order, state, "calling")
    async with as_orchestrator(pool) as conn:
        assert await provider_orders.decide(conn, order.id, decision="not_created", actor="ops") is None
    assert (await look(pool)).state == state


async def test_recent_outcomes_come_newest_first_and_uncalled_orders_do_not_count(
    pool, tenant, server, database
) -> None:
    for number, state in ((2, "fulfilled"), (3, "needs_operator")):
        token = f"pm-test-1-0{number}"
        order = await intended(pool, tenant, add_server(database, tenant, token), token=token)
        await claimed(pool, token=token)
        await marked(pool, order, state, "calling")
    await intended(pool, tenant, server)
    async with as_orchestrator(pool) as conn:
        assert await provider_orders.recent_outcomes(conn, "server", 5) == ["needs_operator", "fulfilled"]
        assert await provider_orders.recent_outcomes(conn, "server", 1) == ["needs_operator"]
        waiting = await provider_orders.list_orders(conn, states=["needs_operator"])
    assert [order.token for order in waiting] == ["pm-test-1-03"]


async def test_a_tenant_never_sees_orders(pool, tenant) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with as_tenant(pool, tenant.uuid) as conn:
            await provider_orders.get_order(conn, "server", TOKEN)
