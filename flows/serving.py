"""Single-machine mode: a Prefect server when none answers, our deployments, and the process that runs them."""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.types._datetime import DateTime

from flows import automations
from flows.jobs.handlers import worker_of
from flows.resources import analytics_dsn, core_dsn, direct_dsn, listen_dsn, resources, settings
from sql import capabilities, migrate

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
HEALTHY_SECONDS = 90
LATE = timedelta(minutes=5)
STOP_SECONDS = 20
SWEEP = "flows.recover:resume_waiting"


async def serve_all(host: str, port: int) -> None:
    """Until interrupted: server, schema, deployments, runner."""
    with TemporaryDirectory(prefix="penguin-runner-") as own:
        async with prefect_server(host, port):
            await migrated()
            await drop_late_runs()
            runner = runner_in(own)
            for deployment in await deployments():
                await runner.aadd_deployment(deployment)
            for line in await automations.install():
                print(line, flush=True)  # noqa: T201  the terminal is this command's output
            print(f"serving at http://{host}:{port}; Ctrl-C stops everything", flush=True)  # noqa: T201  likewise
            async with working():
                await run_until_stopped(runner)


def runner_in(own: str) -> Runner:
    """A runner that keeps its files in `own`: Prefect's folder has one name for all users of a machine."""
    before, tempfile.tempdir = tempfile.tempdir, own
    try:
        return Runner(name="penguin", pause_on_shutdown=False)
    finally:
        tempfile.tempdir = before


@asynccontextmanager
async def working() -> AsyncGenerator[None]:
    """The worker of the job queue beside the runner; it ends with nothing in hand."""
    async with resources() as r, worker_of(r) as worker:
        task = asyncio.create_task(worker.work())
        try:
            yield
        finally:
            worker.stop()
            for broken in await asyncio.gather(task, return_exceptions=True):
                if broken is not None:  # e.g. a database that nobody has migrated: the runner goes on without jobs
                    log.error("the worker of the job queue broke", exc_info=broken)


async def migrated() -> None:
    """A database of our own is brought up to date by ourselves. Raises ValueError for one that keeps nobody apart."""
    if settings().database.core_dsn is None:
        await migrate.up(await core_dsn(), "core")
        await migrate.up(await analytics_dsn(), "analytics")
    for dsn in (await direct_dsn(), await listen_dsn()):
        if unsafe := (await capabilities.probe(dsn)).unsafe:
            raise ValueError(f"the database is not safe to work on: {unsafe[0]}; see: python -m flows migrate doctor")


async def deployments() -> list[RunnerDeployment]:
    """What prefect.yaml declares, for a process that serves it."""
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return [await deployment_of(entry) for entry in declared]


async def deployment_of(entry: dict[str, Any]) -> RunnerDeployment:
    """One deployment; the entrypoint is module:object."""
    module, _, name = entry["entrypoint"].partition(":")
    served: Flow[Any, Any] = getattr(import_module(module), name)
    schedules: list[dict[str, Any]] = entry.get("schedules") or [{}]
    schedule: dict[str, Any] = schedules[0]
    if "interval" in schedule:
        schedule = schedule | {"interval": pause_of(entry["entrypoint"], schedule["interval"])}
    return await served.ato_deployment(
        entry["name"],
        description=entry.get("description"),
        tags=entry.get("tags"),
        interval=schedule.get("interval"),
        cron=schedule.get("cron"),
        enforce_parameter_schema=entry.get("enforce_parameter_schema", True),
    )


def pause_of(entrypoint: str, declared: float) -> float:
    """Seconds between two runs: the sweep for waits has its own, the others go as declared or more slowly."""
    waits = settings().waits
    return waits.sweep_seconds if entrypoint == SWEEP else declared * waits.schedules_slower


async def run_until_stopped(runner: Runner) -> None:
    """Run what is due until the first signal; then let running flows go and end."""
    loop = asyncio.get_running_loop()
    working = asyncio.create_task(runner.start())
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, working.cancel)
    try:
        await working
    except asyncio.CancelledError:
        print("stopping", flush=True)  # noqa: T201  the terminal is this command's output


async def drop_late_runs() -> None:
    """Scheduled runs from before a pause are not caught up: due rows are what is caught up."""
    async with get_client() as client:
        late = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
                expected_start_time=FlowRunFilterExpectedStartTime(before_=DateTime.now(UTC) - LATE),
            )
        )
        for stale in late:
            if stale.auto_scheduled:
                await client.delete_flow_run(stale.id)


@asynccontextmanager
async def prefect_server(host: str, port: int) -> AsyncGenerator[None]:
    """A server for as long as this block lasts, unless one answers already."""
    if await answers():
        yield
        return
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port),
        env=dict(os.environ), start_new_session=True,  # our Ctrl-C reaches it through us, after the flows
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await healthy(server)
        yield
    finally:
        if server.returncode is None:
            server.terminate()
            try:
                await asyncio.wait_for(server.wait(), STOP_SECONDS)
            except TimeoutError:
                server.kill()
                await server.wait()


async def healthy(server: asyncio.subprocess.Process) -> None:
    """Wait until the server answers."""
    for _ in range(HEALTHY_SECONDS * 2):
        if server.returncode is not None:
            raise ValueError("the Prefect server ended at once: start it by hand to see why (prefect server start)")
        if await answers():
            return
        await asyncio.sleep(0.5)
    raise ValueError(f"the Prefect server did not answer within {HEALTHY_SECONDS} s")


async def answers() -> bool:
    """Whether a server answers at PREFECT_API_URL."""
    async with get_client() as client:
        return await client.api_healthcheck() is None
