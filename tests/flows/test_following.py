"""Subscriptions after their money, with the clock as an argument: past due, grace, suspended, release planned, paid."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.__main__ import app
from flows.following import follow_subscriptions, followed, moment
from flows.resources import resources
from tests.support.product import Customer, Product

NOW = datetime.now(UTC)
LOCK = "SELECT pg_advisory_lock(hashtextextended('penguin-run:' || %s::text, 0))"


def flows(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


async def follow(at: datetime) -> list[str]:
    async with resources() as r:
        return await followed(r, at)


def subscription(product: Product, customer: Customer) -> dict[str, Any]:
    (row,) = product.rows("SELECT * FROM subscriptions WHERE tenant_id = %s", customer.pk)
    return row


def events(product: Product, customer: Customer) -> list[str]:
    return [row["event"] for row in product.rows(
        "SELECT event FROM infrastructure_events WHERE tenant_id = %s ORDER BY id", customer.pk)]  # fmt: skip


def with_host(product: Product, customer: Customer) -> None:
    """A working server that nothing answers for, and the run that made it."""
    product.rows(
        "INSERT INTO vps_instances (tenant_id, instance_id, status, ip_address, ssh_port, provisioned_at)"
        " VALUES (%s, %s, 'active', '127.0.0.1', 1, %s)",
        customer.pk, f"pm-test-{uuid4().hex[:8]}", NOW - timedelta(days=40),
    )  # fmt: skip
    product.rows("INSERT INTO provisioning_runs (tenant_id, kind, idempotency_key, status)"
                 " VALUES (%s, 'onboard', 'k', 'succeeded')", customer.pk)  # fmt: skip


async def test_a_month_without_money(product: Product) -> None:
    customer = product.sign_up(ends_in="1 hour")
    assert await follow(NOW) == []
    late = NOW + timedelta(hours=2)
    assert len(await follow(late)) == 1
    row = subscription(product, customer)
    assert (row["status"], row["past_due_since"]) == ("past_due", row["expires_at"])
    assert await follow(late + timedelta(days=6)) == []  # grace
    assert len(await follow(late + timedelta(days=7))) == 1
    assert subscription(product, customer)["status"] == "suspended"
    assert events(product, customer) == ["past_due", "suspended"]
    assert await follow(late + timedelta(days=7)) == []


async def test_the_grace_is_a_setting(product: Product) -> None:
    product.configure(BILLING__GRACE_DAYS="0")
    customer = product.sign_up(ends_in="1 hour")
    await follow(NOW + timedelta(hours=2))
    assert subscription(product, customer)["status"] == "suspended"


async def test_an_unpaid_server_ends_with_its_month_and_a_payment_undoes_it(product: Product) -> None:
    customer = product.sign_up(ends_in="-8 days")
    with_host(product, customer)
    await follow(NOW)
    row = subscription(product, customer)
    assert row["status"] == "suspended"
    assert NOW < row["release_planned_for"] <= NOW + timedelta(days=31)
    assert product.rows("SELECT status FROM vps_instances") == [{"status": "active"}]  # a row, and nothing destroyed
    said = await asyncio.to_thread(flows, "payments", "record", str(customer.uuid), "pi_1", "--amount", "49")
    assert said.exit_code == 0, said.output
    row = subscription(product, customer)
    assert (row["status"], row["release_planned_for"], row["past_due_since"]) == ("active", None, None)
    assert row["expires_at"] > NOW + timedelta(days=27)


async def test_a_host_out_of_reach_is_told_to_staff_once_and_tried_again(product: Product) -> None:
    customer = product.sign_up(ends_in="-8 days")
    with_host(product, customer)
    for _ in range(2):
        assert any("out of reach" in line for line in await follow(NOW))
    (alert,) = product.rows("SELECT occurrences, severity, is_resolved, tenant_id FROM system_notifications")
    assert (alert["occurrences"], alert["severity"], alert["tenant_id"]) == (2, "medium", customer.uuid)
    assert "submission_refused" not in events(product, customer)


async def test_a_host_whose_run_is_at_work_is_left_to_it(product: Product) -> None:
    customer = product.sign_up(ends_in="-8 days")
    with_host(product, customer)
    with psycopg.connect(product.dsn, autocommit=True) as other:
        other.execute(LOCK, [product.run_of(customer)["id"]])
        lines = await follow(NOW)
    assert not any("out of reach" in line for line in lines)
    assert product.rows("SELECT 1 FROM system_notifications") == []


async def test_a_second_subscription_that_runs_keeps_the_host_open(product: Product) -> None:
    customer = product.sign_up(ends_in="-8 days")
    with_host(product, customer)
    product.rows("INSERT INTO subscriptions (tenant_id, plan_id, status, expires_at)"
                 " SELECT tenant_id, plan_id, 'active', now() + interval '9 days' FROM subscriptions")  # fmt: skip
    assert not any("out of reach" in line for line in await follow(NOW))


async def test_two_sweeps_at_once_move_each_subscription_once(product: Product) -> None:
    customers = [product.sign_up(f"t{n}", ends_in="-1 hour") for n in range(5)]
    async with resources() as r:
        lines = await asyncio.gather(followed(r, NOW), followed(r, NOW), followed(r, NOW))
    assert sum(map(len, lines)) == 5
    assert [events(product, customer) for customer in customers] == [["past_due"]] * 5


def test_payments_by_hand_count_once_and_say_what_they_refuse(product: Product) -> None:
    customer = str(product.sign_up().uuid)
    assert flows("payments", "record", customer, "pi_1", "--amount", "49").exit_code == 0
    assert "known already" in flows("payments", "record", customer, "pi_1", "--amount", "49",
                                    "--at", "2020-01-01T00:00:00+00:00").stdout  # fmt: skip
    wrong = flows("payments", "record", customer, "pi_1", "--amount", "50")
    assert (wrong.exit_code, "an event says 50" in wrong.stderr) == (5, True)
    assert flows("payments", "record", customer, "pi_2", "--amount", "4.999").exit_code == 2
    assert flows("payments", "record", customer, "pi_2", "--amount", "NaN").exit_code == 2
    assert flows("payments", "record", customer, "pi_2", "--amount", "49", "--status", "stolen").exit_code == 2
    for rubbish in (
        ["pi_2", "--amount", "1e20"],
        ["p" * 400, "--amount", "49"],
        ["pi_2", "--amount", "49", "--currency", "DOLLARS"],
        ["pi_2", "--amount", "49", "--at", "0001-01-01T00:00:00+14:00"],
        ["pi_2", "--amount", "49", "--at", "9999-12-31T00:00:00+00:00"],
        ["pi_2", "--amount", "49", "--at", "yesterday"],
    ):
        refused = flows("payments", "record", customer, *rubbish)
        assert (refused.exit_code, refused.exception.__class__, len(refused.stderr.splitlines())) == (2, SystemExit, 1)
    assert flows("payments", "record", customer, "pi_1", "--amount", "49", "--currency", "usd").exit_code == 0
    assert "49.00\tUSD\tsucceeded" in flows("payments", "list", customer).stdout
    assert flows("subscriptions", "list", customer).stdout.count("active") == 1


async def test_another_time_is_played_in_a_sandbox_only(product: Product) -> None:
    product.configure(HOSTWINDS__SANDBOX="false", HOSTWINDS__BASE_URL="https://vps.example/api.php")
    state = await follow_subscriptions("2026-12-24T00:00:00+00:00", return_state=True)
    assert state.name == "Rejected"
    said = await asyncio.to_thread(flows, "subscriptions", "follow", "--as-of", "2026-12-24T00:00:00+00:00")
    assert (said.exit_code, "is for the sandbox" in said.stderr) == (5, True)


def test_a_time_without_a_zone_is_no_time() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        moment("2026-12-24T00:00:00")
