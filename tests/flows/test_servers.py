"""One server for one order, whatever is lost: against the emulated provider, with processes really killed."""

import asyncio
from multiprocessing.process import BaseProcess
from typing import Any

import psycopg
import pytest

from flows.onboarding.servers import noted_order
from flows.resources import resources
from sandbox.hostwinds.faults import BAD_REPLY, LABEL, MONEY
from sql import provider_orders, provisioning, retries
from sql.session import as_orchestrator
from tests.support.emulator import Emulated, until
from tests.support.product import Customer, Product, blocked, killed, started


def ended(product: Product, customer: Customer) -> tuple[str, str | None, str | None]:
    """The run's status and reason, and the order's state."""
    run = product.run_of(customer)
    orders = product.orders_of(customer)
    return run["status"], run["wait_reason"], orders[0]["state"] if orders else None


WAITS = ("waiting", "provider")
CALLS = ("waiting", "operator")


async def test_a_tenant_gets_one_server_and_the_run_waits_for_it(product: Product) -> None:
    customer = product.sign_up()
    state = await product.onboard(customer)
    assert (state.name, state.type) == ("Waiting for provider", "COMPLETED")
    assert ended(product, customer) == (*WAITS, "fulfilled")
    (instance,) = product.rows("SELECT * FROM vps_instances")
    server = product.hostwinds.server()
    assert (instance["instance_id"], instance["hostwind_id"]) == (server["label"], str(server["serviceid"]))
    assert instance["status"] == "provisioning"
    (charge,) = product.hostwinds.admin.charges()
    order = product.order_of(customer)
    assert order["created_at"].timestamp() <= order["called_at"].timestamp()
    assert (charge["kind"], charge["amount"]) == ("server", float(order["expected_amount"]))
    assert product.rows("SELECT event, from_status, to_status FROM infrastructure_events") == [
        {"event": "server_ordered", "from_status": "requested", "to_status": "provisioning"}
    ]


async def test_a_tenant_may_say_where_its_server_stands_and_mend_it(product: Product) -> None:
    customer = product.sign_up(settings={"infrastructure": {"region": "nowhere"}})
    await product.onboard(customer)
    order = product.order_of(customer)
    assert (order["state"], order["spec"]["region"]) == ("rejected", "nowhere")
    product.rows("UPDATE tenants SET settings = %s WHERE id = %s", '{"infrastructure": {"region": "1"}}', customer.pk)
    async with resources() as r, as_orchestrator(r.pool) as conn:
        assert await provider_orders.decide(conn, order["id"], decision="not_created", actor="operator:test")
        await retries.rearm_run(conn, order["run_id"], from_ordinal=0)
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "fulfilled")
    assert (product.order_of(customer)["spec"]["region"], product.hostwinds.bought()) == ("1", 1)


async def test_a_second_start_orders_nothing(product: Product) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    again = await product.onboard(customer)
    assert again.name == "Waiting for provider"
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)
    assert product.run_of(customer)["starts"] == 1


async def test_a_server_that_was_linked_and_left_requested_is_brought_up_to_its_order(product: Product) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    product.rows("UPDATE vps_instances SET status = 'requested'")
    product.rows("UPDATE provisioning_steps SET status = 'pending' WHERE step_key = 'order_server'")
    await product.onboard(customer)
    assert product.rows("SELECT status FROM vps_instances") == [{"status": "provisioning"}]
    assert product.hostwinds.bought() == 1


MADE = ("fulfilled", 1)
DOUBT = ("unconfirmed", 0)
REPLIES: list[tuple[str, dict[str, Any], tuple[str, int]]] = [
    ("lost_reply", {}, MADE),
    ("hang_reply", {}, MADE),
    ("drop_before", {}, DOUBT),
    *((name, {"effect": True}, MADE) for name in sorted(BAD_REPLY)),
    *((name, {"effect": False}, DOUBT) for name in sorted(BAD_REPLY)),
    ("partial_paid", {"effect": True}, MADE),
    ("paid_only", {"effect": True}, MADE),
    ("label_changed_case", {}, ("accepted", 1)),
    ("label_dropped", {}, ("accepted", 1)),
    ("label_truncated", {"length": 12}, ("accepted", 1)),
]


