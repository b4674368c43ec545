"""A run from the moment a process takes it to the row that says how it ended."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows import states
from flows.acting import requested_by
from flows.outcomes import Refused, Waiting
from flows.redact import redactor
from flows.resources import Resources, direct_dsn
from providers.errors import ProviderError, Unavailable, Unconfirmed
from sql import provisioning, provisioning_steps
from sql.provisioning import Run
from sql.session import Contended, as_orchestrator, run_lock
from sql.tenants import Tenant

log = logging.getLogger(__name__)

COMMAND = "python -m flows"
PROVIDER_LOOKS_MINUTES = (1, 2, 5, 10)  # pauses between looks at a provider that does not answer


@asynccontextmanager
async def open_run(
    r: Resources, *, tenant: Tenant, kind: str, run_id: UUID | None, idempotency_key: str
) -> AsyncGenerator[Run | State[None]]:
    """Take the tenant's run of this kind for this process; a final state when there is nothing for it to do."""
    run = await _named_run(r, tenant, kind, run_id) if run_id else await _live_run(r, tenant, kind, idempotency_key)
    if isinstance(run, State):
        yield run
        return
    async with run_lock(await direct_dsn(), run.id) as mine:
        if not mine:
            yield states.already_running(f"run {run.id}: another process is at work on it")
            return
        async with as_orchestrator(r.pool) as conn:
            await provisioning_steps.close_crashed_attempts(conn, run.id)
            started = await provisioning.start_run(conn, run.id, _flow_run_id())
        yield started or states.already_ended(f"run {run.id} has ended ({run.status}): nothing was done")


async def _named_run(r: Resources, tenant: Tenant, kind: str, run_id: UUID) -> Run | State[None]:
    async with as_orchestrator(r.pool) as conn:
        found = await provisioning.get_run(conn, run_id)
    if found is None or (found.tenant_id, found.kind) != (tenant.id, kind):
        return states.rejected(f"tenant {tenant.tenant_id} has no {kind} run {run_id}: nothing was done")
    return found


async def _live_run(r: Resources, tenant: Tenant, kind: str, idempotency_key: str) -> Run:
    async with as_orchestrator(r.pool) as conn:
        return await provisioning.open_or_join_run(
            conn, tenant_id=tenant.id, kind=kind, target="", idempotency_key=idempotency_key,
            requested_by=requested_by(f"flow:{flow_run.id}" if flow_run.id else "process"), input={},
        )  # fmt: skip


async def is_cancelled(r: Resources, run: Run) -> bool:
    """Whether an operator asked the run to stop; looked at between two steps."""
    async with as_orchestrator(r.pool) as conn:
        now = await provisioning.get_run(conn, run.id)
    return now is not None and now.cancel_requested_at is not None


async def cancel(r: Resources, run: Run, step_key: str) -> State[None]:
    """End a run on request. What it made stays: giving it back is another decision."""
    sentence = f"stopped before {step_key}, as an operator asked; what was made stays"
    async with as_orchestrator(r.pool) as conn:
        await provisioning.finish_run(conn, run.id, run.flow_run_id, status="cancelled", message=sentence)
    return states.cancelled(sentence)


def _flow_run_id() -> UUID:
    return UUID(str(flow_run.id)) if flow_run.id else uuid4()


async def park(r: Resources, run: Run, step_key: str, outcome: Waiting | Refused) -> State[None]:
    """End this process with the run waiting, or refused."""
    if isinstance(outcome, Refused):
        async with as_orchestrator(r.pool) as conn:
            await provisioning.finish_run(conn, run.id, run.flow_run_id, status="rejected", message=outcome.sentence)
        return states.rejected(outcome.sentence)
    detail = with_end(run, outcome)
    async with as_orchestrator(r.pool) as conn:
        steps = {row.step_key: row for row in await provisioning_steps.list_steps(conn, run.id)}
        now = datetime.now(UTC)
        await provisioning.wait_run(
            conn, run.id, run.flow_run_id, reason=outcome.reason, detail=detail,
            resume_at=now + outcome.look_again_in * r.settings.waits.pace if outcome.look_again_in else None,
            deadline_at=_deadline(r, outcome, steps[step_key].started_at or now, now),
        )  # fmt: skip
    log.info("run=%s waiting_for=%s detail=%s", run.id, outcome.reason, detail)
    return states.waiting_for(outcome.reason, detail)


def with_end(run: Run, wait: Waiting) -> str:
    """What is told of a wait: one that nothing but a person ends closes with the line that ends it."""
    if wait.reason != "operator" or wait.look_again_in or COMMAND in wait.detail:
        return wait.detail
    return f"{wait.detail}; mend it, then: {COMMAND} retry {run.id}"


def _deadline(r: Resources, wait: Waiting, began: datetime, now: datetime) -> datetime | None:
    """When patience ends; a person has none. `began`: the step's first start.

    A tenant has its days from there, whatever else is waited for in between. The provider has its hours from the first
    wait for it: what was waited for before is not held against it (`wait_run` keeps the earlier end).
    """
    waits = r.settings.waits
    if wait.look_again_in is None or wait.reason == "operator":
        return None
    if wait.reason == "dns":
        return began + timedelta(days=waits.dns_days)
    return now + timedelta(hours=waits.provider_hours)


async def settle_failure(r: Resources, run: Run, step_key: str, error: Exception) -> State[None]:
    """Turn an error that a step could not mend into the row an operator or a sweep acts on."""
    waiting = waiting_after(run, step_key, error)
    if waiting is not None:
        return await park(r, run, step_key, waiting)
    sentence = redactor.clean(f"{step_key}: {type(error).__name__}: {error}")
    log.error("run=%s step=%s failed", run.id, step_key, exc_info=error)
    async with as_orchestrator(r.pool) as conn:
        await provisioning.finish_run(conn, run.id, run.flow_run_id, status="failed", message=sentence[:2000])
    return states.failed(f"{sentence}; python -m flows retry {run.id}")


def waiting_after(run: Run, step_key: str, error: Exception) -> Waiting | None:
    """What an error means for the run: come back later, or call a person. None: a mistake of ours."""
    pause = timedelta(minutes=PROVIDER_LOOKS_MINUTES[min(run.idle_starts, len(PROVIDER_LOOKS_MINUTES)) - 1])
    if isinstance(error, (Unavailable, Unconfirmed)):
        if error.retry_after_seconds:
            pause = max(pause, timedelta(seconds=error.retry_after_seconds))
        return Waiting("provider", f"{step_key}: {error}", pause)
    if isinstance(error, Contended):
        return Waiting("provider", f"{step_key}: the database was busy: {error}", pause)
    if isinstance(error, ProviderError):
        return Waiting("operator", f"{step_key}: {error}")
    return None


async def succeed(r: Resources, run: Run, sentence: str) -> State[None]:
    """Every step is true."""
    async with as_orchestrator(r.pool) as conn:
        await provisioning.finish_run(conn, run.id, run.flow_run_id, status="succeeded", message=sentence)
    return states.succeeded(sentence)


def actor(run: Run) -> str:
    """Who acts, as it stands in claims and events."""
    return f"run:{run.id}"
