import asyncio

import pytest

from providers.hostwinds.limiter import Limiter, shared_limiter


class Watch:
    """A clock that moves only when somebody sleeps on it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def departures(limiter: Limiter, watch: Watch, count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        await limiter.wait()
        times.append(watch.now - 100)
    return times


async def test_a_burst_leaves_at_once_and_the_rest_at_the_rate() -> None:
    watch = Watch()
    limiter = Limiter(2, 3, clock=watch, sleep=watch.sleep)
    assert await departures(limiter, watch, 6) == pytest.approx([0, 0, 0, 0.5, 1, 1.5])


async def test_a_long_rest_saves_no_more_than_a_burst() -> None:
    watch = Watch()
    limiter = Limiter(1, 2, clock=watch, sleep=watch.sleep)
    await departures(limiter, watch, 2)
    watch.now = 1000.0
    assert await departures(limiter, watch, 3) == pytest.approx([900, 900, 901])


async def test_waiting_callers_each_get_a_place_of_their_own() -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    limiter = Limiter(1, 1, clock=lambda: 0.0, sleep=note)
    await asyncio.gather(*(limiter.wait() for _ in range(4)))
    assert pauses == [1, 2, 3]


async def test_one_change_at_a_time() -> None:
    limiter = Limiter(1000, 10)
    inside = 0
    most = 0

    async def change() -> None:
        nonlocal inside, most
        async with limiter.turn():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(change() for _ in range(5)))
    assert most == 1


def test_a_limiter_serves_one_loop_after_another() -> None:
    limiter = Limiter(1000, 10)

    async def contend() -> None:
        async def hold() -> None:
            async with limiter.turn():
                await asyncio.sleep(0)

        await asyncio.gather(hold(), hold())

    asyncio.run(contend())
    asyncio.run(contend())


def test_one_key_has_one_pace_in_a_process() -> None:
    assert shared_limiter("k1", 1, 2) is shared_limiter("k1", 1, 2)
    assert shared_limiter("k1", 1, 2) is not shared_limiter("k2", 1, 2)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_pace_of_nothing_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        Limiter(rate, burst)