@pytest.mark.parametrize(("fault", "options", "end"), REPLIES, ids=lambda value: str(value).replace("'", ""))
async def test_a_spoilt_answer_to_an_order_never_makes_a_second_one(
    product: Product, fault: str, options: dict[str, Any], end: tuple[str, int]
) -> None:
    product.configure(HOSTWINDS__CREATE_TIMEOUT_SECONDS="0.5")
    customer = product.sign_up()
    product.hostwinds.admin.fault(fault, action="add_instance", **options)
    await product.onboard(customer)
    state, bought = end
    assert ended(product, customer) == (*WAITS, state), product.run_of(customer)["wait_detail"]
    await product.onboard(customer)  # the sweep comes by
    assert len(product.hostwinds.admin.servers()) == bought
    assert product.hostwinds.bought() <= 1
    assert arrived(product.hostwinds) == 1


def arrived(hostwinds: Emulated) -> int:
    """Orders that the gate let through: a request that the emulator dropped unread is one too."""
    return hostwinds.gate.seen("add_instance")


def test_every_switch_of_the_groups_is_tried() -> None:
    tried = {name for name, _, _ in REPLIES} | {"refuse_connect", "late_effect", "payment_declined", "hourly_disabled"}
    tried |= {"double_create", "duplicate_label"}
    assert tried >= BAD_REPLY | MONEY | LABEL


@pytest.mark.parametrize("fault", ["partial_paid", "paid_only"])
async def test_paid_and_nothing_made_waits_and_then_calls_a_person(product: Product, fault: str) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault(fault, action="add_instance", effect=False)
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "unconfirmed")
    product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
    await product.onboard(customer)
    assert ended(product, customer) == (*CALLS, "needs_operator")
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)


async def test_a_provider_that_cannot_be_reached_leaves_the_intent_and_no_call(product: Product) -> None:
    customer = product.sign_up()
    product.hostwinds.gate.close()
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "intended")
    assert product.order_of(customer)["called_at"] is None
    product.configure(HOSTWINDS__BASE_URL=product.hostwinds.played.provider.url)
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "fulfilled")
    assert product.hostwinds.bought() == 1


async def test_a_server_that_comes_late_is_adopted_and_not_ordered_again(product: Product) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault("late_effect", action="add_instance", seconds=120)
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "unconfirmed")
    assert product.hostwinds.admin.servers() == []
    product.hostwinds.admin.advance(121)
    product.hostwinds.admin.settle()
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "fulfilled")
    assert (arrived(product.hostwinds), product.hostwinds.bought()) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "words"), [("payment_declined", "declined"), ("hourly_disabled", "Hourly products are disabled")]
)
async def test_a_refused_order_bought_nothing_and_says_why(product: Product, fault: str, words: str) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault(fault, action="add_instance")
    await product.onboard(customer)
    run, order = product.run_of(customer), product.order_of(customer)
    assert ended(product, customer) == (*CALLS, "rejected")
    assert words in run["wait_detail"]
    assert f"orders decide {order['token']} not_created" in run["wait_detail"]
    await product.onboard(customer)
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 0)


@pytest.mark.parametrize("fault", ["double_create", "duplicate_label"])
async def test_two_servers_under_one_token_are_shown_to_a_person_and_neither_is_taken(
    product: Product, fault: str
) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault(fault, action="add_instance")
    await product.onboard(customer)
    servers = product.hostwinds.admin.servers()
    assert len(servers) == 2
    assert ended(product, customer) == (*CALLS, "needs_operator")
    detail = product.run_of(customer)["wait_detail"]
    assert all(str(server["serviceid"]) in detail for server in servers)
    await product.onboard(customer)
    assert product.hostwinds.orders() == 1
    assert product.rows("SELECT hostwind_id FROM vps_instances") == [{"hostwind_id": None}]
    product.hostwinds.admin.ask("delete_in_panel", serviceid=servers[1]["serviceid"])


