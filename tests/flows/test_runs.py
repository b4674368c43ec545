"""Every way a run can end is a row first, and a state that says the same."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import State

from flows.hosts import settle
from flows.outcomes import Refused, Waiting
from flows.resources import resources
from flows.runs import open_run, park, settle_failure, succeed
from providers.errors import NotFound, ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.ssh import Output
from sql import provisioning, provisioning_steps, tenants
from sql.provisioning import Run
from sql.session import Contended, as_orchestrator
from tests.support.product import Customer, Product

STEP = "publish_dns"


async def begun(product: Product, customer: Customer) -> Run:
    """A started run whose step is at work."""
    async with resources() as r, as_orchestrator(r.pool) as conn:
        run = await provisioning.open_or_join_run(
            conn, tenant_id=customer.pk, kind="onboard", target="", idempotency_key="k", requested_by="test", input={}
        )
        started = await provisioning.start_run(conn, run.id, uuid4())
        await provisioning_steps.intend_step(
            conn, run_id=run.id, tenant_id=customer.pk, step_key=STEP, ordinal=7, intent={}
        )
    assert started is not None
    return started


PASSING = "comes back by itself"
PERSON = "needs a person"
OURS = "a mistake of ours"


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (Unavailable("dns_host", "update", "no answer"), PASSING),
        (Unconfirmed("dns_host", "update", "the answer was lost"), PASSING),
        (Contended("deadlock detected"), PASSING),
        (Rejected("dns_host", "update", "NOTAUTH"), PERSON),
        (NotFound("hostwinds", "get_instance", "no such service"), PERSON),
        (Unauthorized("hostwinds", "get_instances", "Not Authorized!"), PERSON),
        (ProviderError("hostwinds", "get_instances", "odd"), PERSON),
        (LookupError("a row is missing"), OURS),
        (RuntimeError("a bug"), OURS),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
async def test_each_error_ends_in_its_row_and_its_state(product: Product, error: Exception, end: str) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r:
        state = await settle_failure(r, run, STEP, error)
    row = product.run_of(customer)
    sentence = str(row["wait_detail"] or row["last_error_message"])
    assert sentence in str(state.message)
    assert STEP in sentence
    assert str(error) in sentence
    if end is PASSING:
        assert (state.name, state.type) == ("Waiting for provider", "COMPLETED")
        assert (row["status"], row["wait_reason"]) == ("waiting", "provider")
        assert row["resume_at"] < row["deadline_at"]
    elif end is PERSON:
        assert (state.name, state.type) == ("Waiting for operator", "FAILED")
        assert (row["status"], row["wait_reason"], row["resume_at"]) == ("waiting", "operator", None)
        assert f"python -m flows retry {run.id}" in str(state.message)
    else:
        assert (state.name, state.type) == ("Failed", "FAILED")
        assert (row["status"], row["wait_reason"]) == ("failed", None)
        assert f"python -m flows retry {run.id}" in str(state.message)


@pytest.mark.parametrize(
    ("wait", "added"),
    [
        (Waiting("operator", "the server is in ERROR"), "; mend it, then: python -m flows retry {run}"),
        (Waiting("operator", "decide: python -m flows orders decide pm-x not_created"), ""),
        (Waiting("operator", "buy it in the panel; it is seen by itself", timedelta(minutes=10)), ""),
        (Waiting("dns", "an A record", timedelta(minutes=5)), ""),
    ],
    ids=["nothing else ends it", "a command of its own", "looked at again", "the tenant's"],
)
async def test_a_wait_that_only_a_person_ends_names_the_line_that_ends_it(
    product: Product, wait: Waiting, added: str
) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r:
        state = await park(r, run, STEP, wait)
    told = wait.detail + added.format(run=run.id)
    assert (product.run_of(customer)["wait_detail"], state.message) == (told, told)


@pytest.mark.parametrize(
    ("status", "printed", "reason", "sentence"),
    [
        (75, "refused\tapt-lock\theld by process 7 (apt-get)\n", "provider", "apt-lock: held by process 7 (apt-get)"),
        (65, "refused\tdisk-full\t/var: 0 MB free\n", "operator", "disk-full: /var: 0 MB free"),
        (65, "done\tpackages\nrefused\tcheck-mail\tline 3\n", "operator", "check-mail: line 3"),
    ],
    ids=["apt's lock", "a full disk", "a check"],
)
async def test_what_a_host_refuses_is_waited_for_where_it_passes_and_else_a_persons(
    product: Product, status: int, printed: str, reason: str, sentence: str
) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    with pytest.raises(ProviderError) as refusal:
        settle("apply", Output(status, printed, ""), looked=False)
    async with resources() as r:
        await settle_failure(r, run, STEP, refusal.value)
    row = product.run_of(customer)
    assert (row["status"], row["wait_reason"]) == ("waiting", reason)
    assert row["wait_detail"].startswith(f"{STEP}: host apply: {sentence}")


async def test_a_provider_that_names_a_pause_is_given_it(product: Product) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r:
        await settle_failure(r, run, STEP, Unavailable("hostwinds", "set_rdns", "HTTP 429", retry_after_seconds=1800))
    assert product.run_of(customer)["resume_at"] > datetime.now(UTC) + timedelta(minutes=25)


async def test_the_pace_of_a_world_shortens_the_pause_and_not_the_deadline(product: Product) -> None:
    product.configure(WAITS__PACE="0.01")
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r:
        await settle_failure(r, run, STEP, Unavailable("hostwinds", "set_rdns", "HTTP 429", retry_after_seconds=1800))
    row = product.run_of(customer)
    assert row["resume_at"] < datetime.now(UTC) + timedelta(minutes=1)
    assert row["deadline_at"] > datetime.now(UTC) + timedelta(hours=20)


async def test_looks_at_a_silent_provider_grow_rarer(product: Product) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    pauses: list[float] = []
    for idle in (1, 2, 3, 9):
        product.rows("UPDATE provisioning_runs SET idle_starts = %s, status = 'running', wait_reason = NULL", idle)
        async with resources() as r:
            async with as_orchestrator(r.pool) as conn:
                again = await provisioning.get_run(conn, run.id)
            assert again is not None
            await settle_failure(r, again, STEP, Unavailable("hostwinds", "get_instances", "silent"))
        pauses.append((product.run_of(customer)["resume_at"] - datetime.now(UTC)).total_seconds() / 60)
    assert [round(pause) for pause in pauses] == [1, 2, 5, 10]


async def test_no_secret_enters_the_row_or_the_state(product: Product) -> None:
    product.configure(HOSTWINDS__API_KEY="CANARY-api-key")
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r:
        state = await settle_failure(r, run, STEP, RuntimeError("sent API=CANARY1 with CANARY-api-key"))
    assert "CANARY" not in str(state.message)
    assert "CANARY" not in product.run_of(customer)["last_error_message"]


async def test_a_refusal_ends_the_run_and_waits_for_nobody(product: Product) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r:
        state = await park(r, run, STEP, Refused("the plan allows 1 domain"))
    row = product.run_of(customer)
    assert (state.name, state.type, row["status"]) == ("Rejected", "FAILED", "rejected")
    assert row["last_error_message"] == state.message == "the plan allows 1 domain"


async def test_waiting_again_does_not_move_the_deadline(product: Product) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r:
        await park(r, run, STEP, Waiting("dns", "an A record", timedelta(minutes=5)))
        first = product.run_of(customer)["deadline_at"]
        async with as_orchestrator(r.pool) as conn:
            await provisioning.start_run(conn, run.id, run.flow_run_id or uuid4())
        await park(r, run, STEP, Waiting("dns", "an A record", timedelta(minutes=5)))
    assert product.run_of(customer)["deadline_at"] == first
    assert first - datetime.now(UTC) > timedelta(days=13)


async def parked(run: Run, wait: Waiting) -> Run:
    """The run once more at work, and waiting again."""
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            again = await provisioning.start_run(conn, run.id, uuid4())
        assert again is not None
        await park(r, again, STEP, wait)
    return again


AN_A_RECORD = Waiting("dns", "an A record", timedelta(minutes=5))
A_PTR = Waiting("provider", "the PTR", timedelta(minutes=1))
A_PURCHASE = Waiting("operator", "buy it in the panel; it is seen by itself", timedelta(minutes=10))


@pytest.mark.parametrize("before", [AN_A_RECORD, A_PURCHASE], ids=["the tenant", "a person"])
async def test_what_was_waited_for_before_is_not_held_against_the_provider(product: Product, before: Waiting) -> None:
    customer = product.sign_up()
    run = await parked(await begun(product, customer), before)
    product.rows("UPDATE provisioning_steps SET started_at = now() - interval '2 days' WHERE run_id = %s", run.id)
    await parked(run, A_PTR)
    first = product.run_of(customer)["deadline_at"]
    assert first - datetime.now(UTC) > timedelta(hours=23)
    await parked(run, A_PTR)
    assert product.run_of(customer)["deadline_at"] == first


async def test_a_provider_that_comes_and_goes_does_not_put_off_the_tenants_deadline(product: Product) -> None:
    customer = product.sign_up()
    run = await parked(await begun(product, customer), AN_A_RECORD)
    end = product.run_of(customer)["deadline_at"]
    for wait in (A_PTR, AN_A_RECORD, A_PTR, AN_A_RECORD):
        run = await parked(run, wait)
    assert product.run_of(customer)["deadline_at"] == end


async def test_a_person_has_no_deadline(product: Product) -> None:
    customer = product.sign_up()
    await parked(await begun(product, customer), A_PURCHASE)
    row = product.run_of(customer)
    assert (row["deadline_at"], row["resume_at"] > datetime.now(UTC)) == (None, True)


async def test_success_clears_what_was_wrong(product: Product) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r:
        state = await succeed(r, run, "tenant is active")
    row = product.run_of(customer)
    assert (state.type, row["status"], row["last_error_message"]) == ("COMPLETED", "succeeded", None)


async def opened_by(product: Product, customer: Customer, run_id: UUID | None, key: str) -> tuple[str, str]:
    """What a process gets, and what a second one gets meanwhile: a run's status or the name of a final state."""
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            tenant = await tenants.get_tenant(conn, customer.uuid)
        assert tenant is not None
        wanted = {"tenant": tenant, "kind": "onboard", "run_id": run_id}
        async with (
            open_run(r, idempotency_key=key, **wanted) as run,
            open_run(r, idempotency_key="other", **wanted) as second,
        ):
            return shown(run), shown(second)


