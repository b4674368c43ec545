"""@step: a Prefect task that repeats only what is worth repeating, and leaves its trace in our tables."""

import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Literal
from uuid import UUID

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.tasks import Task

from flows.outcomes import Done, Outcome, Refused, Waiting
from flows.redact import redactor
from flows.resources import Resources, resources
from flows.states import ONBOARDING_STEPS
from providers.errors import ProviderError, Unavailable, Unconfirmed
from sql import provisioning, provisioning_steps
from sql.provisioning import Run
from sql.provisioning_steps import Step
from sql.session import Contended, as_orchestrator

log = logging.getLogger(__name__)

Body = Callable[[Resources, Run], Coroutine[Any, Any, Outcome]]
RETRY_DELAYS_SECONDS = [2.0, 8.0, 30.0]  # together below a minute; longer is a wait, and a wait is a row


async def is_temporary(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Worth repeating: nothing happened, or a transaction lost a race. Must be async, else Prefect never retries."""
    del task, task_run
    failure = await state.aresult(raise_on_failure=False)  # pyright: ignore[reportUnknownMemberType]  overloads of Prefect
    return isinstance(failure, (Unavailable, Contended))


Ensure = Task[[UUID], Coroutine[Any, Any, Outcome]]


def step(*, name: str, retries: int = 3) -> Callable[[Body], Ensure]:
    """Make a step of a run. `name` is its key in provisioning_steps; one that spends money takes retries=0."""

    def make(body: Body) -> Ensure:
        async def ensured(run_id: UUID) -> Outcome:
            async with resources() as r:
                return await _recorded(r, run_id, name, body)

        ensured.__name__, ensured.__doc__, ensured.__module__ = body.__name__, body.__doc__, body.__module__
        return Task(
            ensured,
            name=name,
            retries=retries,
            retry_delay_seconds=RETRY_DELAYS_SECONDS[:retries] or None,
            retry_jitter_factor=0.3,
            retry_condition_fn=is_temporary,
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    return make


async def _recorded(r: Resources, run_id: UUID, name: str, body: Body) -> Outcome:
    """Run a step once, unless this run has it behind it, between two rows that say so."""
    async with as_orchestrator(r.pool) as conn:
        run = await provisioning.get_run(conn, run_id)
        if run is None:
            raise LookupError(f"no provisioning run {run_id}")
        behind = {row.step_key: row for row in await provisioning_steps.list_steps(conn, run_id)}.get(name)
        if behind is not None and behind.status == "succeeded":
            return Done(behind.output)
        row = await provisioning_steps.intend_step(
            conn, run_id=run_id, tenant_id=run.tenant_id, step_key=name, ordinal=ONBOARDING_STEPS.index(name), intent={}
        )
        number = await provisioning_steps.begin_attempt(
            conn, step_id=row.id, tenant_id=run.tenant_id, task_run_id=_task_run_id()
        )
    began = monotonic()
    try:
        outcome = await body(r, run)
    except Exception as error:
        await _note_failure(r, run, row, number, error)
        log.warning("step=%s run=%s error=%s ms=%d", name, run_id, type(error).__name__, (monotonic() - began) * 1000)
        raise
    await _note_outcome(r, run, row, number, outcome)
    word = type(outcome).__name__.lower()
    log.info("step=%s run=%s outcome=%s ms=%d", name, run_id, word, (monotonic() - began) * 1000)
    return outcome


def _task_run_id() -> UUID | None:
    context = TaskRunContext.get()
    return context.task_run.id if context else None


async def _note_outcome(r: Resources, run: Run, row: Step, number: int, outcome: Outcome) -> None:
    status, message = _words(outcome)
    async with as_orchestrator(r.pool) as conn:
        output = dict(outcome.output) if isinstance(outcome, Done) else {}
        await provisioning_steps.finish_step(conn, row.id, status=status, output=output, flow_run_id=run.flow_run_id)
        await provisioning_steps.end_attempt(
            conn, row.id, number, outcome=status, error_type=None, error_message=message
        )


def _words(outcome: Outcome) -> tuple[Literal["succeeded", "waiting", "failed"], str | None]:
    match outcome:
        case Done():
            return "succeeded", None
        case Waiting():
            return "waiting", outcome.detail
        case Refused():
            return "failed", outcome.sentence


async def _note_failure(r: Resources, run: Run, row: Step, number: int, error: Exception) -> None:
    status: Literal["unconfirmed", "failed"] = "unconfirmed" if isinstance(error, Unconfirmed) else "failed"
    message = str(error) if isinstance(error, (ProviderError, Contended)) else f"{type(error).__name__}: {error}"
    async with as_orchestrator(r.pool) as conn:
        await provisioning_steps.finish_step(conn, row.id, status=status, flow_run_id=run.flow_run_id)
        await provisioning_steps.end_attempt(
            conn, row.id, number, outcome=status, error_type=type(error).__name__,
            error_message=redactor.clean(message)[:2000],
        )  # fmt: skip