async def test_an_order_that_never_shows_calls_a_person_when_its_window_ends(product: Product) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault("drop_before", action="add_instance")
    product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
    await product.onboard(customer)
    order = product.order_of(customer)
    assert ended(product, customer) == (*CALLS, "needs_operator")
    assert order["token"] in product.run_of(customer)["wait_detail"]
    await product.onboard(customer)
    assert arrived(product.hostwinds) == 1


async def test_a_server_that_shows_after_the_person_was_called_is_still_taken(product: Product) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault("late_effect", action="add_instance", seconds=3600)
    product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
    await product.onboard(customer)
    assert ended(product, customer) == (*CALLS, "needs_operator")
    product.hostwinds.admin.advance(3601)
    product.hostwinds.admin.settle()
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "fulfilled")
    assert product.hostwinds.bought() == 1


async def test_a_list_that_cannot_be_read_orders_nothing(product: Product) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault("truncated_json", action="get_instances", times="forever")
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "intended")
    assert product.hostwinds.orders() == 0
    product.hostwinds.admin.clear_faults()
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "fulfilled")


async def test_a_wrong_key_names_the_ipv4_trap_and_orders_nothing(product: Product) -> None:
    product.configure(HOSTWINDS__API_KEY="CANARY-wrong-key")
    customer = product.sign_up()
    await product.onboard(customer)
    assert ended(product, customer) == (*CALLS, "intended")
    detail = product.run_of(customer)["wait_detail"]
    assert "IPv4" in detail
    assert "CANARY" not in detail
    assert product.hostwinds.bought() == 0
    product.configure(HOSTWINDS__API_KEY=product.hostwinds.played.provider.api_key)
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "fulfilled")


async def test_the_daily_limit_orders_no_more(product: Product) -> None:
    product.configure(HOSTWINDS__MAX_CREATES_PER_DAY="1")
    first, second = product.sign_up("acme"), product.sign_up("beta")
    await product.onboard(first)
    await product.onboard(second)
    assert ended(product, second) == (*WAITS, None)
    assert "the limit is 1" in product.run_of(second)["wait_detail"]
    assert product.hostwinds.bought() == 1


async def test_the_daily_limit_holds_for_orders_that_were_noted_before(product: Product) -> None:
    product.configure(HOSTWINDS__MAX_CREATES_PER_DAY="1")
    product.hostwinds.gate.close()
    customers = [product.sign_up(name) for name in ("acme", "beta", "gamma")]
    for customer in customers:
        await product.onboard(customer)
        assert ended(product, customer) == (*WAITS, "intended")
    product.configure(HOSTWINDS__BASE_URL=product.hostwinds.played.provider.url)
    for customer in customers:
        await product.onboard(customer)
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)
    assert [product.order_of(customer)["state"] for customer in customers] == ["fulfilled", "intended", "intended"]


async def test_an_order_armed_again_does_not_count_against_itself(product: Product) -> None:
    product.configure(HOSTWINDS__MAX_CREATES_PER_DAY="1")
    product.hostwinds.admin.fault("payment_declined", action="add_instance")
    customer = product.sign_up()
    await product.onboard(customer)
    order = product.order_of(customer)
    async with resources() as r, as_orchestrator(r.pool) as conn:
        assert await provider_orders.decide(conn, order["id"], decision="not_created", actor="operator:test")
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "fulfilled")
    assert product.hostwinds.bought() == 1


async def test_the_daily_limit_holds_for_sign_ups_at_once(product: Product) -> None:
    product.configure(HOSTWINDS__MAX_CREATES_PER_DAY="1")
    product.hostwinds.admin.fault("slow_read", action="get_instances", times=3, seconds=1)
    racers = [product.begin(product.sign_up(name)) for name in ("acme", "beta", "gamma")]
    for racer in racers:
        await asyncio.to_thread(racer.join, 120)
    assert product.hostwinds.bought() == 1


async def test_two_purchases_that_vanish_stop_all_ordering(product: Product) -> None:
    product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
    product.hostwinds.admin.fault("label_dropped", action="add_instance", times=2)
    lost = [product.sign_up(name) for name in ("acme", "beta")]
    for customer in lost:
        await product.onboard(customer)
    third = product.sign_up("gamma")
    await product.onboard(third)
    assert ended(product, third) == (*CALLS, None)
    assert product.hostwinds.orders() == 2