def shown(got: Run | State[None]) -> str:
    return got.status if isinstance(got, Run) else str(got.name)


async def test_one_process_has_a_run_and_a_second_gets_nothing(product: Product) -> None:
    customer = product.sign_up()
    assert await opened_by(product, customer, None, "k") == ("running", "Already running")
    assert product.run_of(customer)["starts"] == 1


async def test_a_run_of_another_tenant_is_not_opened(product: Product) -> None:
    acme, beta = product.sign_up("acme"), product.sign_up("beta")
    run = await begun(product, acme)
    assert (await opened_by(product, beta, run.id, "k"))[0] == "Rejected"
    assert product.run_of(acme)["starts"] == 1
    assert product.rows("SELECT 1 FROM provisioning_runs WHERE tenant_id = %s", beta.pk) == []


async def test_a_run_that_has_ended_is_not_begun_again(product: Product) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r:
        await succeed(r, run, "tenant is active")
    assert (await opened_by(product, customer, run.id, "k"))[0] == "Already ended"
    assert product.run_of(customer)["status"] == "succeeded"


async def test_a_cancelled_run_stops_at_the_next_step_and_says_what_stays(product: Product) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    async with resources() as r, as_orchestrator(r.pool) as conn:
        assert await provisioning.request_cancel(conn, product.run_of(customer)["id"])
    state = await product.onboard(customer)
    row = product.run_of(customer)
    assert (state.name, state.type, row["status"]) == ("Cancelled by request", "FAILED", "cancelled")
    assert "what was made stays" in row["last_error_message"]
    assert product.hostwinds.bought() == 1


async def test_tries_of_a_dead_process_are_closed_as_crashed_by_the_next(product: Product) -> None:
    customer = product.sign_up()
    run = await begun(product, customer)
    async with resources() as r, as_orchestrator(r.pool) as conn:
        (step,) = await provisioning_steps.list_steps(conn, run.id)
        await provisioning_steps.begin_attempt(conn, step_id=step.id, tenant_id=customer.pk, task_run_id=None)
    await opened_by(product, customer, run.id, "k")
    assert [row["outcome"] for row in product.attempts_of(customer, STEP)] == ["crashed"]
