"""jobs: the queue as operators see it, and the worker of this machine."""

import asyncio
import signal
from typing import Annotated, cast, get_args
from uuid import UUID

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.status import known_tenant
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.resources import resources
from sql import alerts, jobs
from sql.session import as_orchestrator

app = typer.Typer(no_args_is_help=True, help="The job queue: what waits, what died and why, and this machine's worker.")

Ids = Annotated[list[UUID], typer.Argument(metavar="JOB…", help="ids, as `jobs list` shows them")]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="as `jobs list` shows it")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]
WARN, CRITICAL, CRITICAL_FAILED = 100, 1000, 10  # due jobs; failed jobs


@app.command("list")
def list_jobs(
    queue: Annotated[str | None, typer.Option(help="of one queue")] = None,
    status: Annotated[str | None, typer.Option(help="queued, running, completed, failed or cancelled")] = None,
    tenant: Annotated[str | None, typer.Option(help="of one tenant")] = None,
    limit: Annotated[int, typer.Option(min=1, help="at most so many, the newest")] = 50,
    as_json: AsJson = False,
) -> None:
    """How the queues stand, and the newest jobs."""
    if status is not None and status not in get_args(jobs.JobStatus):
        stop(Exit.USAGE, f"no status {status!r}: it is one of {', '.join(get_args(jobs.JobStatus))}")
    run(_list(queue, cast("jobs.JobStatus | None", status), tenant, limit, as_json=as_json))


async def _list(
    queue: str | None, status: jobs.JobStatus | None, word: str | None, limit: int, *, as_json: bool
) -> None:
    async with resources() as r:
        tenant = (await known_tenant(r, word)).tenant_id if word else None
        async with as_orchestrator(r.analytics) as conn:
            depths = await jobs.depths(conn)
            found = await jobs.list_jobs(conn, queue=queue, status=status, tenant_id=tenant, limit=limit)
    if as_json:
        fields = ("queue", "is_active", "due", "delayed", "running", "expired", "failed", "oldest_seconds")
        say_json({
            "queues": [{**{name: getattr(one, name) for name in fields}, "health": health(one)} for one in depths],
            "jobs": [described(job) for job in found],
        })  # fmt: skip
        return
    show_table(
        "queues", ("queue", "health", "due", "delayed", "running", "failed", "oldest"),
        [(d.queue, health(d), d.due, d.delayed, d.running, d.failed, age(d.oldest_seconds)) for d in depths],
    )  # fmt: skip
    show_table(
        "jobs", ("id", "queue", "status", "attempt", "run at", "why"),
        [(j.id, j.queue, j.status, f"{j.attempt}/{j.max_attempts}", j.run_at.isoformat(timespec="seconds"),
          j.last_error_message or "-") for j in found],
    )  # fmt: skip


def health(depth: jobs.Depth) -> str:
    """One word for how a queue stands."""
    if not depth.is_active:
        return "paused"
    if depth.due > CRITICAL or depth.failed > CRITICAL_FAILED:
        return "critical"
    return "warn" if depth.due >= WARN or depth.failed else "fine"


def age(seconds: float | None) -> str:
    """How long the oldest due job has waited."""
    return "-" if seconds is None else f"{seconds:.0f} s"


def described(job: jobs.Job) -> dict[str, object]:
    """A job as JSON."""
    names = ("id", "queue", "status", "priority", "payload", "attempt", "max_attempts", "tenant_id", "dedupe_key",
             "worker_id", "run_at", "lease_expires_at", "last_error_message", "created_at")  # fmt: skip
    return {name: getattr(job, name) for name in names}


@app.command()
def inspect(job: Annotated[UUID, typer.Argument(metavar="JOB", help="its id")], as_json: AsJson = False) -> None:
    """One job, and every attempt at it."""
    run(_inspect(job, as_json=as_json))


async def _inspect(job_id: UUID, *, as_json: bool) -> None:
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        found = await jobs.inspect(conn, job_id)
    if found is None:
        stop(Exit.REJECTED, f"no job {job_id}: python -m flows jobs list")
    job, lines = found
    if as_json:
        say_json({**described(job), "log": [{"status": line.status, "attempt": line.attempt_number,
                                             "message": line.log_message, "at": line.finished_at or line.started_at}
                                            for line in lines]})  # fmt: skip
        return
    show_table("job", ("", ""), [(name, value) for name, value in described(job).items() if value is not None])
    show_table(
        "attempts", ("attempt", "status", "at", "message"),
        [(n.attempt_number, n.status, n.finished_at or n.started_at, n.log_message or "-") for n in lines],
    )  # fmt: skip


@app.command()
@changes("job.retry")
def retry(ids: Ids) -> None:
    """A new round of attempts for failed or cancelled jobs."""
    run(_each(ids, jobs.retry, "queued again"))


@app.command()
@changes("job.cancel")
def cancel(ids: Ids) -> None:
    """End queued and running jobs; a running one stops at its worker's next beat."""
    run(_each(ids, jobs.cancel, "cancelled"))


async def _each(ids: list[UUID], verb: "jobs.Verb", word: str) -> None:
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        moved = await verb(conn, ids, actor())
    for job_id in ids:
        out.print(f"{job_id}: {word if job_id in moved else 'left as it is'}", markup=False)
    if not moved:
        stop(Exit.REJECTED, f"nothing was {word}: python -m flows jobs list")


@app.command()
@changes("queue.pause")
def pause(queue: QueueName) -> None:
    """Claim nothing more from a queue until it is resumed, restarts or not. What runs goes on."""
    run(_open(queue, is_open=False))


@app.command()
@changes("queue.resume")
def resume(queue: QueueName) -> None:
    """Claim from a queue again."""
    run(_open(queue, is_open=True))


async def _open(queue: str, *, is_open: bool) -> None:
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        known = await (jobs.resume if is_open else jobs.pause)(conn, queue)
        if known and is_open:
            await alerts.resolve(conn, f"queue-paused:{queue}", actor())
        elif known:
            await alerts.raise_alert(
                conn, dedupe_key=f"queue-paused:{queue}", category="queue", title=f"queue {queue} is paused",
                message=f"by {actor()}; python -m flows jobs resume {queue} lets it go on", severity="info",
            )  # fmt: skip
    if not known:
        stop(Exit.REJECTED, f"no queue {queue!r}: python -m flows jobs list")
    out.print(f"{queue}: {'resumed' if is_open else 'paused'} by {actor()}", markup=False)


@app.command()
@changes("job.work")
def work(
    queues: Annotated[list[str] | None, typer.Option("--queue", help="only these; may be said again")] = None,
) -> None:
    """Work jobs until SIGTERM or Ctrl-C: what is in hand ends, what does not is given back."""
    run(_work(queues))


async def _work(chosen: list[str] | None) -> None:
    from flows.jobs.handlers import worker_of  # noqa: PLC0415  Prefect is slow to import

    async with resources() as r, worker_of(r, chosen) as worker:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, worker.stop)
        out.print(f"worker {worker.name}: {', '.join(worker.handlers)}", markup=False)
        await worker.work()
    out.print("stopped: nothing is left in hand", markup=False)
