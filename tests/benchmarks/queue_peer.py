"""A peer's worker over trivial jobs, in its own environment: `pgqueuer|procrastinate DSN JOBS BATCH`, one JSON line.

Putting the jobs in is not measured; from the start of the worker until everything is drained is.
"""

# ruff: noqa: PLC0415 - a round needs one of the two
import asyncio
import json
import sys
import time


async def pgqueuer(dsn, jobs, batch):
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgPoolDriver
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    pool = await asyncpg.create_pool(dsn, min_size=4, max_size=4)  # as wide as ours; over one connection it is slower
    driver = AsyncpgPoolDriver(pool)
    if await pool.fetchval("SELECT to_regclass('pgqueuer')") is None:
        await Queries(driver).install()
    for first in range(0, jobs, 1000):
        count = min(1000, jobs - first)
        await Queries(driver).enqueue(["nothing"] * count, [b"{}"] * count, [0] * count)
    worker, seen = PgQueuer(driver), [0]

    @worker.entrypoint("nothing")
    async def nothing(_):
        seen[0] += 1

    began = time.perf_counter()
    await worker.run(batch_size=batch, mode=QueueExecutionMode.drain)
    took = time.perf_counter() - began
    pool.terminate()  # it keeps the listener's connection
    return took, seen[0]


async def procrastinate(dsn, jobs, batch):
    from procrastinate import App, PsycopgConnector

    app, seen = App(connector=PsycopgConnector(conninfo=dsn, max_size=4)), [0]

    @app.task(name="nothing")
    async def nothing():
        seen[0] += 1

    async with app.open_async():
        try:
            await app.schema_manager.apply_schema_async()
        except Exception as there:  # its tables stand from an earlier round
            if "already exists" not in str(there.__cause__ or there):
                raise
        await nothing.batch_defer_async(*({} for _ in range(jobs)))
        began = time.perf_counter()
        await app.run_worker_async(wait=False, concurrency=batch, install_signal_handlers=False)
        return time.perf_counter() - began, seen[0]


def main():
    system, dsn, jobs, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    took, seen = asyncio.run({"pgqueuer": pgqueuer, "procrastinate": procrastinate}[system](dsn, jobs, batch))
    print(json.dumps({"seconds": took, "jobs": seen}))


if __name__ == "__main__":
    main()
