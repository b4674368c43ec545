"""Listens for the API and for the admin switches, and puts the emulator behind both."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from sandbox.hostwinds.config import API_PATH, EmulatorConfig
from sandbox.hostwinds.deeds import carry_out
from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.model import Deed
from sandbox.hostwinds.protocol import Hosts
from sandbox.hostwinds.requests import Request
from sandbox.hostwinds.switchboard import Switchboard

GLANCE_SECONDS = 0.1  # between looks at whether to stop or to listen again
BACKLOG = 64


def open_listener(address: tuple[str, int]) -> socket.socket:
    """Open a listening TCP socket in this thread's network.

    Port 0 is settled first and then asked for by number: only such a port stays ours while the door is shut.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    if address[1] == 0:
        with socket.create_server(address, family=family) as scout:
            address = (address[0], scout.getsockname()[1])
    return socket.create_server(address, family=family, backlog=BACKLOG)


class Front:
    """The API's door. It can be shut, so that connections are refused, and opened again at the same address."""

    def __init__(self, emulator: Emulator, listener: socket.socket) -> None:
        """Take a listening socket, which may live in another network; serving begins with `start`."""
        self.emulator = emulator
        self.released = threading.Event()
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._listener = listener
        self._shut_until: float | None = None  # None: open
        self._stopped = False
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._serve, name="front", daemon=True)

    def start(self) -> None:
        """Begin to take connections."""
        self._thread.start()

    def stop(self) -> None:
        """Close the door and every connection."""
        self._stopped = True
        self.released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        self._hang_up()

    def shut(self, seconds: float | None) -> None:
        """Refuse connections for a time, or until `open_again`; existing ones are closed."""
        if self._shut_until is None:
            # Linux keeps the bound port of a listener that was shut down, and lets it listen again.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._shut_until = time.monotonic() + seconds if seconds is not None else float("inf")
        self._hang_up()

    def open_again(self) -> None:
        """Take connections again, and let go of every answer that is held back."""
        self.released.set()
        self.released = threading.Event()
        if self._shut_until is not None:
            self._listener.listen(BACKLOG)
            self._shut_until = None

    def _serve(self) -> None:
        self._listener.settimeout(GLANCE_SECONDS)
        while not self._stopped:
            if self._shut_until is None:
                self._admit()
            elif time.monotonic() >= self._shut_until:
                self.open_again()
            else:
                time.sleep(GLANCE_SECONDS)
        self._listener.close()

    def _admit(self) -> None:
        with contextlib.suppress(OSError):  # a glance without a caller, or a door that was shut meanwhile
            connection, peer = self._listener.accept()
            connection.settimeout(None)
            threading.Thread(target=self._answer, args=(connection, peer), daemon=True).start()

    def _answer(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        self._connections.add(connection)
        try:
            with contextlib.suppress(OSError):
                Request(connection, peer, self)  # pyright: ignore[reportArgumentType] - stands in for the library's server
        finally:
            self._connections.discard(connection)
            connection.close()

    def _hang_up(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Provider:
    """A running emulator: its API address, its admin socket, and an end. A context manager."""

    def __init__(
        self,
        listener: socket.socket,
        admin_socket: Path,
        hosts: Hosts,
        config: EmulatorConfig | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        """Serve at once. `folder` None keeps nothing."""
        self.emulator = Emulator(hosts, config, folder=folder)
        self.front = Front(self.emulator, listener)
        self.switchboard = Switchboard(self.emulator, self.front, admin_socket)
        self.emulator.start(self._carry_out)
        self.front.start()
        self.switchboard.start()

    @property
    def url(self) -> str:
        """Where the API answers."""
        host, port = self.front.address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{API_PATH}"

    @property
    def api_key(self) -> str:
        """The key of our account."""
        return self.emulator.books.accounts["ours"].api_key

    def stop(self) -> None:
        """End everything; what is not done yet is in the books."""
        self.front.stop()
        self.switchboard.stop()
        self.emulator.stop()

    def __enter__(self) -> Self:
        """Serve already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _carry_out(self, deed: Deed, again: bool) -> None:
        carry_out(self.emulator, deed, again)


def serve(
    listener: socket.socket,
    admin_socket: Path,
    hosts: Hosts,
    config: EmulatorConfig | None = None,
    *,
    folder: Path | None = None,
    tell: Callable[[Provider], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; from the main thread only. The books lie beside the admin socket by default."""
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with Provider(listener, admin_socket, hosts, config, folder=folder or admin_socket.parent) as provider:
        if tell:
            tell(provider)
        ended.wait()
