"""The job queue: put in, claim under a lease, beat, finish or fail, reap, and the operator's verbs.

Every answer names the worker and the attempt, so a worker that was given up for dead changes nothing when it comes
back. A claim is a short transaction of its own; the work runs outside it. Payloads are ids: no bodies, no secrets.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

QUEUES: Final = (
    "infra-provisioning",
    "dns-verification",
    "mail-sync",
    "email-processing",
    "email-sending",
    "reputation",
    "analytics",
    "warmup",
)
LEASE: Final = timedelta(seconds=60)  # beat every third of it
HIGH: Final = 50  # a priority up to this is high
ATTEMPTS: Final = 3
HIGH_ATTEMPTS: Final = 5

Verb = Callable[[AsyncConnection, Sequence[UUID], str], Awaitable[list[UUID]]]
"""What an operator does to jobs by id; the last word is the actor."""
JobStatus = Literal["queued", "running", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class NewJob:
    """What to put in. `priority` None is the queue's own; `dedupe_key` allows one live job of its kind in the queue."""

    queue: str
    payload: Mapping[str, Any]
    tenant_id: UUID | None = None
    priority: int | None = None
    run_at: datetime | None = None
    dedupe_key: str | None = None
    max_attempts: int | None = None
    timeout_seconds: int = 300


@dataclass(frozen=True, slots=True)
class Job:
    """One job as its worker holds it: `attempt` is the number that every answer must name."""

    id: UUID
    queue: str
    status: str
    priority: int
    payload: dict[str, Any]
    attempt: int
    max_attempts: int
    tenant_id: UUID | None
    timeout_seconds: int
    dedupe_key: str | None
    worker_id: str | None
    run_at: datetime
    lease_expires_at: datetime | None
    last_error_message: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LogLine:
    """One attempt of a job, or an operator's act on it."""

    status: str
    attempt_number: int
    log_message: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Depth:
    """How a queue stands; `oldest_seconds` is the wait of the oldest due job, None when none is due."""

    queue: str
    is_active: bool
    due: int
    delayed: int
    running: int
    expired: int
    failed: int
    oldest_seconds: float | None


JOB: Final = """
    j.id, j.queue_name AS queue, j.status, j.priority, j.payload, j.attempt_count AS attempt, j.max_attempts,
    j.tenant_id, j.timeout_seconds, j.dedupe_key, j.worker_id, j.run_at, j.lease_expires_at, j.last_error_message,
    j.created_at
"""


async def put(conn: AsyncConnection, job: NewJob) -> UUID | None:
    """Put a job in; its id, or None when a live one with the same dedupe key is there already."""
    cursor = await conn.execute(
        """
        INSERT INTO jobs (queue_name, payload, tenant_id, priority, run_at, dedupe_key, max_attempts, timeout_seconds)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (dedupe_key, queue_name) WHERE dedupe_key IS NOT NULL AND status IN ('queued', 'running')
        DO NOTHING RETURNING id
        """,
        _as_row(job, await _priorities(conn), await _now(conn)),
    )
    row = await cursor.fetchone()
    return None if row is None else UUID(str(row[0]))


async def put_many(conn: AsyncConnection, jobs: Iterable[NewJob]) -> int:
    """Put many in, all or none; how many. Raises AlreadyExists when one dedupe key is taken."""
    priorities, now = await _priorities(conn), await _now(conn)
    # COPY into a table under row security is refused by the server: a temporary one stands between.
    await conn.execute("DROP TABLE IF EXISTS pg_temp.incoming_jobs")
    await conn.execute(
        """
        CREATE TEMPORARY TABLE incoming_jobs ON COMMIT DROP AS
        SELECT queue_name, payload, tenant_id, priority, run_at, dedupe_key, max_attempts, timeout_seconds
          FROM jobs WITH NO DATA
        """
    )
    async with conn.cursor().copy("COPY incoming_jobs FROM STDIN") as copy:
        for job in jobs:
            await copy.write_row(_as_row(job, priorities, now))
    cursor = await conn.execute(
        """
        INSERT INTO jobs (queue_name, payload, tenant_id, priority, run_at, dedupe_key, max_attempts, timeout_seconds)
        SELECT queue_name, payload, tenant_id, priority, run_at, dedupe_key, max_attempts, timeout_seconds
          FROM incoming_jobs
        """
    )
    return cursor.rowcount


async def claim(
    conn: AsyncConnection, *, queues: Sequence[str], worker: str, limit: int, lease: timedelta = LEASE
) -> list[Job]:
    """Take due jobs for `worker`: best priority first, tenants in turn. Commit at once; the work runs outside."""
    cursor = conn.cursor(row_factory=class_row(Job))
    await cursor.execute(
        f"SELECT {JOB} FROM job_claim(%s::text[], %s, %s, %s) j",  # noqa: S608 - a literal
        [list(queues), worker, limit, lease],
    )
    return await cursor.fetchall()


