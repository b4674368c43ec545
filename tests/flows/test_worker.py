"""The worker: wakes at once, beats, lets go of what was taken, dies without losing a job, stops without leaving one."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import conninfo, sql
from psycopg.rows import dict_row

from flows.jobs.worker import Pace, Poison, Worker
from providers.errors import Rejected, Unavailable, Unconfirmed
from sql import jobs
from sql.job_news import CHANNEL
from sql.jobs import Job, NewJob
from sql.session import as_orchestrator, open_pool

ROOT = Path(__file__).parents[2]
QUEUE = "analytics"
QUICK = Pace(slots=10, lease_seconds=0.9, poll_seconds=0.05, stop_seconds=10)


@asynccontextmanager
async def working(
    database: str, handler: Callable[[Job], Awaitable[None]], pace: Pace = QUICK
) -> AsyncIterator[Worker]:
    pool = await open_pool(database, part="worker", max_size=4)
    async with pool:
        worker = Worker(pool=pool, listen_dsn=database, handlers={QUEUE: handler}, pace=pace)
        task = asyncio.create_task(worker.work())
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(task, 30)


async def put(database: str, *new: NewJob) -> None:
    pool = await open_pool(database, part="test", max_size=1)
    async with pool, as_orchestrator(pool) as conn:
        await jobs.put_many(conn, new)


def rows(database: str, statement: str, *values: object) -> list[dict[str, Any]]:
    with psycopg.connect(database, row_factory=dict_row, autocommit=True) as conn:
        return conn.execute(statement, values).fetchall()


def job(database: str) -> dict[str, Any]:
    (one,) = rows(database, "SELECT * FROM jobs")
    return one


def logged(database: str) -> list[str]:
    return [row["status"] for row in rows(database, "SELECT status FROM job_logs ORDER BY created_at, started_at")]


async def until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.02)


async def test_jobs_are_worked_and_logged(database: str) -> None:
    seen: list[int] = []

    async def note(one: Job) -> None:
        seen.append(one.payload["n"])

    async with working(database, note):
        await put(database, *(NewJob(QUEUE, {"n": n}) for n in range(50)))
        await until(lambda: rows(database, "SELECT 1 FROM jobs WHERE status <> 'completed'") == [] and len(seen) == 50)
    assert sorted(seen) == list(range(50))
    assert Counter(logged(database)) == {"completed": 50}


async def test_a_new_job_wakes_a_worker_that_would_not_have_looked_for_long(database: str) -> None:
    worked = asyncio.Event()

    async def note(_: Job) -> None:
        worked.set()

    async with working(database, note, Pace(slots=1, poll_seconds=3600)):
        await until(lambda: rows(database, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'") != [])
        await put(database, NewJob(QUEUE, {}))
        await asyncio.wait_for(worked.wait(), 20)


def calls(database: str, function: str) -> int:
    found = rows(database, "SELECT calls FROM pg_stat_user_functions WHERE funcname = %s", function)
    return found[0]["calls"] if found else 0


async def test_an_idle_worker_takes_what_comes_alone_by_name_and_does_not_look(database: str) -> None:
    name = conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} SET track_functions = 'all'").format(sql.Identifier(name)))
    seen: asyncio.Queue[UUID] = asyncio.Queue()

    async def note(one: Job) -> None:
        seen.put_nowait(one.id)

    async with working(database, note, Pace(slots=10, poll_seconds=3600)):
        await until(lambda: rows(database, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'") != [])
        for _ in range(8):
            await put(database, NewJob(QUEUE, {}))
            await asyncio.wait_for(seen.get(), 20)
    await until(lambda: calls(database, "job_claim_named") >= 6)
    assert calls(database, "job_claim") <= 3


async def test_news_of_single_jobs_does_not_put_a_look_off_for_ever(database: str) -> None:
    worked = asyncio.Event()

    async def note(_: Job) -> None:
        worked.set()

    async with working(database, note, Pace(slots=10, poll_seconds=0.3)):
        await put(database, NewJob(QUEUE, {}, run_at=datetime.now(UTC) + timedelta(seconds=1)))

        def told() -> bool:
            rows(database, "SELECT pg_notify(%s, %s)", CHANNEL, f"{QUEUE} {uuid4()}")
            return worked.is_set()

        await until(told, 20)


async def test_whoever_has_nothing_in_hand_says_nothing_at_the_end(database: str) -> None:
    name = conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} SET track_functions = 'all'").format(sql.Identifier(name)))

    async def note(_: Job) -> None: ...

    async with working(database, note):
        await put(database, NewJob(QUEUE, {}))
        await until(lambda: job(database)["status"] == "completed")
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await until(lambda: rows(database, others) == [])  # a backend counts what it called when it ends
    assert calls(database, "job_claim") > 0
    assert calls(database, "job_release") == 0


class Asked(dict[str, Callable[[Job], Awaitable[None]]]):
    """Handlers that know how often a notice was compared with them."""

    times = 0

    def __contains__(self, key: object) -> bool:
        self.times += 1
        return super().__contains__(key)


async def test_what_is_heard_of_while_there_is_no_room_is_not_forgotten(database: str) -> None:
    go_on, seen = asyncio.Event(), list[UUID]()

    async def hold(one: Job) -> None:
        seen.append(one.id)
        await go_on.wait()

    async with working(database, hold, Pace(slots=1, poll_seconds=3600)) as worker:
        worker.handlers = heard = Asked(worker.handlers)
        await until(lambda: rows(database, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'") != [])
        for n in range(4):
            await put(database, NewJob(QUEUE, {}))
            await until(lambda n=n: len(seen) == 1 and heard.times > n)
        for _ in range(10):
            await asyncio.sleep(0)  # the worker turns, and has no room
        go_on.set()
        await until(lambda: len(seen) == 4)


async def test_jobs_are_taken_while_an_answer_waits_but_no_more_than_twice_the_slots_are_in_hand(database: str) -> None:
    seen: list[UUID] = []

    async def note(one: Job) -> None:
        if not seen:  # from here on nobody is heard who speaks of this job
            await asyncio.to_thread(holder.execute, "SELECT FROM jobs WHERE id = %s FOR UPDATE", [one.id])
        seen.append(one.id)

    with psycopg.connect(database) as holder:
        async with working(database, note, Pace(slots=3, poll_seconds=0.05)):
            await put(database, *(NewJob(QUEUE, {}) for _ in range(20)))
            await until(lambda: len(seen) >= 6)
            await asyncio.sleep(0.3)
            assert len(seen) == 6
            holder.rollback()
            await until(lambda: len(seen) == 20)


async def test_without_notices_looking_finds_the_job(database: str) -> None:
    worked = asyncio.Event()

    async def note(_: Job) -> None:
        worked.set()

    pool = await open_pool(database, part="worker", max_size=4)
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    async with pool:
        worker = Worker(pool=pool, listen_dsn=nowhere, handlers={QUEUE: note}, pace=QUICK)
        task = asyncio.create_task(worker.work())
        await put(database, NewJob(QUEUE, {}))
        await asyncio.wait_for(worked.wait(), 20)
        worker.stop()
        await task


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (Poison("the payload names no tenant"), "failed"),
        (Rejected("smtp", "send", "550 no"), "failed"),
        (Unconfirmed("smtp", "send", "lost"), "failed"),
        (Unavailable("smtp", "send", "451 later"), "queued"),
        (KeyError("tenant_id"), "queued"),
    ],
)
async def test_what_an_error_means_for_the_job(database: str, error: Exception, left: str) -> None:
    async def fail(_: Job) -> None:
        raise error

    async with working(database, fail):
        await put(database, NewJob(QUEUE, {}))
        await until(lambda: logged(database) != [])
        await until(lambda: job(database)["status"] != "running")
    found = job(database)
    assert (found["status"], str(error).split(" ")[0] in found["last_error_message"]) == (left, True)


LONG_LEASE = Pace(slots=10, lease_seconds=3600, poll_seconds=0.05, stop_seconds=5)  # no reaper comes to help


@asynccontextmanager
async def cut_while_it_says(database: str, word: str) -> AsyncIterator[None]:
    """The only job is locked, so what the worker says of it waits; its connection is ended while it does."""
    with psycopg.connect(database) as holder:
        holder.execute("SELECT FROM jobs FOR UPDATE")
        yield
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
        await until(lambda: rows(database, end, f"SELECT {word}(%") != [])


async def test_a_failure_is_said_again_when_its_connection_died(database: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def fail(_: Job) -> None:
        begun.set()
        await go_on.wait()
        raise KeyError("tenant_id")

    async with working(database, fail, LONG_LEASE):
        await put(database, NewJob(QUEUE, {}, max_attempts=1))
        await asyncio.wait_for(begun.wait(), 20)
        async with cut_while_it_says(database, "job_fail"):
            go_on.set()
        await until(lambda: job(database)["status"] == "failed")
    assert logged(database) == ["failed"]


async def test_what_is_given_back_at_the_end_is_said_again_when_its_connection_died(database: str) -> None:
    begun = asyncio.Event()

    async def endless(_: Job) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with working(database, endless, LONG_LEASE) as worker:
        await put(database, NewJob(QUEUE, {}))
        await asyncio.wait_for(begun.wait(), 20)
        async with cut_while_it_says(database, "job_release"):
            worker.stop()
    assert (job(database)["status"], logged(database)) == ("queued", ["released"])


async def test_a_poisoned_job_dies_by_its_budget_with_its_reason(database: str) -> None:
    async def fail(_: Job) -> None:
        raise ValueError("no such column")

    async with working(database, fail):
        await put(database, NewJob(QUEUE, {}, max_attempts=2))
        await until(lambda: job(database)["status"] == "failed")
    assert logged(database) == ["failed", "failed"]
    assert job(database)["last_error_message"] == "ValueError: no such column"


async def test_a_job_that_takes_too_long_is_ended_and_tried_again(database: str) -> None:
    async def dawdle(_: Job) -> None:
        await asyncio.sleep(3600)

    async with working(database, dawdle):
        await put(database, NewJob(QUEUE, {}, timeout_seconds=1))
        await until(lambda: logged(database) == ["failed"])
    assert "not done within 1 s" in job(database)["last_error_message"]


async def test_a_long_job_keeps_its_lease_and_no_reaper_takes_it(database: str) -> None:
    go_on = asyncio.Event()
    starts = 0

    async def long(_: Job) -> None:
        nonlocal starts
        starts += 1
        await go_on.wait()

    async with working(database, long) as first, working(database, long) as second:
        await put(database, NewJob(QUEUE, {}))
        await until(lambda: starts == 1)
        leases = {job(database)["lease_expires_at"]}
        await until(lambda: leases.add(job(database)["lease_expires_at"]) or len(leases) > 4)
        go_on.set()
        await until(lambda: job(database)["status"] == "completed")
    assert (starts, first.refused, second.refused, logged(database)) == (1, 0, 0, ["completed"])


async def test_a_cancelled_job_is_stopped_at_the_next_beat(database: str) -> None:
    ended = asyncio.Event()

    async def long(_: Job) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with working(database, long):
        await put(database, NewJob(QUEUE, {}))
        await until(lambda: job(database)["status"] == "running")
        pool = await open_pool(database, part="test", max_size=1)
        async with pool, as_orchestrator(pool) as conn:
            await jobs.cancel(conn, [job(database)["id"]], "staff:a@b.example")
        await asyncio.wait_for(ended.wait(), 20)
    assert job(database)["status"] == "cancelled"


async def test_an_answer_that_comes_too_late_changes_nothing_and_is_counted(database: str) -> None:
    async def robbed(one: Job) -> None:
        theft = "UPDATE jobs SET attempt_count = attempt_count + 1, worker_id = 'thief' WHERE id = %s RETURNING 1"
        await asyncio.to_thread(rows, database, theft, one.id)

    async with working(database, robbed, Pace(slots=1, lease_seconds=60, poll_seconds=0.05)) as worker:
        await put(database, NewJob(QUEUE, {}))
        await until(lambda: worker.refused == 1)
    assert (job(database)["status"], job(database)["worker_id"]) == ("running", "thief")


async def test_stopping_lets_what_is_in_hand_end(database: str) -> None:
    begun = asyncio.Event()

    async def work(_: Job) -> None:
        begun.set()
        await asyncio.sleep(0.2)

    async with working(database, work):
        await put(database, NewJob(QUEUE, {}))
        await asyncio.wait_for(begun.wait(), 20)
    assert (job(database)["status"], logged(database)) == ("completed", ["completed"])


async def test_stopping_gives_back_what_does_not_end_and_the_attempt_does_not_count(database: str) -> None:
    begun = asyncio.Event()

    async def endless(_: Job) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with working(database, endless, Pace(slots=1, stop_seconds=0)):
        await put(database, NewJob(QUEUE, {}, max_attempts=1))
        await asyncio.wait_for(begun.wait(), 20)
    found = job(database)
    assert (found["status"], found["max_attempts"] - found["attempt_count"], logged(database)) == (
        "queued", 1, ["released"],
    )  # fmt: skip
    pool = await open_pool(database, part="test", max_size=1)
    async with pool, as_orchestrator(pool) as conn:
        (again,) = await jobs.claim(conn, queues=[QUEUE], worker="next", limit=1)
    assert again.attempt == 2


async def test_a_worker_whose_last_words_are_held_up_ends_all_the_same(database: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(_: Job) -> None:
        begun.set()
        await go_on.wait()

    with psycopg.connect(database) as holder:
        async with working(database, work, Pace(slots=1, lease_seconds=3600, stop_seconds=3600)) as worker:
            await put(database, NewJob(QUEUE, {}))
            await asyncio.wait_for(begun.wait(), 20)
            holder.execute("SELECT FROM jobs FOR UPDATE")
            worker.stop()
            go_on.set()
    assert (job(database)["status"], logged(database)) == ("running", [])


async def test_a_stopping_worker_keeps_time_for_its_last_words(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()
    monkeypatch.setattr("flows.jobs.worker.LAST_WORDS_SECONDS", 600)

    async def endless(_: Job) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with working(database, endless, Pace(slots=1, stop_seconds=600)):
        await put(database, NewJob(QUEUE, {}))
        await asyncio.wait_for(begun.wait(), 20)
    assert (job(database)["status"], logged(database)) == ("queued", ["released"])


async def test_a_paused_queue_is_left_alone_until_it_is_resumed(database: str) -> None:
    seen: list[UUID] = []

    async def note(one: Job) -> None:
        seen.append(one.id)

    pool = await open_pool(database, part="test", max_size=1)
    async with pool:
        async with as_orchestrator(pool) as conn:
            await jobs.pause(conn, QUEUE)
        async with working(database, note):
            await put(database, NewJob(QUEUE, {}))
            await asyncio.sleep(0.3)
            assert seen == []
            async with as_orchestrator(pool) as conn:
                await jobs.resume(conn, QUEUE)
            await until(lambda: len(seen) == 1)


# Killed at random: the worker itself, in processes of their own; the ledger is outside the database.

KILLED = """
import asyncio, os, sys
from flows.jobs.worker import Pace, Worker
from sql.session import open_pool

