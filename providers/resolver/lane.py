"""One socket to one name server, and the questions that are under way on it.

It is connected, so only its server can answer; it serves few questions, each under an id that it never uses again, and
then makes way for one with another port. So a guesser has to hit port, id and question at once.
"""

import asyncio
import os
import socket
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import takewhile
from typing import Final

from providers.resolver import library, wire
from providers.resolver.bursts import send_all
from providers.resolver.nouns import Message, Outcome, Question, Silence

PER_LANE: Final = 256  # questions that leave by one port
READS: Final = 64  # datagrams read before others get their turn
DATAGRAM_BYTES: Final = 4096
TRUNCATED: Final = 0x02  # in the third octet
ANSWERS: Final = 0x80  # there too
FINISHED: Final = Silence(Outcome.TIMEOUT, "TIMEOUT")
UNREACHABLE: Final = Silence(Outcome.TIMEOUT, "UNREACHABLE")
CUT: Final = Silence(Outcome.BROKEN, "TRUNCATED")  # to be fetched over TCP

Heard = Message | Silence
Waiter = asyncio.Future[Heard]


@dataclass(slots=True, eq=False)
class Flight:
    """One question to one server, in the queue or under way, and all who wait for its answer."""

    question: Question
    waiters: list[Waiter] = field(default_factory=list[Waiter])
    deadline: float = 0.0

    def land(self, heard: Heard) -> None:
        """Tell everybody; a cancelled waiter disturbs nobody else."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(heard)

    @property
    def is_awaited(self) -> bool:
        """Whether anybody still wants to know."""
        return not all(map(Waiter.done, self.waiters))


Landed = Callable[[Flight, Heard], None]


async def all_of(waiters: Sequence[Waiter]) -> None:
    """Wait for all, from the last: once that has its answer so have most, and one wake-up does instead of many."""
    for waiter in reversed(waiters):
        await waiter


class Lane:
    """A socket that closes itself when nothing is under way on it."""

    def __init__(self, address: str, port: int, timeout_seconds: float, landed: Landed) -> None:
        """Raise OSError when the server cannot even be addressed; `landed` hears the end of each flight once."""
        self._loop = asyncio.get_running_loop()
        self._timeout_seconds = timeout_seconds
        self._landed = landed
        self._flights: dict[int, Flight] = {}
        self._numbers = list(dict.fromkeys(array("H", os.urandom(2 * PER_LANE))))
        self._socket = socket.socket(_family(address), socket.SOCK_DGRAM)
        try:
            self._socket.settimeout(0)
            self._socket.connect((address, port))
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket, self._readable)
        self._timer: asyncio.TimerHandle | None = None
        self._leaving: list[bytes] = []
        self._is_open = True

    @property
    def has_room(self) -> bool:
        """Whether one more question may leave by this port."""
        return self._is_open and bool(self._numbers)

    def send(self, flight: Flight) -> None:
        """Send a question off; its flight ends with a message or with silence."""
        number = self._numbers.pop()
        flight.deadline = self._loop.time() + self._timeout_seconds
        self._flights[number] = flight
        if self._timer is None:
            self._timer = self._loop.call_at(flight.deadline, self._expire)
        if not self._leaving:
            self._loop.call_soon(self._depart)
        self._leaving.append(number.to_bytes(2) + flight.question.wire)

    def _depart(self) -> None:
        """Send what has gathered since the loop's last turn; what is lost on the way the timer speaks for."""
        leaving, self._leaving = self._leaving, []
        if self._is_open:
            send_all(self._socket, leaving)

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
            if not self._is_open:
                return

    def _receive(self, data: bytes) -> None:
        number = int.from_bytes(data[:2])
        flight = self._flights.get(number)
        if flight is None or (heard := understood(flight.question, data)) is None:
            return
        del self._flights[number]
        self._landed(flight, heard)
        if not self._flights:
            self._end(FINISHED)

    def _expire(self) -> None:
        """One timer for all: who left first is late first."""
        self._timer = None
        now = self._loop.time()
        late = list(takewhile(lambda number: self._flights[number].deadline <= now, self._flights))
        flights = [self._flights.pop(number) for number in late]
        if self._flights:
            self._timer = self._loop.call_at(next(iter(self._flights.values())).deadline, self._expire)
        for flight in flights:
            self._landed(flight, FINISHED)
        if not self._flights:
            self._end(FINISHED)

    def _end(self, silence: Silence) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        flights, self._flights = self._flights, {}
        for flight in flights.values():
            self._landed(flight, silence)


def understood(question: Question, data: bytes) -> Heard | None:
    """The message; CUT for one that must be fetched over TCP; None for what is no answer to us."""
    message = wire.read(question, data)
    if message is not None:
        return message
    if len(data) > wire.HEADER_BYTES and data[2] & TRUNCATED and data[2] & ANSWERS:
        asked = data[wire.HEADER_BYTES : wire.HEADER_BYTES + len(question.section)]
        return CUT if asked.lower() == question.section.lower() else None
    try:
        return library.read(question, data)
    except library.NotOurs:
        return None


def _family(address: str) -> socket.AddressFamily:
    try:
        return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET  # noqa: PLR2004  the protocol's number
    except ValueError as error:
        raise OSError(f"not an address: {address}") from error