async def test_two_processes_race_for_one_tenant_and_one_server_is_bought(product: Product) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault("slow_read", action="get_instances", seconds=1)
    racers = [product.begin(customer) for _ in range(3)]
    for racer in racers:
        await asyncio.to_thread(racer.join, 120)
    assert [racer.exitcode for racer in racers] == [0, 0, 0]
    assert ended(product, customer) == (*WAITS, "fulfilled")
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)


async def test_two_actors_at_the_same_moment_note_one_order(product: Product) -> None:
    """Past the run's lock: both have seen no server, and neither can write one yet."""
    customer = product.sign_up()
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            run = await provisioning.open_or_join_run(
                conn, tenant_id=customer.pk, kind="onboard", target="", idempotency_key="k", requested_by="test",
                input={},
            )  # fmt: skip
        with psycopg.connect(product.dsn) as other:
            other.execute("LOCK TABLE vps_instances IN SHARE ROW EXCLUSIVE MODE")
            actors = [asyncio.create_task(noted_order(r, run)) for _ in range(2)]
            await asyncio.to_thread(until, lambda: blocked(product.dsn, 2), "both stand before the table")
        (first, order), (second, same) = await asyncio.gather(*actors)
    assert (first.token, order.id) == (second.token, same.id)
    assert len(product.orders_of(customer)) == len(product.rows("SELECT 1 FROM vps_instances")) == 1


async def test_a_second_start_while_the_first_is_ordering_finds_it_at_work_and_orders_nothing(product: Product) -> None:
    product.configure(HOSTWINDS__CREATE_TIMEOUT_SECONDS="120")  # the first is to wait for as long as the second takes
    customer = product.sign_up()
    product.hostwinds.gate.hold("add_instance")
    first = asyncio.create_task(product.onboard(customer))
    await asyncio.to_thread(product.hostwinds.gate.held.wait, 60)
    second = await product.onboard(customer)
    product.hostwinds.gate.release()
    assert (second.name, (await first).name) == ("Already running", "Waiting for provider")
    assert len(product.rows("SELECT 1 FROM provisioning_runs")) == 1
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)


async def test_two_runs_that_share_an_order_claim_it_once(product: Product) -> None:
    """Past the run's lock, as when its connection broke: intent and claim alone must hold."""
    customer = product.sign_up()
    product.hostwinds.admin.fault("slow_read", action="get_instances", times=2, seconds=1)
    racers = [started(order_unlocked, dict(product.settings), customer.pk, number) for number in (1, 2)]
    for racer in racers:
        await asyncio.to_thread(racer.join, 120)
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)
    assert product.order_of(customer)["state"] == "fulfilled"


def order_unlocked(settings: dict[str, str], tenant: int, number: int) -> None:
    """One more actor on a run that another process holds."""
    import os  # noqa: PLC0415 - runs in a child

    os.environ |= settings
    asyncio.run(_order_unlocked(tenant, number))


async def _order_unlocked(tenant: int, number: int) -> None:
    from flows.onboarding.servers import ensure_server  # noqa: PLC0415 - runs in a child
    from flows.resources import resources  # noqa: PLC0415  this test alone needs it
    from sql import provisioning  # noqa: PLC0415  this test alone needs it
    from sql.session import as_orchestrator  # noqa: PLC0415  this test alone needs it

    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            run = await provisioning.open_or_join_run(
                conn, tenant_id=tenant, kind="onboard", target="", idempotency_key=f"racer:{number}",
                requested_by="test", input={},
            )  # fmt: skip
        await ensure_server(run.id)


KILLS = ["before the intent", "before the claim", "before the call", "before the answer", "before the mark",
         "before the adoption", "before the step's end"]  # fmt: skip


