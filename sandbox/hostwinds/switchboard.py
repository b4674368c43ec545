"""The admin socket: one line of JSON in, one line of JSON out; never on the API's port."""

import contextlib
import json
import socketserver
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, cast

from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.faults import Fault
from sandbox.hostwinds.hooks import HOOKS

GLANCE_SECONDS = 0.02  # between looks at whether to stop
WORDS = frozenset({"do", "name", "action", "label", "times", "after"})


class Door(Protocol):
    """The API's listener, as far as it can be shut."""

    def shut(self, seconds: float | None) -> None:
        """Refuse connections."""
        ...

    def open_again(self) -> None:
        """Take connections, release held answers."""
        ...


class Switchboard:
    """Answers on a Unix socket that only its owner may open."""

    def __init__(self, emulator: Emulator, door: Door, path: Path) -> None:
        """Listen at `path`; what an earlier run left there is replaced."""
        self._emulator = emulator
        self._door = door
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        switchboard = self

        class Line(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    for line in self.rfile:
                        self.wfile.write(switchboard.answer(line))

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Line)
        self._server.daemon_threads = True
        path.chmod(0o600)
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(GLANCE_SECONDS,), name="admin", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End, and take the socket away."""
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)

    def answer(self, line: bytes) -> bytes:
        """Do what one line asks; a mistake in it is answered, never raised."""
        try:
            wish = cast("Mapping[str, Any]", json.loads(line))
            reply: dict[str, Any] = {"ok": True, "result": self._obey(wish)}
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            reply = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        return json.dumps(reply).encode() + b"\n"

    def _obey(self, wish: Mapping[str, Any]) -> Any:
        match wish["do"]:
            case "fault":
                return self._arm(wish)
            case "faults":
                return [asdict(fault) for fault in self._emulator.faults.armed()]
            case "clear_faults":
                self._emulator.faults.clear()
                return self._door.open_again()
            case "advance":
                return self._emulator.push_clock(float(wish["seconds"]))
            case "settle":
                return self._emulator.settle(float(wish.get("timeout_seconds", 60)))
            case _:
                return self._hook(wish)

    def _hook(self, wish: Mapping[str, Any]) -> Any:
        if wish["do"] not in HOOKS:
            raise ValueError(f"nothing is called {wish['do']!r}")
        with self._emulator.lock:
            result = HOOKS[wish["do"]](self._emulator, wish)
            self._emulator.save()
            return result

    def _arm(self, wish: Mapping[str, Any]) -> None:
        options = {name: value for name, value in wish.items() if name not in WORDS}
        times = wish.get("times", 1)
        fault = Fault(
            wish["name"],
            wish.get("action"),
            wish.get("label"),
            None if times == "forever" else int(times),
            int(wish.get("after", 0)),
            options,
        )
        if fault.name == "refuse_connect":
            self._door.shut(options.get("seconds"))
        else:
            self._emulator.faults.arm(fault)