async def main(dsn, ledger):
    async def work(job):
        os.write(ledger, f"{job.id}\\n".encode())
        await asyncio.sleep(job.payload.get("seconds", 0.003))
    pool = await open_pool(dsn, part="worker", max_size=4)
    await Worker(pool=pool, listen_dsn=dsn, handlers={"analytics": work},
                 pace=Pace(slots=int(sys.argv[3]), lease_seconds=1.5, poll_seconds=0.1)).work()

asyncio.run(main(sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)))
"""
JOBS, WORKERS, SLOTS = int(os.environ.get("PENGUINMAILS_TEST_JOBS", "600")), 4, 20
KILLS = int(os.environ.get("PENGUINMAILS_TEST_KILLS", "12"))


REFUSED = ("was no longer ours to finish", " refused: ", "was taken from us")
STOPPED_EVERY, STOPPED_SECONDS, SLOW_SECONDS = 10, 2.5, 0.5  # kills; longer than the lease; long enough to be met


def spawned(database: str, ledger: Path) -> subprocess.Popen[bytes]:
    with ledger.with_suffix(".log").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-c", KILLED, database, str(ledger), str(SLOTS)], cwd=ROOT, stderr=said
        )


async def outlives_its_lease(database: str, worker: subprocess.Popen[bytes]) -> None:
    """It stands still with jobs in hand until others have them, and then answers for them."""
    slow = (
        NewJob(QUEUE, {"n": n, "seconds": SLOW_SECONDS}, max_attempts=KILLS + 3) for n in range(2 * WORKERS * SLOTS)
    )
    await put(database, *slow)
    in_hand = "SELECT count(*) AS n FROM jobs WHERE status = 'running'"
    await until(lambda: rows(database, in_hand)[0]["n"] >= WORKERS * SLOTS // 4)
    os.kill(worker.pid, signal.SIGSTOP)
    await asyncio.sleep(STOPPED_SECONDS)
    os.kill(worker.pid, signal.SIGCONT)


@pytest.mark.timeout(3600)
async def test_no_job_is_lost_whenever_a_worker_is_killed(database: str, tmp_path: Path, record_property) -> None:
    seed = int(os.environ.get("PENGUINMAILS_TEST_SEED") or random.randrange(2**32))
    dice = random.Random(seed)
    record_property("seed", seed)
    print(f"seed {seed}")  # noqa: T201  the number that plays this story again
    ledger = tmp_path / "ledger"
    ledger.touch()
    workers = [spawned(database, ledger) for _ in range(WORKERS)]
    await put(database, *(NewJob(QUEUE, {"n": n}, max_attempts=KILLS + 3) for n in range(JOBS)))
    killed = 0
    try:
        while killed < KILLS:
            await asyncio.sleep(dice.uniform(0.3, 1.2))
            victim = dice.randrange(WORKERS)
            if killed % STOPPED_EVERY == 0:
                await outlives_its_lease(database, workers[victim - 1])
            os.kill(workers[victim].pid, signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = spawned(database, ledger)
            killed += 1
            if killed < KILLS and not rows(
                database, "SELECT 1 FROM jobs WHERE status IN ('queued', 'running') LIMIT 1"
            ):
                await put(database, *(NewJob(QUEUE, {"n": n}, max_attempts=KILLS + 3) for n in range(JOBS // 10)))
        await until(lambda: rows(database, "SELECT 1 FROM jobs WHERE status <> 'completed' LIMIT 1") == [], 600)
    finally:
        for one in workers:
            one.kill()
            one.wait()
    effects = Counter(ledger.read_text().split())
    finished = Counter(
        str(row["job_id"]) for row in rows(database, "SELECT job_id FROM job_logs WHERE status = 'completed'")
    )
    ids = {str(row["id"]) for row in rows(database, "SELECT id FROM jobs")}
    again = {key: count - 1 for key, count in effects.items() if count > 1}
    crashed = Counter(
        str(row["job_id"]) for row in rows(database, "SELECT job_id FROM job_logs WHERE status = 'crashed'")
    )
    said = ledger.with_suffix(".log").read_text()
    refused = sum(said.count(words) for words in REFUSED)
    figures = f"{len(ids)} jobs, {killed} kills, {effects.total()} effects, {crashed.total()} crashed attempts"
    record_property("figures", f"{figures}, {refused} late answers refused")
    print(f"{figures}, {refused} late answers refused")  # noqa: T201  shown by a long run
    assert set(effects) == ids, f"seed {seed}: a job without its effect, or an effect without a job"
    assert finished == Counter(ids), f"seed {seed}: finished other than once"
    assert all(count <= crashed[key] for key, count in again.items()), f"seed {seed}: done again without a crash"


def test_the_lease_of_a_pace_is_what_the_database_takes() -> None:
    assert Pace(lease_seconds=1.5).lease == timedelta(seconds=1.5)
