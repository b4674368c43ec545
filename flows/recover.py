"""Bring waiting runs back when their time has come, and dead ones when their process is gone.

Truth is in the tables: a due row is a wait to look at again; a running row whose lock is free lost its process. A wait
past its deadline ends: as failed where the tenant never published, else with an operator.
A run that keeps dying without finishing a step goes to an operator instead of round again.
"""

import logging
from uuid import UUID

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import nudges, states
from flows.acting import NotPermitted, who_may
from flows.dispatch import resume
from flows.late_servers import look_for_late_servers
from flows.policy.recovery import IDLE_STARTS_LIMIT, STARTS_LIMIT, worn_out
from flows.resources import resources
from sql import provisioning, retries
from sql.infrastructure_events import record_event
from sql.session import AlreadyExists, as_orchestrator

log = logging.getLogger(__name__)

CHUNK = 100


@task(name="resume_due_runs", cache_policy=NO_CACHE, persist_result=False)
async def resume_due_runs() -> list[str]:
    """One line per run that was started again, ended by its deadline or handed to an operator, and per late server."""
    lines: list[str] = []
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            ended = await provisioning.expire_waits(conn)
            due = await provisioning.claim_due_runs(conn, CHUNK)
            due += await provisioning.orphaned_runs(conn, CHUNK)
        for run in ended:
            lines.append(f"{run.id} {run.last_error_message if run.status == 'failed' else run.wait_detail}")
            nudges.run_rests(run)
        for run in due:
            if worn_out(run.starts, run.idle_starts):
                sentence = (
                    f"started {run.starts} times, {run.idle_starts} of them without finishing a step (limits"
                    f" {STARTS_LIMIT} and {IDLE_STARTS_LIMIT}): python -m flows status, then"
                    f" python -m flows retry {run.id}"
                )
                async with as_orchestrator(r.pool) as conn:
                    await provisioning.call_operator(conn, run.id, sentence)
                lines.append(f"{run.id} waiting_for_operator: {sentence}")
            else:
                await resume(r, run)
                lines.append(f"{run.id} resumed")
        return lines + await look_for_late_servers(r)


@flow(name="resume_waiting", retries=0)
async def resume_waiting() -> State[None]:
    """Every two minutes, and whenever a run of ours crashed."""
    lines = await resume_due_runs()
    for line in lines:
        log.info("%s", line)
    return states.succeeded(f"{len(lines)} runs: " + "; ".join(lines)[:500])


@flow(name="retry_failed_provisioning", flow_run_name="retry_failed_provisioning-{run_id}", retries=0)
async def retry_failed_provisioning(
    run_id: UUID, from_step: str | None = None, actor: str | None = None
) -> State[None]:
    """An operator's retry: counters go to zero, the steps from `from_step` on are looked at again, the run starts.

    `actor` is the e-mail address of the staff member who asks; an installation without staff needs none.
    """
    try:
        name = await who_may("run.retry", actor)
    except NotPermitted as refused:
        return states.rejected(str(refused))
    if from_step is not None and from_step not in states.ONBOARDING_STEPS:
        return states.rejected(f"no step {from_step!r}; the steps are: {', '.join(states.ONBOARDING_STEPS)}")
    async with resources() as r:
        try:
            async with as_orchestrator(r.pool) as conn:
                run = await retries.rearm_run(
                    conn, run_id, from_ordinal=None if from_step is None else states.ONBOARDING_STEPS.index(from_step)
                )
                if run is not None:
                    await record_event(
                        conn, tenant_id=run.tenant_id, subject_type="run", subject_id=run_id, event="run_retried",
                        actor=name, reason=from_step,
                    )  # fmt: skip
        except AlreadyExists:
            return states.rejected(f"another run took the place of {run_id}: nothing was done")
        if run is None:
            return states.rejected(f"no run {run_id} that may be retried")
        started = await resume(r, run)
    return states.succeeded(f"run {run_id} goes on as flow run {started.id}")
