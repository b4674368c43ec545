"""Waits come back when they are due, dead runs when their process is gone, and what keeps dying goes to a person."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Crashed

from flows import dispatch, serving
from flows.onboard import onboard_tenant
from flows.recover import resume_waiting, retry_failed_provisioning
from flows.resources import resources
from sql import alerts, provisioning
from sql.session import as_orchestrator
from tests.support.emulator import until
from tests.support.flow_runs import runs_for
from tests.support.product import Customer, Product, blocked, killed


@pytest.fixture(scope="session")
async def deployed(prefect_api: str) -> None:
    """Our deployments stand at the server; nobody serves them, so what is started stays scheduled."""
    for deployment in await serving.deployments():
        assert isinstance(deployment, RunnerDeployment)
        await deployment.apply()


async def scheduled(customer: Customer) -> list[dict[str, Any]]:
    """Parameters of the flow runs that somebody asked for."""
    return [run.parameters for run in await runs_for(customer.uuid)]


async def swept() -> str:
    state = await resume_waiting(return_state=True)
    return str(state.message)


async def test_a_wait_that_is_not_due_is_left_alone(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    assert (await swept()).startswith("0 runs")
    assert await scheduled(customer) == []


async def test_a_wait_that_is_due_is_resumed_once_by_two_sweeps(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    product.rows("UPDATE provisioning_runs SET resume_at = now() - interval '1 second'")
    messages = await asyncio.gather(swept(), swept())
    assert sorted(message[:6] for message in messages) == ["0 runs", "1 runs"]
    run = product.run_of(customer)
    assert await scheduled(customer) == [{"tenant_id": str(customer.uuid), "run_id": str(run["id"])}]
    assert run["starts"] == 1  # the cause of the wait may be gone: no start is held against it


async def test_the_same_start_asked_for_twice_is_one_flow_run(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            run = await provisioning.get_run(conn, product.run_of(customer)["id"])
        assert run is not None
        first, second = await dispatch.resume(r, run), await dispatch.resume(r, run)
    assert first.id == second.id


async def test_a_start_that_died_on_its_way_is_made_again_and_counted(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    before = product.run_of(customer)
    for already in (0, 1):
        product.rows("UPDATE provisioning_runs SET resume_at = now() - interval '1 second'")
        await swept()
        flow_runs = await runs_for(customer.uuid)
        assert len(flow_runs) == already + 1
        async with get_client() as client:
            await client.set_flow_run_state(flow_runs[0].id, Crashed(), force=True)
    run = product.run_of(customer)
    assert (run["status"], run["starts"], run["idle_starts"]) == ("pending", before["starts"] + 1, 1)
    product.rows("UPDATE provisioning_runs SET updated_at = now() - interval '1 hour'")
    await swept()
    assert len(await runs_for(customer.uuid)) == 3  # the next as well


async def test_a_request_id_asked_for_twice_is_one_flow_run(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    request = f"order:{uuid4()}"
    first, second = [await dispatch.onboard(customer.uuid, request) for _ in range(2)]
    assert first.id == second.id


async def test_a_run_whose_process_was_killed_is_taken_up_and_counted(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    with psycopg.connect(product.dsn) as other:
        other.execute("LOCK TABLE vps_instances IN SHARE ROW EXCLUSIVE MODE")
        child = product.begin(customer)
        until(lambda: blocked(product.dsn), "the flow is at work")
        assert (await swept()).startswith("0 runs")  # it lives: its lock says so
        killed(child)
    await asyncio.to_thread(until, lambda: lock_is_free(product), "the lock of a dead process is free")
    assert (await swept()).startswith("1 runs")
    run = product.run_of(customer)
    assert (run["status"], run["starts"], run["idle_starts"]) == ("pending", 2, 1)  # admit was done in between
    state = await onboard_tenant(customer.uuid, run_id=run["id"], return_state=True)
    assert state.name == "Waiting for provider"
    assert product.hostwinds.bought() == 1


def lock_is_free(product: Product) -> bool:
    held = "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
    return not product.rows(held + " WHERE l.locktype = 'advisory' AND d.datname = current_database()")


@pytest.mark.parametrize(("starts", "idle"), [(3, 3), (10, 0)])
async def test_a_run_that_keeps_dying_goes_to_a_person(
    product: Product, deployed: None, starts: int, idle: int
) -> None:
    customer = product.sign_up()
    run_id = await running(product, customer, starts=starts - 1, idle=max(idle - 1, 0))
    message = await swept()
    run = product.run_of(customer)
    assert (run["status"], run["wait_reason"], run["resume_at"]) == ("waiting", "operator", None)
    assert f"python -m flows retry {run_id}" in run["wait_detail"]
    assert "waiting_for_operator" in message
    assert await scheduled(customer) == []
    await swept()
    assert product.run_of(customer)["starts"] == starts  # it is left alone from here on


async def running(product: Product, customer: Customer, *, starts: int, idle: int) -> UUID:
    """A run that says it is running and whose process is gone."""
    await product.onboard(customer)
    run_id = product.run_of(customer)["id"]
    product.rows(
        "UPDATE provisioning_runs SET status = 'running', wait_reason = NULL, wait_detail = NULL, starts = %s,"
        " idle_starts = %s WHERE id = %s",
        starts, idle, run_id,
    )  # fmt: skip
    return run_id


async def test_a_wait_past_its_deadline_calls_a_person_and_says_what_never_came(
    product: Product, deployed: None
) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    product.rows("UPDATE provisioning_runs SET deadline_at = now() - interval '1 second', resume_at = now()")
    await swept()
    run = product.run_of(customer)
    assert (run["wait_reason"], run["resume_at"]) == ("operator", None)
    assert "until the deadline" in run["wait_detail"]
    assert "still being made" in run["wait_detail"]
    assert await scheduled(customer) == []


async def test_a_tenant_who_never_published_ends_the_run_at_the_deadline_with_a_sentence(
    product: Product, deployed: None
) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    product.rows(
        "UPDATE provisioning_runs SET deadline_at = now() - interval '1 second', wait_reason = 'dns',"
        " wait_detail = 'publish _pm-verify'"
    )
    message = await swept()
    run = product.run_of(customer)
    assert (run["status"], run["wait_reason"], run["resume_at"]) == ("failed", None, None)
    sentence = "waited for dns until the deadline: publish _pm-verify; once it is: python -m flows retry"
    assert run["last_error_message"] == f"{sentence} {run['id']}"
    assert sentence in message
    assert run["finished_at"] is not None
    assert await scheduled(customer) == []


async def test_an_operators_retry_sets_the_counters_back_and_starts_the_run(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    run_id = await running(product, customer, starts=10, idle=3)
    await swept()
    state = await retry_failed_provisioning(run_id, return_state=True)
    run = product.run_of(customer)
    assert state.is_completed()
    assert (run["status"], run["starts"], run["idle_starts"], run["wait_reason"]) == ("pending", 0, 0, None)
    assert await scheduled(customer) == [{"tenant_id": str(customer.uuid), "run_id": str(run_id)}]
    assert product.steps_of(customer)["order_server"] == "succeeded"


async def test_a_retry_that_means_nothing_is_rejected(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    run_id = await running(product, customer, starts=1, idle=1)
    state = await retry_failed_provisioning(run_id, from_step="nowhere", return_state=True)
    assert (state.name, "no step 'nowhere'" in str(state.message)) == ("Rejected", True)
    product.rows("UPDATE provisioning_runs SET status = 'failed'")
    await onboard_tenant(customer.uuid, return_state=True)  # the back end began anew
    state = await retry_failed_provisioning(run_id, return_state=True)
    assert (state.name, "another run took the place" in str(state.message)) == ("Rejected", True)


async def test_a_retry_from_a_step_looks_again_at_it_and_at_what_follows(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    run_id = await running(product, customer, starts=1, idle=1)
    await retry_failed_provisioning(run_id, from_step="order_server", return_state=True)
    assert product.steps_of(customer)["admit"] == "succeeded"
    assert product.steps_of(customer)["order_server"] == "pending"
    await onboard_tenant(customer.uuid, run_id=run_id, return_state=True)
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)


async def test_a_retry_of_nothing_is_refused(product: Product, deployed: None) -> None:
    state = await retry_failed_provisioning(uuid4(), return_state=True)
    assert state.name == "Rejected"


async def late_order(product: Product, customer: Customer) -> dict[str, Any]:
    """An order that called a person, and whose server shows now."""
    product.hostwinds.admin.fault("late_effect", action="add_instance", seconds=3600)
    product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
    await product.onboard(customer)
    assert product.order_of(customer)["state"] == "needs_operator"
    product.hostwinds.admin.advance(3601)
    product.hostwinds.admin.settle()
    product.rows("UPDATE provider_orders SET next_look_at = now()")
    return product.order_of(customer)


async def test_a_server_that_shows_after_a_person_was_called_is_found_by_the_sweep(
    product: Product, deployed: None
) -> None:
    customer = product.sign_up()
    await late_order(product, customer)
    assert "shows after all" in await swept()
    run = product.run_of(customer)
    assert await scheduled(customer) == [{"tenant_id": str(customer.uuid), "run_id": str(run["id"])}]
    await onboard_tenant(customer.uuid, run_id=run["id"], return_state=True)
    assert product.order_of(customer)["state"] == "fulfilled"
    assert product.hostwinds.bought() == 1


async def test_a_server_that_shows_after_its_order_was_given_up_is_told(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    order = await late_order(product, customer)
    product.rows("UPDATE provider_orders SET state = 'abandoned'")
    assert f"{order['token']} shows, abandoned" in await swept()
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        (alert,) = await alerts.open_alerts(conn, category="orders")
    assert f"orders decide {order['token']} adopt" in alert.message
    assert (await swept()).startswith("0 runs")  # not before an hour has passed
    product.rows("UPDATE provider_orders SET state = 'fulfilled'")
    await swept()
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        assert await alerts.open_alerts(conn, category="orders") == []


async def test_a_server_whose_run_was_cancelled_in_the_middle_of_the_call_is_told(
    product: Product, deployed: None
) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    product.rows("UPDATE provider_orders SET state = 'calling', external_ref = NULL")
    assert (await swept()).startswith("0 runs")  # its run is there to look
    product.rows("UPDATE provisioning_runs SET status = 'cancelled', wait_reason = NULL, resume_at = NULL")
    assert "shows, calling" in await swept()
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        (alert,) = await alerts.open_alerts(conn, category="orders")
    assert "onboard its tenant again" in alert.message
    product.rows("UPDATE provider_orders SET next_look_at = now()")
    await product.onboard(customer)  # what the alert says
    await swept()
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        assert await alerts.open_alerts(conn, category="orders") == []


async def test_a_provider_that_cannot_be_asked_leaves_late_orders_for_later(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    await late_order(product, customer)
    product.hostwinds.admin.fault("html_520", action="get_instances", times=20)
    assert (await swept()).startswith("0 runs")
    assert product.run_of(customer)["wait_reason"] == "operator"
