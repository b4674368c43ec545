"""The emulated Hostwinds for the flows: its API on loopback, servers that stay in the making, a gate on the line."""

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from sandbox.hostwinds.admin import Admin
from sandbox.hostwinds.config import EmulatorConfig
from tests.support.provider import Played, played_provider

BUILDING_SECONDS = 36_000.0
ACTION = re.compile(rb"(?:^|\n|&)action=([a-z_]+)")


class Gate:
    """Passes bytes on to the API, counts requests by action, and can hold one back so that it does not arrive."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._wanted: tuple[bytes, int] | None = None
        self._counts: Counter[bytes] = Counter()
        self._go_on = threading.Event()
        self.held = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._admit, daemon=True).start()

    def hold(self, action: str, *, after: int = 0) -> None:
        """A request for this action stops here, once `after` of them have passed."""
        self.held.clear()
        self._go_on.clear()
        self._wanted = (action.encode(), self._counts[action.encode()] + after)

    def release(self) -> None:
        """What is held goes on."""
        self._go_on.set()

    def seen(self, action: str) -> int:
        """How many requests for this action came by, held ones included."""
        return self._counts[action.encode()]

    def close(self) -> None:
        """No more callers."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _admit(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(caller,), daemon=True).start()

    def _relay(self, caller: socket.socket) -> None:
        with closing(caller), suppress(OSError), socket.create_connection(self._target) as api:
            threading.Thread(target=self._pass_back, args=(api, caller), daemon=True).start()
            while chunk := caller.recv(65536):
                if (named := ACTION.search(chunk)) and self._stops(named[1]) and not self._released(caller):
                    return
                api.sendall(chunk)

    def _stops(self, action: bytes) -> bool:
        wanted = (action, self._counts[action]) == self._wanted
        self._counts[action] += 1
        return wanted

    def _released(self, caller: socket.socket) -> bool:
        """Hold until told to go on; False when the caller is gone before."""
        self.held.set()
        caller.settimeout(0.05)
        while not self._go_on.is_set():
            with suppress(TimeoutError):
                if not caller.recv(1, socket.MSG_PEEK):
                    return False
        caller.settimeout(None)
        return True

    def _pass_back(self, api: socket.socket, caller: socket.socket) -> None:
        with suppress(OSError):
            while chunk := api.recv(65536):
                caller.sendall(chunk)
            caller.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Emulated:
    """A running provider as the flows see it and as its panel shows it."""

    played: Played
    gate: Gate

    @property
    def admin(self) -> Admin:
        """The panel and the fate on the line."""
        return self.played.admin

    @property
    def url(self) -> str:
        """Where the flows call: through the gate."""
        return f"http://127.0.0.1:{self.gate.port}/cloud/api.php"

    def bought(self) -> int:
        """Servers that were charged."""
        return len(self.admin.charges(kind="server"))

    def orders(self) -> int:
        """Orders that arrived."""
        return len(self.admin.calls("add_instance"))

    def server(self) -> dict[str, Any]:
        """The one server there is."""
        (server,) = self.admin.servers()
        return server


@contextmanager
def emulated_provider(config: EmulatorConfig | None = None) -> Iterator[Emulated]:
    with played_provider(config=config) as played:
        played.admin.profile("instant", active_after=BUILDING_SECONDS)
        gate = Gate(played.provider.front.address)
        yield Emulated(played, gate)
        gate.close()


@pytest.fixture
def hostwinds() -> Iterator[Emulated]:
    """A provider whose servers take ten hours to build, unless time is advanced."""
    with emulated_provider() as running:
        yield running
        assert running.admin.violations() == []


def until(true: Callable[[], object], what: str, seconds: float = 30, pause: float = 0.01) -> None:
    """Wait for something that another process or thread makes true; never a statement about speed."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(pause)
