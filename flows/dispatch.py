"""Start or resume a run by its id, on whichever worker is free. Harmless twice."""

import logging
from collections.abc import Mapping
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import arun_deployment

from flows.resources import Resources
from sql import retries, tenants
from sql.provisioning import Run
from sql.session import as_orchestrator

log = logging.getLogger(__name__)

DEPLOYMENT_OF_KIND = {"onboard": "onboard_tenant/on-signup"}


async def resume(r: Resources, run: Run) -> FlowRun:
    """Hand a run to a worker; the same start asked for twice is one flow run, unless that one died on its way."""
    flow_run = await _start_run(r, run)
    if flow_run.state is None or not flow_run.state.is_final():
        return flow_run
    async with as_orchestrator(r.pool) as conn:
        lost = await retries.count_lost_start(conn, run)
    return await _start_run(r, lost) if lost else flow_run


async def _start_run(r: Resources, run: Run) -> FlowRun:
    async with as_orchestrator(r.pool) as conn:
        tenant = await tenants.get_tenant_by_id(conn, run.tenant_id)
    if tenant is None:
        raise LookupError(f"run {run.id} belongs to no tenant")
    return await _start(
        DEPLOYMENT_OF_KIND[run.kind],
        {"tenant_id": str(tenant.tenant_id), "run_id": str(run.id)},
        idempotency_key=f"{run.id}:{run.starts}:{run.updated_at.timestamp()}",
    )


async def onboard(tenant_id: UUID, request_id: str) -> FlowRun:
    """What the back end does: ask for an onboarding with nothing but the tenant's id."""
    return await _start(
        DEPLOYMENT_OF_KIND["onboard"], {"tenant_id": str(tenant_id), "request_id": request_id},
        idempotency_key=request_id,
    )  # fmt: skip


async def runs_tagged(tag: str) -> list[FlowRun]:
    """Every flow run that bears a tag, the oldest first."""
    async with get_client() as client:
        return await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[tag])), sort=FlowRunSort.START_TIME_ASC
        )


async def begin(deployment: str, parameters: Mapping[str, int | str], *, key: str, tag: str) -> FlowRun:
    """Hand a flow that is no provisioning run to a worker; the same key twice is one flow run."""
    return await arun_deployment(
        deployment, parameters=dict(parameters), idempotency_key=key, timeout=0, as_subflow=False, tags=[tag]
    )


async def _start(deployment: str, parameters: dict[str, str], *, idempotency_key: str) -> FlowRun:
    tenant = parameters["tenant_id"]
    return await arun_deployment(
        deployment, parameters=parameters, idempotency_key=idempotency_key, timeout=0, as_subflow=False,
        tags=[f"tenant:{tenant}"],
    )  # fmt: skip
