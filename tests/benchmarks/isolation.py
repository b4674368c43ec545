"""The trial of every tenant table against a second tenant: how long it holds up a test run or a rehearsal."""

import asyncio
import os
import statistics
import time

from psycopg import AsyncConnection

from sql.isolation import breaches
from tests.support.postgres import TEMPLATE, cloned, running_server, with_template

ROUNDS = int(os.environ.get("ROUNDS", "5"))


def main() -> None:
    with running_server("bench") as server, cloned(with_template(server), TEMPLATE) as dsn:
        taken = asyncio.run(measure(dsn))
    print(f"isolation {ROUNDS} rounds, load {os.getloadavg()[0]:.1f}: median {statistics.median(taken):.2f} s"
          f"   {min(taken):.2f} to {max(taken):.2f}")  # fmt: skip


async def measure(dsn: str) -> list[float]:
    taken: list[float] = []
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            found = await breaches(conn)
            taken.append(time.perf_counter() - began)
            assert found == (), found
    return taken
