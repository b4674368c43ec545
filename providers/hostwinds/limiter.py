"""A pace for one API key: a token bucket, and one state-changing call at a time."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import cache
from weakref import WeakKeyDictionary


class Limiter:
    """Shared by every client of one key in this process, whichever event loop it runs in.

    Places are reserved before the wait, so callers leave in the order in which they came.
    """

    def __init__(
        self,
        rate_per_second: float,
        burst: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if rate_per_second <= 0 or burst < 1:
            raise ValueError(f"a limiter needs a positive rate and burst, got {rate_per_second}/s and {burst}")
        self._interval_seconds = 1 / rate_per_second
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._free_from = clock() - self._interval_seconds * burst
        self._arithmetic = threading.Lock()
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def wait(self) -> None:
        """Return when one more request keeps the pace."""
        pause_seconds = self._reserve()
        if pause_seconds > 0:
            await self._sleep(pause_seconds)

    def turn(self) -> asyncio.Lock:
        """The lock a state-changing call holds. An asyncio lock serves one loop only, hence one for each."""
        loop = asyncio.get_running_loop()
        with self._arithmetic:
            return self._turns.setdefault(loop, asyncio.Lock())

    def _reserve(self) -> float:
        with self._arithmetic:
            now = self._clock()
            oldest_credit = now - self._interval_seconds * self._burst
            self._free_from = max(self._free_from, oldest_credit) + self._interval_seconds
            return self._free_from - now


@cache
def shared_limiter(key_digest: str, rate_per_second: float, burst: int) -> Limiter:
    """The one limiter of this process for a key: clients come and go with each step, the pace stays."""
    del key_digest  # part of the cache key only
    return Limiter(rate_per_second, burst)