async def finish(conn: AsyncConnection, worker: str, jobs: Sequence[Job]) -> set[UUID]:
    """Say that jobs are done. One that is not in the answer was no longer ours: somebody else has it, or had it."""
    jobs = _in_order(jobs)
    cursor = await conn.execute(
        "SELECT job_finish(%s, %s::uuid[], %s::int[])",
        [worker, [job.id for job in jobs], [job.attempt for job in jobs]],
    )
    return {row[0] for row in await cursor.fetchall()}


async def take(
    conn: AsyncConnection,
    *,
    worker: str,
    queues: Sequence[str],
    limit: int,
    lease: timedelta = LEASE,
    named: Collection[UUID] | None = None,
) -> list[Job]:
    """A claim that a crash of the server may undo, for then nobody has the job: no disk is waited for.

    `named` are the only jobs to take, by their keys: for those who know of no other that is due. None: look for jobs.
    """
    taken = conn.cursor(binary=True, row_factory=class_row(Job))
    async with conn.pipeline():
        await conn.execute("SELECT set_config('synchronous_commit', 'off', true)")
        if named is None:
            await taken.execute(
                f"SELECT {JOB} FROM job_claim(%s::text[], %s, %s, %s) j",  # noqa: S608 - a literal
                [list(queues), worker, limit, lease],
            )
        else:
            await taken.execute(
                f"SELECT {JOB} FROM job_claim_named(%s::uuid[], %s::text[], %s, %s, %s) j",  # noqa: S608 - a literal
                [list(named), list(queues), worker, limit, lease],
            )
        return await taken.fetchall()


async def release(conn: AsyncConnection, worker: str, jobs: Sequence[Job]) -> set[UUID]:
    """Give back what could not be ended; it is due at once and the attempt does not count. Those that were ours."""
    jobs = _in_order(jobs)
    cursor = await conn.execute(
        "SELECT job_release(%s, %s::uuid[], %s::int[])",
        [worker, [job.id for job in jobs], [job.attempt for job in jobs]],
    )
    return {row[0] for row in await cursor.fetchall()}


async def fail(conn: AsyncConnection, worker: str, job: Job, error: str, *, retryable: bool = True) -> str | None:
    """Say that an attempt failed: `queued` for another after a pause, or `failed`. None when it was no longer ours."""
    cursor = await conn.execute("SELECT job_fail(%s, %s, %s, %s, %s)", [worker, job.id, job.attempt, error, retryable])
    row = await cursor.fetchone()
    return None if row is None or row[0] is None else str(row[0])


async def heartbeat(conn: AsyncConnection, worker: str, jobs: Sequence[Job], lease: timedelta = LEASE) -> set[UUID]:
    """Lengthen the leases. A job that is not in the answer was taken away or cancelled: stop it."""
    jobs = _in_order(jobs)
    cursor = await conn.execute(
        "SELECT job_heartbeat(%s, %s::uuid[], %s::int[], %s)",
        [worker, [job.id for job in jobs], [job.attempt for job in jobs], lease],
    )
    return {row[0] for row in await cursor.fetchall()}


async def held_by(conn: AsyncConnection, worker: str) -> list[Job]:
    """The jobs that a worker holds, the oldest claim first."""
    cursor = conn.cursor(row_factory=class_row(Job))
    await cursor.execute(
        f"""
        SELECT {JOB} FROM jobs j
         WHERE status = 'running' AND lease_expires_at IS NOT NULL AND worker_id = %s ORDER BY started_at, id
        """,  # noqa: S608 - a literal
        [worker],
    )
    return await cursor.fetchall()


async def reap(conn: AsyncConnection, limit: int = 1000) -> int:
    """Take back jobs whose lease has ended; the attempt counts. Every worker does it in its loop. How many."""
    row = await (await conn.execute("SELECT job_reap(%s)", [limit])).fetchone()
    return 0 if row is None else int(row[0])


async def retry(conn: AsyncConnection, ids: Sequence[UUID], actor: str) -> list[UUID]:
    """An operator's new round of three attempts for failed or cancelled jobs; those that were."""
    cursor = await conn.execute("SELECT job_retry(%s::uuid[], %s)", [list(ids), actor])
    return [row[0] for row in await cursor.fetchall()]


async def cancel(conn: AsyncConnection, ids: Sequence[UUID], actor: str) -> list[UUID]:
    """End queued and running jobs; a running one is stopped at its worker's next beat. Those that were ended."""
    cursor = await conn.execute("SELECT job_cancel(%s::uuid[], %s)", [list(ids), actor])
    return [row[0] for row in await cursor.fetchall()]


