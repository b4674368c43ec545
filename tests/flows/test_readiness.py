"""A server is ready when it says so twice and SSH answers; every other word is a wait or a person's matter."""

import asyncio
from typing import Any

import pytest

from tests.support.product import Customer, Product


async def ordered(product: Product, **fault: Any) -> Customer:
    """A tenant whose server is ordered, with a trouble of its life armed."""
    if fault:
        product.hostwinds.admin.fault(action="add_instance", **fault)
    customer = product.sign_up()
    await product.onboard(customer)
    return customer


def grown_up(product: Product) -> None:
    """Let the ten hours of building pass."""
    product.hostwinds.admin.advance(36_001)
    product.hostwinds.admin.settle()


def wait(product: Product, customer: Customer) -> tuple[str, str]:
    run = product.run_of(customer)
    return run["wait_reason"], run["wait_detail"]


async def test_while_it_is_built_the_run_waits_and_comes_back(product: Product) -> None:
    customer = await ordered(product)
    reason, detail = wait(product, customer)
    assert (reason, "still being made" in detail) == ("provider", True)
    assert product.run_of(customer)["resume_at"] is not None


async def test_never_ready_calls_a_person_when_the_windows_are_over(product: Product) -> None:
    customer = await ordered(product, name="stuck_build")
    windows = ("LISTED", "ACTIVE", "SSH")
    product.configure(**{f"HOSTWINDS__{window}_WINDOW_MINUTES": "0" for window in windows})
    await product.onboard(customer)
    reason, detail = wait(product, customer)
    assert (reason, "is not ready" in detail) == ("operator", True)
    assert product.hostwinds.bought() == 1


@pytest.mark.parametrize(
    ("fault", "words"), [("build_error", "is in ERROR"), ("suspend", "is suspended by the provider")]
)
async def test_error_and_suspension_are_a_persons_matter_and_order_no_other(
    product: Product, fault: str, words: str
) -> None:
    customer = await ordered(product, name=fault)
    grown_up(product)
    await product.onboard(customer)
    reason, detail = wait(product, customer)
    assert (reason, words in detail) == ("operator", True)
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)


async def test_a_server_that_is_gone_is_named_and_not_replaced(product: Product) -> None:
    customer = await ordered(product)
    product.hostwinds.admin.ask("delete_in_panel", serviceid=product.hostwinds.server()["serviceid"])
    await product.onboard(customer)
    assert wait(product, customer)[0] == "operator"
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)


async def test_active_without_ssh_is_not_ready(product: Product) -> None:
    """The address is outside what we may reach here: whatever answers there is not asked."""
    customer = await ordered(product)
    grown_up(product)
    await product.onboard(customer)
    reason, detail = wait(product, customer)
    assert (reason, "outside the allowed networks" in detail) == ("operator", True)
    assert product.rows("SELECT ip_address FROM vps_instances") == [{"ip_address": None}]


@pytest.mark.parametrize(
    "shape",
    [
        "missing_task_state", "lower_case_status", "numbers_as_strings", "list_as_object", "object_as_empty_list",
        "no_success_wrapper", "null_bandwidth", "ips_null", "ips_string", "row_without_serviceid",
    ],
)  # fmt: skip
async def test_odd_answers_about_a_server_are_read_or_waited_out(product: Product, shape: str) -> None:
    customer = await ordered(product)
    product.hostwinds.admin.fault(shape, times="forever")
    await product.onboard(customer)
    assert wait(product, customer)[0] == "provider"
    assert product.hostwinds.bought() == 1


@pytest.mark.parametrize("lag", [{"name": "missing_from_list_once"}, {"name": "stale_list", "seconds": 3600}])
async def test_a_list_that_lags_behind_orders_no_other_server_and_calls_nobody(
    product: Product, lag: dict[str, Any]
) -> None:
    customer = await ordered(product)
    product.hostwinds.admin.fault(action="get_instances", **lag)
    await product.onboard(customer)
    assert wait(product, customer)[0] == "provider"
    await product.onboard(customer)
    assert wait(product, customer)[0] == "provider"
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)


async def test_an_unknown_word_is_never_taken_for_ready(product: Product) -> None:
    customer = await ordered(product)
    grown_up(product)
    product.hostwinds.admin.fault("unknown_status", times="forever", word="MIGRATING")
    await product.onboard(customer)
    assert wait(product, customer)[0] == "provider"


async def test_tenants_that_come_at_once_get_one_server_each(product: Product) -> None:
    product.configure(DATABASE__POOL_MAX="2")
    crowd = [product.sign_up(f"tenant{number}") for number in range(4)]
    await asyncio.gather(*(product.onboard(customer) for customer in crowd))
    for customer in crowd:  # those who waited too long for their turn come back by themselves
        await product.onboard(customer)
    labels = [server["label"] for server in product.hostwinds.admin.servers()]
    assert len(labels) == len(set(labels)) == product.hostwinds.bought() == 4
