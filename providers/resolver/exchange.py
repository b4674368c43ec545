"""Questions on their way to any number of servers, each as a flight that ends with a message or with silence.

Questions that are alike and under way at the same time travel once. No server has more than a polite number of them at
a time, nor have all together more than we can hold; what finds no place waits in a queue until one comes free.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from providers.resolver.lane import CUT, UNREACHABLE, Flight, Heard, Lane, Waiter
from providers.resolver.nouns import Question
from providers.resolver.streaming import stream

AT_ONCE: Final = 500  # questions under way in all; each may need a socket
OURS: Final = 100  # at one server of ours: a usual socket's buffer holds some 160, and what does not fit is lost
POLITE: Final = 16  # at one server that is not ours


LandedAt = Callable[["Server", Flight, Heard], None]


class Server:
    """One name server: the lane in use, what is under way, and what waits for its turn."""

    def __init__(self, address: str, port: int, timeout_seconds: float, at_once: int, landed: LandedAt) -> None:
        """`at_once` is how many questions it may have at a time."""
        self.address, self._port, self._timeout_seconds = address, port, timeout_seconds
        self._landed = partial(landed, self)
        self._lane: Lane | None = None
        self._streams: set[asyncio.Task[None]] = set()
        self.flights: dict[bytes, Flight] = {}  # queued ones too
        self.queue: deque[Flight] = deque()
        self.free = at_once

    def send(self, flight: Flight) -> None:
        """Send a question off by the lane in use, or by a new one."""
        if self._lane is None or not self._lane.has_room:
            try:
                self._lane = Lane(self.address, self._port, self._timeout_seconds, self._land)
            except OSError:
                # Soon, not now: whoever sends from a queue would come back to it in the middle.
                asyncio.get_running_loop().call_soon(self._landed, flight, UNREACHABLE)
                return
        self._lane.send(flight)

    def _land(self, flight: Flight, heard: Heard) -> None:
        if heard is not CUT:
            self._landed(flight, heard)
            return
        task = asyncio.get_running_loop().create_task(self._fetch(flight))
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

    async def _fetch(self, flight: Flight) -> None:
        self._landed(flight, await stream(flight.question, self.address, self._port, self._timeout_seconds))


class Exchange:
    """All name servers that are spoken with at present."""

    def __init__(
        self, ours: tuple[str, ...], *, port: int, timeout_seconds: float, at_once: int = AT_ONCE, polite: int = POLITE
    ) -> None:
        """`ours` are our own recursive servers, to which no politeness is owed."""
        self._ours, self._port, self._timeout_seconds = frozenset(ours), port, timeout_seconds
        self._at_once, self._polite = at_once, polite
        self._servers: dict[str, Server] = {}
        self._queue: deque[tuple[Server, Flight]] = deque()
        self._free = at_once

    def ask(self, question: Question, address: str) -> Waiter:
        """Ask one server once; the future of its message, or of why there is none. It costs no task."""
        server = self._servers.get(address) or self._met(address)
        waiter = Waiter()
        if (flight := server.flights.get(question.wire)) is not None:
            flight.waiters.append(waiter)
        else:
            flight = server.flights[question.wire] = Flight(question, [waiter])
            self._depart(server, flight)
        return waiter

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way or waits."""
        return bool(self._servers) or bool(self._queue) or self._free < self._at_once

    def _met(self, address: str) -> Server:
        at_once = OURS if address in self._ours else self._polite

        server = self._servers[address] = Server(address, self._port, self._timeout_seconds, at_once, self._land)
        return server

    def _depart(self, server: Server, flight: Flight) -> None:
        if not server.free:
            server.queue.append(flight)
        elif not self._free:
            self._queue.append((server, flight))
        else:
            server.free -= 1
            self._free -= 1
            server.send(flight)

    def _land(self, server: Server, flight: Flight, heard: Heard) -> None:
        """Tell everybody, and give both places to who waited longest."""
        server.free += 1
        self._free += 1
        self._forget(server, flight)
        flight.land(heard)
        self._move_up(server)
        while self._queue and self._free:
            following, waiting = self._queue.popleft()
            if waiting.is_awaited:
                self._depart(following, waiting)
            else:
                self._forget(following, waiting)
                self._move_up(following)

    def _move_up(self, server: Server) -> None:
        if server.queue:
            self._queue.append((server, server.queue.popleft()))

    def _forget(self, server: Server, flight: Flight) -> None:
        del server.flights[flight.question.wire]
        if not server.flights:
            self._servers.pop(server.address, None)
