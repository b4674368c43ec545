"""Workers are killed at random moments: no job is lost, none is finished twice, zombies are refused."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psycopg

from sql import jobs
from sql.jobs import NewJob
from sql.session import as_orchestrator

ROOT = Path(__file__).parents[2]
JOBS, WORKERS, KILLS = 300, 4, 24
WORKER = """
import asyncio, os, sys
from datetime import timedelta
from sql import jobs
from sql.session import Contended, as_orchestrator, open_pool

async def work(dsn, ledger):
    me = f"worker-{os.getpid()}"
    pool = await open_pool(dsn, part="worker", max_size=2)
    while True:
        async with as_orchestrator(pool) as conn:
            await jobs.reap(conn)
            taken = await jobs.claim(conn, queues=["warmup"], worker=me, limit=4, lease=timedelta(seconds=1))
        for job in taken:
            os.write(ledger, f"{job.id}\\n".encode())  # the effect, outside the database
            await asyncio.sleep(0.01)
            async with as_orchestrator(pool) as conn:
                done = await jobs.finish(conn, me, [job])
            if not done:
                os.write(ledger, b"refused\\n")
        if not taken:
            await asyncio.sleep(0.05)

asyncio.run(work(sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)))
"""


def worker(dsn: str, ledger: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, dsn, str(ledger)], cwd=ROOT)


def left(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute("SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')").fetchone()
    assert row is not None
    return row[0]


async def test_no_job_is_lost_and_none_is_finished_twice(pool, database: str, tmp_path: Path, record_property) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    record_property("seed", seed)
    ledger = tmp_path / "ledger"
    ledger.touch()
    async with as_orchestrator(pool) as conn:
        await jobs.put_many(conn, [NewJob("warmup", {"n": n}, max_attempts=30) for n in range(JOBS)])
    workers = [worker(database, ledger) for _ in range(WORKERS)]
    try:
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(0.05, 0.6))
            victim = dice.randrange(WORKERS)
            os.kill(workers[victim].pid, signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = worker(database, ledger)
        for _ in range(1200):
            if not left(database):
                break
            await asyncio.sleep(0.1)
    finally:
        for one in workers:
            one.kill()
            one.wait()
    lines = ledger.read_text().splitlines()
    effects = Counter(line for line in lines if line != "refused")
    with psycopg.connect(database) as conn:
        ended = conn.execute("SELECT status, count(*) FROM jobs GROUP BY status").fetchall()
        finished = conn.execute(
            "SELECT count(*), count(DISTINCT job_id) FROM job_logs WHERE status = 'completed'"
        ).fetchone()
        crashed = conn.execute("SELECT count(*) FROM job_logs WHERE status = 'crashed'").fetchone()
    record_property("effects, crashed attempts, refused", (effects.total(), crashed, lines.count("refused")))
    assert ended == [("completed", JOBS)], f"seed {seed}"
    assert finished == (JOBS, JOBS)
    assert len(effects) == JOBS
