"""A step is tried again only when nothing happened, leaves every try behind, and is not run twice once it succeeded."""

from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.schemas.objects import State

from flows.outcomes import Done, Outcome, Refused, Waiting
from flows.resources import Resources
from flows.steps import Body, step
from providers.errors import NotFound, Rejected, Unauthorized, Unavailable, Unconfirmed
from sql import provisioning
from sql.provisioning import Run
from sql.session import AlreadyExists, Contended, as_orchestrator
from tests.support.product import Customer, Product

NAME = "check_egress"  # any key of the journey
SECRET = "CANARY-step-secret"


@pytest.fixture
async def run_id(product: Product) -> UUID:
    """A started run of a tenant."""
    return await begun(product, product.sign_up())


async def begun(product: Product, customer: Customer) -> UUID:
    from flows.resources import resources  # noqa: PLC0415 - after the settings are made

    async with resources() as r, as_orchestrator(r.pool) as conn:
        run = await provisioning.open_or_join_run(
            conn, tenant_id=customer.pk, kind="onboard", target="", idempotency_key="k", requested_by="test", input={}
        )
        await provisioning.start_run(conn, run.id, uuid4())
    return run.id


async def tried(body: Body, run_id: UUID, *, retries: int = 3) -> State[Any]:
    """Run a step as a flow does, without its pauses."""
    ensure = step(name=NAME, retries=retries)(body).with_options(retry_delay_seconds=0)

    @flow(name="one-step")
    async def one_step() -> State[Any]:
        return await ensure(run_id, return_state=True)

    return await one_step(return_state=True)


def failing(error: Exception, calls: Counter[str]) -> Body:
    async def ensure_it(_r: Resources, _run: Run) -> Outcome:
        calls["body"] += 1
        raise error

    return ensure_it


def trail(product: Product) -> list[tuple[int, str, str | None]]:
    rows = product.rows("SELECT * FROM provisioning_attempts ORDER BY attempt_number")
    return [(row["attempt_number"], row["outcome"], row["error_type"]) for row in rows]


def status(product: Product) -> str:
    (row,) = product.rows("SELECT status FROM provisioning_steps")
    return row["status"]


@pytest.mark.parametrize("error", [Unavailable("host", "facts", "no answer"), Contended("deadlock")])
async def test_what_did_not_happen_is_tried_again_up_to_the_limit(product, run_id, error: Exception) -> None:
    calls: Counter[str] = Counter()
    state = await tried(failing(error, calls), run_id)
    assert state.is_failed()
    assert calls["body"] == 4
    assert trail(product) == [(number, "failed", type(error).__name__) for number in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (Unconfirmed("host", "apply", "the line was cut"), "unconfirmed"),
        (Rejected("host", "apply", "no space"), "failed"),
        (NotFound("hostwinds", "get_instance", "gone"), "failed"),
        (Unauthorized("ssh", "connect", "refused"), "failed"),
        (AlreadyExists("some_key"), "failed"),
        (LookupError("a mistake of ours"), "failed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
async def test_what_may_have_happened_or_will_fail_again_is_tried_once(
    product, run_id, error: Exception, left: str
) -> None:
    calls: Counter[str] = Counter()
    state = await tried(failing(error, calls), run_id)
    assert state.is_failed()
    assert calls["body"] == 1
    assert trail(product) == [(1, left, type(error).__name__)]
    assert status(product) == left


async def test_a_step_that_spends_money_is_never_tried_again(product, run_id) -> None:
    calls: Counter[str] = Counter()
    await tried(failing(Unavailable("hostwinds", "add_instance", "no connection"), calls), run_id, retries=0)
    assert calls["body"] == 1


async def test_a_second_try_that_succeeds_ends_the_step(product, run_id) -> None:
    calls: Counter[str] = Counter()

    async def ensure_it(_r: Resources, _run: Run) -> Outcome:
        calls["body"] += 1
        if calls["body"] == 1:
            raise Unavailable("host", "facts", "no answer")
        return Done({"address": "192.0.2.1"})

    state = await tried(ensure_it, run_id)
    assert state.is_completed()
    assert trail(product) == [(1, "failed", "Unavailable"), (2, "succeeded", None)]
    assert product.rows("SELECT status, output FROM provisioning_steps") == [
        {"status": "succeeded", "output": {"address": "192.0.2.1"}}
    ]


async def test_a_step_that_succeeded_is_not_run_again_and_gives_what_it_gave(product, run_id) -> None:
    calls: Counter[str] = Counter()

    async def ensure_it(_r: Resources, _run: Run) -> Outcome:
        calls["body"] += 1
        return Done({"number": calls["body"]})

    await tried(ensure_it, run_id)
    state = await tried(ensure_it, run_id)
    inner = await state.aresult()
    assert calls["body"] == 1
    assert inner == Done({"number": 1}) or await inner.aresult() == Done({"number": 1})
    assert len(trail(product)) == 1


@pytest.mark.parametrize(
    ("outcome", "left"),
    [(Waiting("dns", "an A record"), "waiting"), (Refused("the plan allows none"), "failed")],
)
async def test_waiting_and_refusal_are_answers_not_errors(product, run_id, outcome: Outcome, left: str) -> None:
    async def ensure_it(_r: Resources, _run: Run) -> Outcome:
        return outcome

    state = await tried(ensure_it, run_id)
    assert state.is_completed()
    assert trail(product) == [(1, left, None)]
    assert status(product) == left


async def test_a_try_bears_its_task_run_and_its_time(product, run_id) -> None:
    await tried(failing(Rejected("host", "apply", "no"), Counter()), run_id)
    (row,) = product.rows("SELECT * FROM provisioning_attempts")
    assert row["task_run_id"] is not None
    assert row["duration"] is not None


async def test_no_secret_enters_the_trail(product, run_id) -> None:
    product.configure(HOSTWINDS__API_KEY=SECRET)
    await tried(failing(LookupError(f"bad key {SECRET} and password=CANARY-shape"), Counter()), run_id)
    (row,) = product.rows("SELECT error_message FROM provisioning_attempts")
    assert "CANARY" not in row["error_message"]
    assert "bad key [redacted]" in row["error_message"]


async def test_a_process_that_lost_its_run_changes_nothing(product, run_id) -> None:
    """It was given up for dead; a new one has the run when the old one comes back."""

    async def ensure_it(r: Resources, run: Run) -> Outcome:
        async with as_orchestrator(r.pool) as conn:
            await provisioning.start_run(conn, run.id, uuid4())
        return Done({"late": True})

    await tried(ensure_it, run_id)
    assert product.rows("SELECT status, output FROM provisioning_steps") == [{"status": "running", "output": {}}]


async def test_a_step_of_no_run_says_so(product) -> None:
    calls: Counter[str] = Counter()
    state = await tried(failing(Rejected("host", "apply", "no"), calls), uuid4())
    assert state.is_failed()
    assert not calls
    with pytest.raises(LookupError, match="no provisioning run"):
        await state.aresult()
