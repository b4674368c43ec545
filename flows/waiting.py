"""Short waits inside one step. A longer one ends the process: it is a row."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flows.policy.orders import pause_seconds
from flows.resources import direct_dsn
from flows.vps_terms import VpsTerms
from sql.session import change_lock

PATIENCE_SECONDS = 50.0


@asynccontextmanager
async def one_change_at_a_time() -> AsyncGenerator[None]:
    """At most one state-changing call at the VPS provider, over all workers."""
    async with change_lock(await direct_dsn(), "vps"):
        yield


async def patient_looks(terms: VpsTerms, patience_seconds: float = PATIENCE_SECONDS) -> AsyncGenerator[int]:
    """Look numbers with growing pauses between them, until patience ends."""
    end = time.monotonic() + patience_seconds
    look = 0
    while True:
        yield look
        pause = pause_seconds(look, terms.poll_first_seconds, terms.poll_max_seconds) * random.uniform(0.9, 1.1)  # noqa: S311  jitter
        if time.monotonic() + pause > end:
            return
        await asyncio.sleep(pause)
        look += 1


async def short_looks(patience_seconds: float, pause: float = 0.1) -> AsyncGenerator[int]:
    """The same for what is usually there at once or within seconds: DNS of our own making, a message on its way."""
    end = time.monotonic() + patience_seconds
    look = 0
    while True:
        yield look
        if time.monotonic() + pause > end:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 5)
        look += 1
