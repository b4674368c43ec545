"""Logins that stay open for a moment after their use, for whoever comes next to the same door."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from pydantic import SecretStr

from providers.ssh.link import Link


@dataclass(frozen=True, slots=True)
class Door:
    """Where and as whom: only the very same login at the very same pinned server is taken again."""

    address: IPv4Address
    port: int
    user: str
    private_key: SecretStr
    host_key: str


class Kept:
    """At most one open login a door; one that nobody took in time is closed."""

    def __init__(self, close: Callable[[Link], object], seconds: float) -> None:
        """`close` ends a login without waiting for it; `seconds` is how long one waits for its next use."""
        self._close = close
        self._seconds = seconds
        self._idle: dict[Door, tuple[Link, asyncio.TimerHandle]] = {}

    def take(self, door: Door) -> Link | None:
        """The login that waits at a door; from now on it is the caller's alone."""
        link, timer = self._idle.pop(door, (None, None))
        if timer is not None:
            timer.cancel()
        return link

    def keep(self, door: Door, link: Link) -> None:
        """Let a login wait; where another one waits already, that one ends."""
        self.drop(door)
        self._idle[door] = link, asyncio.get_running_loop().call_later(self._seconds, self.drop, door)

    def drop(self, door: Door) -> None:
        """End the login that waits at a door, if any."""
        if link := self.take(door):
            self._close(link)

    def drop_all(self) -> None:
        """End every login that waits."""
        for door in tuple(self._idle):
            self.drop(door)