def stopped_early(product: Product, customer: Customer, moment: str, other: psycopg.Connection[Any]) -> BaseProcess:
    """A process that stands still at a moment up to the call."""
    gate = product.hostwinds.gate
    if moment == "before the intent":
        other.execute("LOCK TABLE provider_orders IN ACCESS EXCLUSIVE MODE")
        child = product.begin(customer)
        until(lambda: blocked(product.dsn), "the guard looks at the orders")
        return child
    gate.hold("get_instances" if moment == "before the claim" else "add_instance")
    child = product.begin(customer)
    until(gate.held.is_set, "the request on its way")
    if moment == "before the step's end":
        other.execute("SELECT 1 FROM provisioning_steps WHERE step_key = 'order_server' FOR UPDATE")
        gate.release()
        until(lambda: blocked(product.dsn), "the step is to be ended")
    return child


def stopped_late(product: Product, customer: Customer, moment: str, other: psycopg.Connection[Any]) -> BaseProcess:
    """A process that stands still between the call and the adoption."""
    admin, gate = product.hostwinds.admin, product.hostwinds.gate
    if moment == "before the adoption":
        gate.hold("get_instances", after=1)
        child = product.begin(customer)
        until(gate.held.is_set, "the look after the order")
        return child
    admin.fault("hang_reply", action="add_instance")
    child = product.begin(customer)
    until(product.hostwinds.bought, "the order is carried out")
    if moment == "before the mark":
        other.execute("SELECT 1 FROM provider_orders FOR UPDATE")
        admin.clear_faults()
        until(lambda: blocked(product.dsn), "the answer is to be written down")
    return child


LATE = {"before the answer", "before the mark", "before the adoption"}


@pytest.mark.parametrize("moment", KILLS)
async def test_a_killed_process_converges_on_one_server(product: Product, moment: str) -> None:
    product.configure(HOSTWINDS__CREATE_TIMEOUT_SECONDS="60", HOSTWINDS__READ_TIMEOUT_SECONDS="60")
    customer = product.sign_up()
    admin, gate = product.hostwinds.admin, product.hostwinds.gate
    with psycopg.connect(product.dsn) as other:
        child = (stopped_late if moment in LATE else stopped_early)(product, customer, moment, other)
        killed(child)
    admin.clear_faults()
    called = gate.seen("add_instance")
    await until_free(product)
    await product.onboard(customer)
    if moment == "before the call":  # claimed, and perhaps called: nobody can know, so nobody orders again
        assert ended(product, customer) == (*WAITS, "unconfirmed")
        assert (product.hostwinds.orders(), product.hostwinds.bought()) == (0, 0)
        product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
        await product.onboard(customer)
        assert ended(product, customer) == (*CALLS, "needs_operator")
        assert (product.hostwinds.orders(), product.hostwinds.bought()) == (0, 0)
        return
    assert called == (0 if moment in {"before the intent", "before the claim"} else 1)
    assert ended(product, customer) == (*WAITS, "fulfilled")
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)
    assert len(product.rows("SELECT 1 FROM vps_instances")) == len(product.rows("SELECT 1 FROM provisioning_runs")) == 1
    assert [row["outcome"] for row in product.attempts_of(customer, "order_server")] == ["crashed", "succeeded"]


async def until_free(product: Product) -> None:
    """Until the server has noticed that the killed process's lock connection is gone."""

    held = (
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    await asyncio.to_thread(until, lambda: not product.rows(held), "the lock of a dead process is free")


async def test_what_shows_before_an_order_armed_again_is_taken_and_not_ordered(product: Product) -> None:
    """An operator said that nothing was made, and the server comes all the same."""
    customer = product.sign_up()
    product.hostwinds.admin.fault("late_effect", action="add_instance", seconds=3600)
    product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
    await product.onboard(customer)
    order = product.order_of(customer)
    async with resources() as r, as_orchestrator(r.pool) as conn:
        assert await provider_orders.decide(conn, order["id"], decision="not_created", actor="operator:test")
    product.hostwinds.admin.advance(3601)
    product.hostwinds.admin.settle()
    await product.onboard(customer)
    assert ended(product, customer) == (*WAITS, "fulfilled")
    assert (arrived(product.hostwinds), product.hostwinds.bought()) == (1, 1)
