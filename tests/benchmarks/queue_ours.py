"""Our worker over trivial jobs, with leases, fencing, beats, retry and logs on: `DSN JOBS BATCH`, one JSON line."""

import asyncio
import json
import statistics
import sys
import time

from flows.jobs.worker import Pace, Worker
from sql import jobs
from sql.jobs import NewJob
from sql.session import as_orchestrator, open_pool

QUEUE = "analytics"
ALONE = 100  # jobs put in one by one while the worker sleeps


async def drained(dsn: str, count: int, batch: int) -> float:
    """Seconds from the worker's start until every job is finished."""
    pool = await open_pool(dsn, part="bench", max_size=4, checked=False)
    async with pool:
        async with as_orchestrator(pool) as conn:
            await jobs.put_many(conn, (NewJob(QUEUE, {}) for _ in range(count)))
        left = count

        async def nothing(_: jobs.Job) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                worker.stop()

        worker = Worker(pool=pool, listen_dsn=dsn, handlers={QUEUE: nothing}, pace=Pace(slots=2 * batch))
        began = time.perf_counter()
        await worker.work()
        return time.perf_counter() - began


async def woken(dsn: str) -> list[float]:
    """Milliseconds from the end of a lone job's commit to the first line of its work."""
    pool = await open_pool(dsn, part="bench", max_size=4)
    waits: list[float] = []
    async with pool:
        begun: asyncio.Queue[float] = asyncio.Queue()

        async def note(_: jobs.Job) -> None:
            begun.put_nowait(time.perf_counter())

        worker = Worker(pool=pool, listen_dsn=dsn, handlers={QUEUE: note}, pace=Pace(poll_seconds=600))
        task = asyncio.create_task(worker.work())
        await asyncio.sleep(1)
        for _ in range(ALONE):
            async with as_orchestrator(pool) as conn:
                await jobs.put(conn, NewJob(QUEUE, {}))
            put_at = time.perf_counter()
            waits.append(max(0.0, (await asyncio.wait_for(begun.get(), 60) - put_at) * 1000))
            await asyncio.sleep(0.01)
        worker.stop()
        await task
    return waits


async def main(dsn: str, count: int, batch: int) -> None:
    if count == 0:
        waits = sorted(await woken(dsn))
        print(json.dumps({"p50": statistics.median(waits), "p99": waits[int(len(waits) * 0.99)]}))
    else:
        print(json.dumps({"seconds": await drained(dsn, count, batch), "jobs": count}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
