"""What a worker does for each queue. A payload holds ids; whatever it lacks is the job's end, with the reason."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from flows.jobs.worker import Handler, Pace, Worker
from flows.resources import Resources, analytics_dsn, listen_dsn
from flows.rolling_up import rolled_up
from sql.jobs import Job
from sql.session import open_pool

CONNECTIONS = 4  # claims, answers, beats and reaping; handlers have the pool of their resources


def handlers_of(r: Resources) -> Mapping[str, Handler]:
    """Queue to handler. Queues whose rows mean a flow are the dispatcher's (flows/jobs/dispatch_jobs.py)."""

    async def analytics(_: Job) -> None:
        await rolled_up(r)

    return {"analytics": analytics}


@asynccontextmanager
async def worker_of(r: Resources, chosen: Sequence[str] | None = None) -> AsyncGenerator[Worker]:
    """A worker of this installation, for all queues we have handlers for or those chosen; ValueError for another."""
    handlers = handlers_of(r)
    if unknown := [name for name in chosen or [] if name not in handlers]:
        raise ValueError(f"no handler for {', '.join(unknown)}: there are {', '.join(handlers)}")
    group = r.settings.jobs
    pace = Pace(
        slots=group.slots,
        lease_seconds=group.lease_seconds,
        poll_seconds=group.poll_seconds,
        stop_seconds=group.stop_seconds,
    )
    async with await open_pool(await analytics_dsn(), part="jobs", max_size=CONNECTIONS, checked=False) as pool:
        wanted = {name: handlers[name] for name in chosen or handlers}
        yield Worker(pool=pool, listen_dsn=await listen_dsn(), handlers=wanted, pace=pace)
