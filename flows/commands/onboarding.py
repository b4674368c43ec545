"""onboard, retry, cancel: start a tenant's onboarding, press again, stop it."""

import asyncio
import os
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

import typer
from prefect.client.schemas.objects import State

from flows import dispatch
from flows.acting import actor
from flows.commands.loading import loading
from flows.commands.permission import changes
from flows.commands.server import ensure_server
from flows.commands.status import MARKS, AsJson, TenantWord, described, known_tenant, seconds
from flows.commands.terminal import Exit, out, run, say_json, stop
from flows.resources import Resources, resources
from flows.states import ALREADY_ENDED, ALREADY_RUNNING, ONBOARDING_STEPS, REJECTED
from sql import infrastructure_events, provisioning, provisioning_steps, retries, tenants
from sql.provisioning import Run
from sql.provisioning_steps import Step
from sql.session import AlreadyExists, Connection, as_orchestrator
from sql.tenants import Tenant

CODES = {
    "succeeded": Exit.OK, "rejected": Exit.REJECTED, "failed": Exit.FAILED, "cancelled": Exit.FAILED,
    "running": Exit.ALREADY_RUNNING, "pending": Exit.WAITING,
}  # fmt: skip

PROGRESS_SECONDS = 0.25


@changes("tenant.onboard")
def onboard(
    tenant: TenantWord,
    via_worker: Annotated[bool, typer.Option(help="hand it to a worker and return at once")] = False,
    request_id: Annotated[str | None, typer.Option(help="the same id twice is one order")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a tenant everything that was bought. Safe to repeat: a finished tenant is only looked at."""
    run(_onboard(tenant, via_worker=via_worker, request_id=request_id, as_json=as_json))


async def _onboard(word: str, *, via_worker: bool, request_id: str | None, as_json: bool) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        await ensure_server()
        if via_worker:
            started = await dispatch.onboard(tenant.tenant_id, request_id or f"cli:{os.urandom(8).hex()}")
            out.print(f"flow run {started.id} asks a worker to onboard {tenant.name}", markup=False)
            return
        await follow(r, tenant, request_id=request_id, run_id=None, as_json=as_json)


async def follow(r: Resources, tenant: Tenant, *, request_id: str | None, run_id: UUID | None, as_json: bool) -> None:
    """Run the journey in this process and show its steps as they end."""
    with loading():
        from flows.onboard import onboard_tenant  # noqa: PLC0415  the journey takes a second to import

    shown: set[str] = set()
    watcher = asyncio.create_task(show_progress(r, tenant, shown)) if not as_json else None
    state = await ended_state(onboard_tenant, tenant.tenant_id, run_id, request_id)
    if watcher:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    async with as_orchestrator(r.pool) as conn:
        runs = await provisioning.list_runs(conn, tenant.id)
    latest = runs[0] if runs else None
    if as_json and latest:
        say_json(await described(r, latest))
    if not as_json:
        await show_steps(r, latest, shown)
        out.print(f"{state.name}: {state.message}", markup=False)
    raise typer.Exit(exit_code(latest, str(state.name)))


async def ended_state(journey: Any, tenant_id: UUID, run_id: UUID | None, request_id: str | None) -> State[Any]:
    """How a journey ended; `return_state` is Prefect's own parameter, which its types lose for coroutines."""
    return await journey(tenant_id, run_id=run_id, request_id=request_id, return_state=True)


def exit_code(latest: Run | None, state_name: str) -> Exit:
    """What the shell is told."""
    by_name = {REJECTED: Exit.REJECTED, ALREADY_RUNNING: Exit.ALREADY_RUNNING, ALREADY_ENDED: Exit.REJECTED}
    if state_name in by_name or latest is None:
        return by_name.get(state_name, Exit.FAILED)
    if latest.status == "waiting":
        return Exit.WAITING_FOR_OPERATOR if latest.wait_reason == "operator" else Exit.WAITING
    return CODES[latest.status]


async def show_progress(r: Resources, tenant: Tenant, shown: set[str]) -> None:
    """One line per step as it ends, for as long as nobody cancels this."""
    while True:
        async with as_orchestrator(r.pool) as conn:
            runs = await provisioning.list_runs(conn, tenant.id)
        if runs and runs[0].status == "running":
            await show_steps(r, runs[0], shown)
        await asyncio.sleep(PROGRESS_SECONDS)


async def show_steps(r: Resources, live: Run | None, shown: set[str]) -> None:
    """The steps of a run that ended since the last look."""
    if live is None:
        return
    async with as_orchestrator(r.pool) as conn:
        steps = await provisioning_steps.list_steps(conn, live.id)
    for row in steps:
        mark = f"{live.id} {row.step_key} {row.status} {row.finished_at}"
        if row.status not in {"pending", "running"} and mark not in shown:
            shown.add(mark)
            out.print(f"  {MARKS[row.status]} {row.step_key:<20} {seconds(row):>7}", markup=False)


@changes("run.retry")
def retry(
    run_id: Annotated[UUID, typer.Argument(metavar="RUN", help="provisioning_runs.id, as status shows it")],
    from_step: Annotated[str | None, typer.Option("--from", help="look again at this step and all after it")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done and what it may cost")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    via_worker: Annotated[bool, typer.Option(help="hand it to a worker and return at once")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a failed or waiting run again; it goes on where it stood, and nothing is bought twice."""
    run(_retry(run_id, from_step=from_step, dry_run=dry_run, yes=yes, via_worker=via_worker, as_json=as_json))


async def _retry(
    run_id: UUID, *, from_step: str | None, dry_run: bool, yes: bool, via_worker: bool, as_json: bool
) -> None:
    if from_step is not None and from_step not in ONBOARDING_STEPS:
        stop(Exit.USAGE, f"no step {from_step!r}; the steps are: {', '.join(ONBOARDING_STEPS)}")
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            found = await provisioning.get_run(conn, run_id)
            steps = await provisioning_steps.list_steps(conn, run_id) if found else []
            tenant = await tenants.get_tenant_by_id(conn, found.tenant_id) if found else None
        if found is None or tenant is None:
            stop(Exit.REJECTED, f"no run {run_id}; python -m flows status lists the open ones")
        for line in retry_plan(steps, from_step, r):
            out.print(line, markup=False)
        if dry_run:
            return
        if not yes and out.is_terminal and not typer.confirm("go on?"):
            stop(Exit.FAILED, "nothing was done")
        await ensure_server()
        ordinal = ONBOARDING_STEPS.index(from_step) if from_step else None
        try:
            async with as_orchestrator(r.pool) as conn:
                rearmed = await retries.rearm_run(conn, run_id, from_ordinal=ordinal)
                if rearmed is not None:
                    await told(conn, rearmed, "run_retried", from_step)
        except AlreadyExists:
            stop(Exit.REJECTED, f"another run took its place: python -m flows status {tenant.tenant_id} names it")
        if rearmed is None:
            stop(
                Exit.REJECTED, f"run {run_id} is {found.status}: python -m flows onboard {tenant.tenant_id} begins anew"
            )
        if via_worker:
            started = await dispatch.resume(r, rearmed)
            out.print(f"flow run {started.id} goes on with it", markup=False)
            return
        await follow(r, tenant, request_id=None, run_id=run_id, as_json=as_json)


def retry_plan(steps: list[Step], from_step: str | None, r: Resources) -> list[str]:
    """What a retry keeps, what it looks at again, and what that may cost."""
    by_key = {row.step_key: row for row in steps}
    first = ONBOARDING_STEPS.index(from_step) if from_step else len(ONBOARDING_STEPS)
    keeps = [
        key
        for place, key in enumerate(ONBOARDING_STEPS)
        if place < first and key in by_key and by_key[key].status == "succeeded"
    ]
    looks = [key for key in ONBOARDING_STEPS if key not in keeps]
    ordered = "order_server" in by_key and by_key["order_server"].status == "succeeded"
    cost = (
        "costs nothing: the server is bought"
        if ordered
        else f"may buy one server ({r.terms.monthly_cost} USD a month) if none carries its token"
    )
    return [f"keeps: {', '.join(keeps) or 'nothing'}", f"looks at: {', '.join(looks)}", cost]


@changes("run.cancel")
def cancel(run_id: Annotated[UUID, typer.Argument(metavar="RUN", help="as status shows it")]) -> None:
    """Ask a run to stop before its next step. What it made stays, and stays paid."""
    run(_cancel(run_id))


async def _cancel(run_id: UUID) -> None:
    async with resources() as r, as_orchestrator(r.pool) as conn:
        came_to = await provisioning.request_cancel(conn, run_id)
        if came_to and (asked_of := await provisioning.get_run(conn, run_id)):
            await told(conn, asked_of, "run_cancel_requested")
    if not came_to:
        stop(Exit.REJECTED, f"no live run {run_id}; python -m flows status lists them")
    later = "it stops before its next step; a waiting run stops when it comes back"
    out.print("it is cancelled; what it made stays" if came_to == "ended" else later, markup=False)


async def told(conn: Connection, of: Run, event: str, reason: str | None = None) -> None:
    """One line of the trail: who asked for it."""
    await infrastructure_events.record_event(
        conn, tenant_id=of.tenant_id, subject_type="run", subject_id=of.id, event=event, actor=actor(), reason=reason
    )