async def pause(conn: AsyncConnection, queue: str) -> bool:
    """Claim nothing more from a queue, across restarts. What runs goes on. False when there is no such queue."""
    return await _activate(conn, queue, active=False)


async def resume(conn: AsyncConnection, queue: str) -> bool:
    """Claim from a queue again."""
    return await _activate(conn, queue, active=True)


async def list_jobs(
    conn: AsyncConnection,
    *,
    queue: str | None = None,
    status: JobStatus | None = None,
    tenant_id: UUID | None = None,
    limit: int = 100,
) -> list[Job]:
    """Jobs, newest first."""
    cursor = conn.cursor(row_factory=class_row(Job))
    await cursor.execute(
        f"""
        SELECT {JOB} FROM jobs j
         WHERE (%(queue)s::text IS NULL OR queue_name = %(queue)s::text)
           AND (%(status)s::text IS NULL OR status = %(status)s::text)
           AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s::uuid)
         ORDER BY created_at DESC, id LIMIT %(limit)s
        """,  # noqa: S608 - a literal
        {"queue": queue, "status": status, "tenant": tenant_id, "limit": limit},
    )
    return await cursor.fetchall()


async def inspect(conn: AsyncConnection, job_id: UUID) -> tuple[Job, list[LogLine]] | None:
    """One job and its history, oldest first."""
    cursor = conn.cursor(row_factory=class_row(Job))
    await cursor.execute(f"SELECT {JOB} FROM jobs j WHERE id = %s", [job_id])  # noqa: S608 - a literal
    job = await cursor.fetchone()
    if job is None:
        return None
    lines = conn.cursor(row_factory=class_row(LogLine))
    await lines.execute(
        """
        SELECT status, attempt_number, log_message, started_at, finished_at FROM job_logs
         WHERE job_id = %s ORDER BY created_at, attempt_number
        """,
        [job_id],
    )
    return job, await lines.fetchall()


async def depths(conn: AsyncConnection) -> list[Depth]:
    """How every queue stands."""
    cursor = conn.cursor(row_factory=class_row(Depth))
    await cursor.execute(
        """
        SELECT q.name AS queue, coalesce(q.is_active, true) AS is_active,
               count(*) FILTER (WHERE j.status = 'queued' AND j.run_at <= now()) AS due,
               count(*) FILTER (WHERE j.status = 'queued' AND j.run_at > now()) AS delayed,
               count(*) FILTER (WHERE j.status = 'running') AS running,
               count(*) FILTER (WHERE j.status = 'running' AND j.lease_expires_at < now()) AS expired,
               count(*) FILTER (WHERE j.status = 'failed') AS failed,
               extract(epoch FROM now() - min(j.run_at)
                 FILTER (WHERE j.status = 'queued' AND j.run_at <= now()))::float8 AS oldest_seconds
          FROM job_queues q LEFT JOIN jobs j ON j.queue_name = q.name AND j.status IN ('queued', 'running', 'failed')
         GROUP BY q.name, q.is_active ORDER BY q.name
        """
    )
    return await cursor.fetchall()


def _in_order(jobs: Sequence[Job]) -> list[Job]:
    """Rows are locked in one order by everybody: a beat and an end of the same jobs would wait for each other."""
    return sorted(jobs, key=lambda job: job.id.int)


async def _activate(conn: AsyncConnection, queue: str, *, active: bool) -> bool:
    cursor = await conn.execute("UPDATE job_queues SET is_active = %s WHERE name = %s", [active, queue])
    return cursor.rowcount > 0


def _as_row(job: NewJob, priorities: Mapping[str, int], now: datetime) -> tuple[object, ...]:
    if job.queue not in priorities:
        raise ValueError(f"no queue is called {job.queue!r}")
    priority = priorities[job.queue] if job.priority is None else job.priority
    attempts = job.max_attempts or (HIGH_ATTEMPTS if priority <= HIGH else ATTEMPTS)
    payload = Jsonb(dict(job.payload))
    return (
        *(job.queue, payload, job.tenant_id, priority, job.run_at or now, job.dedupe_key),
        *(attempts, job.timeout_seconds),
    )


async def _priorities(conn: AsyncConnection) -> dict[str, int]:
    cursor = await conn.execute("SELECT name, coalesce(default_priority, 100) FROM job_queues")
    return {str(row[0]): int(row[1]) for row in await cursor.fetchall()}


async def _now(conn: AsyncConnection) -> datetime:
    row = await (await conn.execute("SELECT now()")).fetchone()
    if row is None:
        raise LookupError("the server has no time")
    return row[0]
