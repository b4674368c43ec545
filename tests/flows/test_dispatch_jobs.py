"""Rows of the queue become runs, one each, and end with their reason as their runs end."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows import dispatch, serving
from flows.jobs.dispatch_jobs import FLOW_OF_QUEUE, dispatch_jobs, key_of, swept
from flows.resources import resources
from sql import jobs
from sql.jobs import Job, NewJob
from sql.session import as_orchestrator
from tests.support.flow_runs import runs_for
from tests.support.product import Customer, Product

OTHER = {"dns-verification": ("resume_waiting/on-event", "domain_id")}  # any deployment that no worker serves here


@pytest.fixture(scope="module")
async def deployed(prefect_api: str) -> None:
    for deployment in await serving.deployments():
        assert isinstance(deployment, RunnerDeployment)
        await deployment.apply()


async def put(queue: str, payload: dict[str, Any], **more: Any) -> UUID:
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        made = await jobs.put(conn, NewJob(queue, payload, **more))
    assert made is not None
    return made


async def sweep() -> str:
    state = await dispatch_jobs(return_state=True)
    assert state.is_completed(), state.message
    return str(state.message)


async def sweep_others() -> list[str]:
    async with resources() as r:
        return await swept(r, OTHER)


async def found(job_id: UUID) -> Job:
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        row = await jobs.inspect(conn, job_id)
    assert row is not None
    return row[0]


async def started_for(customer: Customer) -> list[dict[str, Any]]:
    return [run.parameters for run in await runs_for(customer.uuid)]


async def ends(run: Any, state: State[Any]) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(run.id, state, force=True)


async def test_a_provisioning_job_is_one_run_however_many_sweeps_look(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    job_id = await put("infra-provisioning", {"tenant_id": str(customer.uuid)}, tenant_id=customer.uuid)
    await asyncio.gather(sweep(), sweep(), sweep())
    await sweep()
    run = product.run_of(customer)
    assert run["idempotency_key"].startswith(f"job:{job_id}")
    assert run["requested_by"] == f"job:{job_id}"
    assert await started_for(customer) == [{"tenant_id": str(customer.uuid), "run_id": str(run["id"])}]
    assert (await found(job_id)).status == "running"


@pytest.mark.parametrize(
    ("ended", "left"),
    [("succeeded", "completed"), ("rejected", "failed"), ("failed", "failed"), ("cancelled", "failed")],
)
async def test_a_provisioning_job_ends_as_its_run_ends(product: Product, deployed: None, ended: str, left: str) -> None:
    customer = product.sign_up()
    job_id = await put("infra-provisioning", {"tenant_id": str(customer.uuid)})
    await sweep()
    product.rows("UPDATE provisioning_runs SET status = %s, last_error_message = 'no plan', finished_at = now()", ended)
    await sweep()
    job = await found(job_id)
    assert job.status == left
    if left == "failed":
        assert f"{ended}: no plan" in str(job.last_error_message)
    await sweep()
    assert len(product.rows("SELECT 1 FROM provisioning_runs")) == 1  # the dead stay


async def test_a_run_that_waits_keeps_its_job_alive_whatever_the_lease(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    job_id = await put("infra-provisioning", {"tenant_id": str(customer.uuid)})
    await sweep()
    await product.onboard(customer, run_id=product.run_of(customer)["id"])
    assert product.run_of(customer)["status"] == "waiting"
    product.rows("UPDATE jobs SET lease_expires_at = now() + interval '1 second'")
    await sweep()
    lease = product.rows("SELECT lease_expires_at > now() + interval '10 minutes' AS long FROM jobs")
    assert ((await found(job_id)).status, lease) == ("running", [{"long": True}])


async def test_a_job_whose_sweeps_died_is_taken_up_and_joins_its_own_run(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    job_id = await put("infra-provisioning", {"tenant_id": str(customer.uuid)})
    await sweep()
    product.rows("UPDATE jobs SET lease_expires_at = now() - interval '1 second'")
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        assert await jobs.reap(conn) == 1
    await sweep()
    job = await found(job_id)
    assert (job.status, job.attempt) == ("running", 2)
    assert len(product.rows("SELECT 1 FROM provisioning_runs")) == 1
    assert len(await started_for(customer)) == 1


async def test_a_job_waits_for_the_run_somebody_else_began_and_then_has_its_own(
    product: Product, deployed: None
) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    product.rows("UPDATE provisioning_runs SET status = 'pending', starts = 0, wait_reason = NULL, wait_detail = NULL,"
                 " resume_at = NULL, deadline_at = NULL")  # fmt: skip
    job_id = await put("infra-provisioning", {"tenant_id": str(customer.uuid)})
    await sweep()
    assert await started_for(customer) == []  # whoever began it is about to start it
    product.rows("UPDATE provisioning_runs SET status = 'succeeded', wait_reason = NULL, wait_detail = NULL,"
                 " resume_at = NULL, deadline_at = NULL")  # fmt: skip
    await sweep()
    keys = [row["idempotency_key"] for row in product.rows("SELECT idempotency_key FROM provisioning_runs")]
    assert sum(key.startswith(f"job:{job_id}") for key in keys) == 1


async def test_an_operators_retry_is_a_new_run(product: Product, deployed: None) -> None:
    customer = product.sign_up()
    job_id = await put("infra-provisioning", {"tenant_id": str(customer.uuid)})
    await sweep()
    product.rows("UPDATE provisioning_runs SET status = 'failed', last_error_message = 'x', finished_at = now()")
    await sweep()
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        assert await jobs.retry(conn, [job_id], "staff:a@b.example") == [job_id]
    await sweep()
    runs = product.rows("SELECT status FROM provisioning_runs ORDER BY created_at")
    assert [row["status"] for row in runs] == ["failed", "pending"]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ({}, "KeyError: 'tenant_id'"),
        ({"tenant_id": "acme"}, "badly formed"),
        ({"tenant_id": str(UUID(int=1))}, "no tenant"),
        ({"tenant_id": str(UUID(int=1)), "kind": "explode"}, "no flow does 'explode'"),
    ],
)
async def test_a_payload_that_means_nothing_is_dead_with_its_reason(
    product: Product, deployed: None, payload: dict[str, str], why: str
) -> None:
    job_id = await put("infra-provisioning", payload)
    healthy = product.sign_up()
    await put("infra-provisioning", {"tenant_id": str(healthy.uuid)})
    await sweep()
    job = await found(job_id)
    assert (job.status, why in str(job.last_error_message)) == ("failed", True), job.last_error_message
    assert len(await started_for(healthy)) == 1  # the others go on


async def test_a_job_of_one_tenant_that_names_another_does_nothing(product: Product, deployed: None) -> None:
    customer, other = product.sign_up("acme"), product.sign_up("other")
    job_id = await put("infra-provisioning", {"tenant_id": str(other.uuid)}, tenant_id=customer.uuid)
    await sweep()
    assert (await found(job_id)).status == "failed"
    assert product.rows("SELECT 1 FROM provisioning_runs") == []


@pytest.mark.parametrize(
    ("state", "left", "why"),
    [
        (Completed(), "completed", ""),
        (Failed(name="Rejected", message="no such domain"), "failed", "Rejected: no such domain"),
        (Cancelled(message="by hand"), "failed", "by hand"),
        (Crashed(message="no heartbeat"), "queued", "crashed: no heartbeat"),
    ],
)
async def test_another_job_is_one_flow_run_and_ends_as_it_ends(
    product: Product, deployed: None, state: State[Any], left: str, why: str
) -> None:
    job_id = await put("dns-verification", {"domain_id": 7})
    await asyncio.gather(sweep_others(), sweep_others())
    await sweep_others()
    (run,) = await dispatch.runs_tagged(key_of(await found(job_id)))
    assert run.parameters == {"domain_id": 7}
    await ends(run, state)
    await sweep_others()
    job = await found(job_id)
    assert (job.status, why in str(job.last_error_message)) == (left, True), job.last_error_message


async def test_what_the_queue_calls_for_is_deployed(deployed: None) -> None:
    declared = {(d.flow_name, d.name) for d in await serving.deployments()}
    for deployment, _ in FLOW_OF_QUEUE.values():
        assert tuple(deployment.split("/")) in declared


async def test_a_crashed_flow_run_has_one_successor_an_attempt_until_the_budget_ends(
    product: Product, deployed: None
) -> None:
    job_id = await put("dns-verification", {"domain_id": 7}, max_attempts=2)
    for number in (1, 2):
        product.rows("UPDATE jobs SET run_at = now() WHERE status = 'queued'")
        await sweep_others()
        await sweep_others()
        runs = await dispatch.runs_tagged(key_of(await found(job_id)))
        assert len(runs) == number
        await ends(next(run for run in runs if run.state and not run.state.is_final()), Crashed(message="gone"))
        await sweep_others()
    assert (await found(job_id)).status == "failed"


async def test_a_deployment_that_is_not_installed_leaves_the_job_for_later(product: Product, deployed: None) -> None:
    job_id = await put("dns-verification", {"domain_id": 7})
    async with resources() as r:
        await swept(r, {"dns-verification": (f"nowhere/{uuid4()}", "domain_id")})
    job = await found(job_id)
    assert (job.status, "python -m flows install" in str(job.last_error_message)) == ("queued", True)
