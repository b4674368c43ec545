"""Questions on their way: one datagram each, over sockets that live as long as something is under way on them.

A socket is connected, so only its server can answer; it serves few questions and then makes way for one with another
port, so a guesser has to hit port, id and question at once. Questions that are alike and under way at the same time
travel once. No server has more than a polite number of them at a time.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from providers.resolver import library, wire
from providers.resolver.nouns import Message, Outcome, Question, Silence

AT_ONCE = 500  # questions under way in all; each may need a socket
POLITE = 16  # at one server that is not ours
PER_LANE = 256  # questions that leave by one port
READS = 64  # datagrams read before others get their turn
DATAGRAM_BYTES = 4096
TRUNCATED = 0x02  # in the third octet
FINISHED = Silence(Outcome.TIMEOUT, "TIMEOUT")
UNREACHABLE = Silence(Outcome.TIMEOUT, "UNREACHABLE")

Waiter = asyncio.Future[Message | Silence]


@dataclass(slots=True)
class Flight:
    """One question under way, and all who wait for its answer."""

    question: Question
    deadline: float
    waiters: list[Waiter] = field(default_factory=list[Waiter])
    result: Message | Silence | None = None

    def arrival(self) -> Waiter:
        """What to wait for; a cancelled waiter disturbs nobody else."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        return waiter

    def land(self, result: Message | Silence) -> None:
        """Tell everybody, those too who come before the flight is off the list."""
        self.result = result
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(result)


class Lane:
    """One socket to one server; it closes itself when nothing is under way on it."""

    def __init__(self, address: str, port: int, timeout_seconds: float, truncated: Callable[[Flight], None]) -> None:
        """Raise OSError when the server cannot even be addressed."""
        self._loop = asyncio.get_running_loop()
        self._timeout_seconds = timeout_seconds
        self._truncated = truncated
        self._flights: dict[int, Flight] = {}
        self._socket = socket.socket(_family(address), socket.SOCK_DGRAM)
        try:
            self._socket.settimeout(0)
            self._socket.connect((address, port))
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket, self._readable)
        self._timer: asyncio.TimerHandle | None = None
        self.left = PER_LANE
        self.is_open = True

    def send(self, question: Question) -> Flight:
        """Send a question off; its flight ends with a message or with silence."""
        number = _unused_id(self._flights)
        flight = Flight(question, self._loop.time() + self._timeout_seconds)
        self._flights[number] = flight
        self.left -= 1
        # A full buffer or a refusal now is a datagram lost: the timer speaks for it.
        with suppress(OSError):
            self._socket.send(number.to_bytes(2) + question.wire)
        if self._timer is None:
            self._timer = self._loop.call_at(flight.deadline, self._expire)
        return flight

    def _readable(self) -> None:
        for _ in range(READS):
            try:
                data = self._socket.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self._end(UNREACHABLE)
                return
            self._receive(data)
            if not self.is_open:
                return

    def _receive(self, data: bytes) -> None:
        number = int.from_bytes(data[:2])
        flight = self._flights.get(number)
        if flight is None:
            return
        result = understood(flight.question, data)
        if result is None:
            return
        del self._flights[number]
        if isinstance(result, Message):
            flight.land(result)
        else:
            self._truncated(flight)
        if not self._flights:
            self._end(FINISHED)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = [number for number, flight in self._flights.items() if flight.deadline <= now]
        for number in late:
            self._flights.pop(number).land(FINISHED)
        if not self._flights:
            self._end(FINISHED)
            return
        self._timer = self._loop.call_at(min(f.deadline for f in self._flights.values()), self._expire)

    def _end(self, silence: Silence) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for flight in self._flights.values():
            flight.land(silence)
        self._flights.clear()


