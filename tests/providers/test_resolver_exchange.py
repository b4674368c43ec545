"""Questions on their way: none lost, none alike twice, few at a time, and ports and ids that nobody can guess."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from providers.resolver.exchange import Exchange
from providers.resolver.lane import FINISHED, PER_LANE, UNREACHABLE
from providers.resolver.naming import question
from providers.resolver.nouns import RD, Message, Question
from tests.support.nameserver import free_port

HERE, MUTE, NOBODY = "127.0.0.1", "127.0.0.2", "127.0.0.3"
NO_SUCH_NAME = b"\x81\x83" + b"\0\1" + bytes(6)
EDNS_BYTES = 11


@dataclass
class Mirror(asyncio.DatagramProtocol):
    """Says of every name that it does not exist, after a moment; notes who asked and how many did at a time."""

    seconds: float = 0.0
    mute: bool = False
    asked: list[tuple[int, int]] = field(default_factory=list)  # port and id
    open: int = 0
    most: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append((addr[1], int.from_bytes(data[:2])))
        self.open += 1
        self.most = max(self.most, self.open)
        if not self.mute:
            asyncio.get_running_loop().call_later(self.seconds, self.answer, data, addr)

    def answer(self, data: bytes, addr: tuple[str, int]) -> None:
        self.open -= 1
        self.transport.sendto(data[:2] + NO_SUCH_NAME + data[12:-EDNS_BYTES], addr)


@asynccontextmanager
async def exchanging(
    at: dict[str, Mirror], *, timeout_seconds: float = 5, at_once: int = 500, polite: int = 16, ours: str = HERE
) -> AsyncIterator[Exchange]:
    port, loop = free_port(), asyncio.get_running_loop()
    running = [
        (await loop.create_datagram_endpoint(lambda m=mirror: m, local_addr=(address, port)))[0]
        for address, mirror in at.items()
    ]
    try:
        async with asyncio.timeout(20):
            yield Exchange((ours,), port=port, timeout_seconds=timeout_seconds, at_once=at_once, polite=polite)
    finally:
        for one in running:
            one.close()


def about(name: str) -> Question:
    made = question(name, 1, RD)
    assert made is not None
    return made


def names(count: int, letter: str = "n") -> list[Question]:
    return [about(f"{letter}{number}.acme.example") for number in range(count)]


async def test_who_asks_while_the_answer_is_being_handed_out_gets_one_too() -> None:
    """The first asker has its answer but has not run yet; nothing is under way any more, and nothing may be lost."""
    later: list[asyncio.Future[object]] = []
    async with exchanging({HERE: Mirror()}) as exchange:
        first = exchange.ask(about("acme.example"), HERE)
        first.add_done_callback(lambda _: later.append(exchange.ask(about("acme.example"), HERE)))
        assert isinstance(await first, Message)
        await asyncio.sleep(0)
        assert isinstance(await later[0], Message)


async def test_what_is_alike_and_under_way_travels_once_and_who_gives_up_disturbs_nobody() -> None:
    mirror = Mirror()
    async with exchanging({HERE: mirror}) as exchange:
        first, second = (exchange.ask(about("acme.example"), HERE) for _ in range(2))
        first.cancel()
        assert isinstance(await second, Message)
    assert len(mirror.asked) == 1


@pytest.mark.parametrize(("at_once", "polite"), [(3, 7), (7, 3), (1, 1)])
async def test_places_that_come_free_are_taken_until_nobody_waits(at_once, polite) -> None:
    """Some give up while they wait; a mute server and one that does not exist keep nobody else waiting for ever."""
    mirrors = {HERE: Mirror(0.001), MUTE: Mirror(mute=True)}
    async with exchanging(mirrors, timeout_seconds=0.1, at_once=at_once, polite=polite, ours="") as exchange:
        places = [(one, at) for one in names(9) for at in (MUTE, HERE, NOBODY, HERE)]
        waiters = [exchange.ask(*place) for place in places]
        given_up = set(range(10, len(waiters), 3))
        for number in given_up:
            waiters[number].cancel()
        heard = await asyncio.gather(*waiters, return_exceptions=True)
        assert not exchange.is_busy
    said = {MUTE: FINISHED, NOBODY: UNREACHABLE}
    for number, (_, at) in enumerate(places):
        if number not in given_up:
            assert heard[number] == said[at] if at in said else isinstance(heard[number], Message)
    assert mirrors[HERE].most <= min(at_once, polite)


async def test_a_stranger_has_few_questions_at_a_time_and_ours_as_many_as_we_hold() -> None:
    mirrors = {HERE: Mirror(0.2), MUTE: Mirror(0.2)}
    async with exchanging(mirrors, at_once=40, polite=3) as exchange:
        await asyncio.gather(*(exchange.ask(one, at) for one in names(60) for at in (MUTE, HERE)))
    assert (mirrors[HERE].most, mirrors[MUTE].most) == (37, 3)


async def test_an_address_that_is_none_ends_every_question_that_waits_for_it() -> None:
    async with exchanging({}, polite=1) as exchange:
        heard = await asyncio.gather(*(exchange.ask(one, "nowhere") for one in names(3000)))
        assert set(heard) == {UNREACHABLE}
        assert not exchange.is_busy


async def test_each_question_on_one_port_is_late_at_its_own_time() -> None:
    async with exchanging({HERE: Mirror(mute=True)}, timeout_seconds=0.6) as exchange:
        first = exchange.ask(about("n1.example"), HERE)
        await asyncio.sleep(0.3)
        second = exchange.ask(about("n2.example"), HERE)
        assert (await first, second.done()) == (FINISHED, False)
        assert await second == FINISHED


async def test_a_port_serves_few_questions_and_no_id_on_it_comes_twice_or_in_order() -> None:
    mirror = Mirror()
    async with exchanging({HERE: mirror}) as exchange:
        keeping = exchange.ask(about("kept.example"), HERE)
        for turn in range(4):
            await asyncio.gather(*(exchange.ask(one, HERE) for one in names(200, f"t{turn}")))
        await keeping
    ports = {port: [number for at, number in mirror.asked if at == port] for port, _ in mirror.asked}
    assert len(mirror.asked) == 801
    assert len(ports) >= 801 / PER_LANE
    for numbers in ports.values():
        assert len(set(numbers)) == len(numbers) <= PER_LANE
    longest = max(ports.values(), key=len)
    assert longest not in (sorted(longest), sorted(longest, reverse=True))
    assert max(longest) - min(longest) > 2**15  # of 65,536, at random
