"""Rows of the queue that mean a flow: each becomes one run, and ends as its run ends.

A sweep claims what is due and keeps it under a lease that the next sweeps lengthen, for as long as the run lives: days,
when it waits for a tenant's DNS. A provisioning job is a row of `provisioning_runs` under the job's own key before
anything is started, so however often it is dispatched there is one run. Any other is a flow run that bears the job's
tag: a live one is adopted, never doubled. An operator's `jobs retry` is a new round, and makes a new run.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound

from flows import dispatch, states
from flows.outcomes import JobEnded
from flows.resources import Resources, resources
from sql import jobs, provisioning, tenants
from sql.jobs import Job
from sql.provisioning import Run
from sql.session import as_orchestrator

log = logging.getLogger(__name__)

CHUNK = 100
DISPATCHER = "dispatch_jobs"  # one name for all sweeps: whichever comes next goes on with the same jobs
LEASE = timedelta(minutes=15)  # many sweeps; a job that none has looked at for so long is looked at as if it were new
PROVISIONING = "infra-provisioning"
FlowOfQueue = Mapping[str, tuple[str, str]]
FLOW_OF_QUEUE: FlowOfQueue = {"dns-verification": ("verify_domain/on-demand", "domain_id")}
"""Queue to the deployment it means, and the one id of its payload that is the flow's parameter."""
ENDED = frozenset({"succeeded", "rejected", "failed", "cancelled"})


async def swept(r: Resources, flow_of: FlowOfQueue = FLOW_OF_QUEUE) -> list[str]:
    """Look at every job that is under way, and at those newly due; a line for each that was begun or has ended."""
    lines: list[str] = []
    async with as_orchestrator(r.analytics) as conn:
        await jobs.claim(conn, queues=[PROVISIONING, *flow_of], worker=DISPATCHER, limit=CHUNK, lease=LEASE)
        held = await jobs.held_by(conn, DISPATCHER)
        await jobs.heartbeat(conn, DISPATCHER, held, LEASE)
    for job in held:
        ended = await looked_at(r, job, flow_of)
        if ended is not None:
            lines.append(f"job {job.id} {await settled(r, job, ended)}")
    return lines


async def looked_at(r: Resources, job: Job, flow_of: FlowOfQueue) -> JobEnded | None:
    """Begin or follow one job's run; None while it lives. A mistake in one job is that job's end, not the sweep's."""
    try:
        if job.queue == PROVISIONING:
            return await provisioning_job(r, job)
        return await flow_job(job, *flow_of[job.queue])
    except ObjectNotFound:
        return JobEnded("the deployment it means is not there: python -m flows install", again=True)
    except (KeyError, ValueError) as error:
        return JobEnded(f"the payload is not to be understood: {type(error).__name__}: {error}")


async def settled(r: Resources, job: Job, ended: JobEnded) -> str:
    """Write the end down; the word for it. A job that was cancelled meanwhile stays so."""
    async with as_orchestrator(r.analytics) as conn:
        if ended.reason is None:
            return "done" if await jobs.finish(conn, DISPATCHER, [job]) else "was no longer ours"
        status = await jobs.fail(conn, DISPATCHER, job, ended.reason, retryable=ended.again)
    log.warning("job=%s queue=%s %s: %s", job.id, job.queue, status, ended.reason)
    return f"{status or 'was no longer ours'}: {ended.reason}"


async def provisioning_job(r: Resources, job: Job) -> JobEnded | None:
    """`{"tenant_id": uuid}`: an onboarding. Its run is noted first; a run of somebody else's is waited for."""
    tenant_uuid = UUID(str(job.payload["tenant_id"]))
    kind = str(job.payload.get("kind", "onboard"))
    if kind not in dispatch.DEPLOYMENT_OF_KIND:
        return JobEnded(f"no flow does {kind!r}: {', '.join(dispatch.DEPLOYMENT_OF_KIND)}")
    if job.tenant_id not in {None, tenant_uuid}:
        return JobEnded("the job's tenant is not its payload's: nothing was done")
    key = key_of(job)
    async with as_orchestrator(r.pool) as conn:
        tenant = await tenants.get_tenant(conn, tenant_uuid)
        if tenant is None:
            return JobEnded(f"no tenant {tenant_uuid}")
        run = await provisioning.open_or_join_run(
            conn, tenant_id=tenant.id, kind=kind, target="", idempotency_key=key, requested_by=f"job:{job.id}", input={}
        )
    if run.idempotency_key != key:
        return None  # joined: ours comes when that one has ended, and finds everything done
    if run.status == "pending" and run.starts == 0:
        await dispatch.resume(r, run)
    return end_of_run(run)


def end_of_run(run: Run) -> JobEnded | None:
    """What a provisioning run says of its job. Waiting is alive; its failure is an operator's, who has its retry."""
    if run.status not in ENDED:
        return None
    return JobEnded() if run.status == "succeeded" else JobEnded(f"run {run.id} {run.status}: {run.last_error_message}")


def key_of(job: Job) -> str:
    """The key of this round: an operator's retry moves the limit of attempts, and nothing else of ours does."""
    return f"job:{job.id}:{job.max_attempts}"


async def flow_job(job: Job, deployment: str, parameter: str) -> JobEnded | None:
    """A flow run with the job's tag: adopted while it lives, judged when it has ended, begun where there is none."""
    value = int(job.payload[parameter])
    round_key = key_of(job)
    runs = await dispatch.runs_tagged(round_key)
    latest = runs[-1].state if runs else None
    if latest is not None and not latest.is_final():
        return None
    if latest is not None and latest.is_completed():
        return JobEnded()
    if latest is not None and not latest.is_crashed():
        return JobEnded(f"{deployment} {latest.name}: {latest.message}")
    if latest is not None and len(runs) >= job.attempt:
        return JobEnded(f"{deployment} crashed: {latest.message}", again=True)
    await dispatch.begin(deployment, {parameter: value}, key=f"{round_key}#{len(runs)}", tag=round_key)
    return None


@task(name="dispatch_due_jobs", cache_policy=NO_CACHE, persist_result=False)
async def dispatch_due_jobs() -> list[str]:
    """One line per job that ended."""
    async with resources() as r:
        return await swept(r)


@flow(name="dispatch_jobs", retries=0)
async def dispatch_jobs() -> State[None]:
    """Every minute. The dead stay with their reason: python -m flows jobs list --status failed."""
    lines = await dispatch_due_jobs()
    return states.succeeded("; ".join(lines)[:900] or "no job ended")