class Server:
    """One name server: the lane in use, what is under way, and how much may be."""

    def __init__(self, address: str, port: int, timeout_seconds: float, at_once: int, room: asyncio.Semaphore) -> None:
        """`room` is what all servers together may have under way, `at_once` what this one may."""
        self._address, self._port, self._timeout_seconds = address, port, timeout_seconds
        self._lane: Lane | None = None
        self._flights: dict[bytes, Flight] = {}
        self._share, self._room = asyncio.Semaphore(at_once), room
        self._streams: set[asyncio.Task[None]] = set()
        self.users = 0

    async def ask(self, question: Question) -> Message | Silence:
        """The server's message, or why there is none."""
        flight = self._flights.get(question.wire)
        if flight is None:
            if self._share.locked() or self._room.locked():
                return await self._ask_in_turn(question)
            # Nobody is in front of us: both are had at once.
            await self._share.acquire()
            await self._room.acquire()
            return await self._fly(question)
        return flight.result or await flight.arrival()

    async def _ask_in_turn(self, question: Question) -> Message | Silence:
        await self._share.acquire()
        try:
            await self._room.acquire()
        except BaseException:
            self._share.release()
            raise
        return await self._fly(question)

    async def _fly(self, question: Question) -> Message | Silence:
        """Send the question off, unless it has left while we stood in the queue; gives both places back."""
        try:
            flight = self._flights.get(question.wire)
            if flight is not None:
                return flight.result or await flight.arrival()
            try:
                flight = self._open_lane().send(question)
            except OSError:
                return UNREACHABLE
            self._flights[question.wire] = flight
            try:
                return await flight.arrival()
            finally:
                if self._flights.get(question.wire) is flight:
                    del self._flights[question.wire]
        finally:
            self._room.release()
            self._share.release()

    def _open_lane(self) -> Lane:
        lane = self._lane
        if lane is None or not lane.is_open or lane.left == 0:
            lane = self._lane = Lane(self._address, self._port, self._timeout_seconds, self._by_stream)
        return lane

    def _by_stream(self, flight: Flight) -> None:
        task = asyncio.get_running_loop().create_task(self._fetch(flight))
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

    async def _fetch(self, flight: Flight) -> None:
        flight.land(await stream(flight.question, self._address, self._port, self._timeout_seconds))


class Exchange:
    """All name servers that are spoken with at present."""

    def __init__(self, ours: tuple[str, ...], *, port: int, timeout_seconds: float) -> None:
        """`ours` are our own recursive servers, to which no politeness is owed."""
        self._ours, self._port, self._timeout_seconds = frozenset(ours), port, timeout_seconds
        self._servers: dict[str, Server] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def ask(self, question: Question, address: str) -> Message | Silence:
        """Ask one server once."""
        server = self._servers.get(address)
        if server is None:
            at_once = AT_ONCE if address in self._ours else POLITE
            server = self._servers[address] = Server(address, self._port, self._timeout_seconds, at_once, self._room)
        server.users += 1
        try:
            return await server.ask(question)
        finally:
            server.users -= 1
            if not server.users:
                self._servers.pop(address, None)


async def stream(question: Question, address: str, port: int, timeout_seconds: float) -> Message | Silence:
    """Ask over TCP, for an answer that does not fit a datagram."""
    number = os.urandom(2)
    query = number + question.wire
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(len(query).to_bytes(2) + query)
            data = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    except TimeoutError:
        return FINISHED
    except (OSError, EOFError) as error:
        return Silence(Outcome.BROKEN if isinstance(error, EOFError) else Outcome.TIMEOUT, type(error).__name__)
    finally:
        if writer is not None:
            writer.close()
    if data[:2] != number:
        return Silence(Outcome.BROKEN, "WRONG-ID")
    try:
        return wire.read(question, data) or library.read(question, data)
    except library.NotOurs as error:
        return Silence(Outcome.BROKEN, str(error))


def understood(question: Question, data: bytes) -> Message | Literal[True] | None:
    """The message; True for one that was cut and must be fetched over TCP; None for what is no answer to us."""
    message = wire.read(question, data)
    if message is not None:
        return message
    if len(data) > wire.HEADER_BYTES and data[2] & TRUNCATED and data[2] & 0x80:
        asked = data[wire.HEADER_BYTES : wire.HEADER_BYTES + len(question.section)]
        return True if asked.lower() == question.section.lower() else None
    try:
        return library.read(question, data)
    except library.NotOurs:
        return None


def _unused_id(taken: dict[int, Flight]) -> int:
    while (number := int.from_bytes(os.urandom(2))) in taken:
        pass
    return number


def _family(address: str) -> socket.AddressFamily:
    try:
        return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET  # noqa: PLR2004  the protocol's number
    except ValueError as error:
        raise OSError(f"not an address: {address}") from error
