"""A client of the admin socket, for the demo and for tests."""

import json
import socket
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 120.0


class AdminRefused(RuntimeError):
    """The emulator did not understand a wish; the text says why."""


class Admin:
    """Plays the human in the panel and the fate on the line. Every call is one connection."""

    def __init__(self, socket_path: Path | str) -> None:
        """Take the path that `info.json` names as `admin_socket`."""
        self._path = str(socket_path)

    def ask(self, do: str, **details: Any) -> Any:
        """Send one wish and return its result; AdminRefused when it was no good one."""
        wish = {"do": do, **{name: value for name, value in details.items() if value is not None}}
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(PATIENCE_SECONDS)
            line.connect(self._path)
            line.sendall(json.dumps(wish).encode() + b"\n")
            reply = json.loads(line.makefile("rb").readline())
        if not reply["ok"]:
            raise AdminRefused(reply["error"])
        return reply["result"]

    def fault(
        self,
        name: str,
        *,
        action: str | None = None,
        label: str | None = None,
        times: int | str = 1,
        after: int = 0,
        **options: Any,
    ) -> None:
        """Arm a switch for the next `times` requests (or "forever") after `after` have passed."""
        self.ask("fault", name=name, action=action, label=label, times=times, after=after, **options)

    def clear_faults(self) -> None:
        """Disarm everything, open the door, let go of held answers."""
        self.ask("clear_faults")

    def charges(self, label: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        """Return lines of the bill."""
        return self.ask("charges", label=label, kind=kind)

    def calls(self, action: str | None = None, label: str | None = None) -> list[dict[str, Any]]:
        """Return lines of the request log."""
        return self.ask("calls", action=action, label=label)

    def violations(self) -> list[str]:
        """Return what no run of the product may have caused; empty is well."""
        return self.ask("violations")

    def servers(self, *, gone: bool = False) -> list[dict[str, Any]]:
        """Return our machines as they truly are."""
        return self.ask("servers", gone=gone)

    def buy_ip(self, serviceid: int | str, n: int = 1) -> list[str]:
        """Buy addresses in the panel."""
        return self.ask("buy_ip", serviceid=serviceid, n=n)

    def create_in_panel(self, label: str) -> int:
        """Order a server by hand; its serviceid."""
        return self.ask("create_in_panel", label=label)

    def port25(self, serviceid: int | str, *, open_: bool, direction: str = "out") -> None:
        """Open or close SMTP from (`out`) or to (`in`) a server's main address."""
        self.ask("port25", serviceid=serviceid, open=open_, direction=direction)

    def advance(self, seconds: float) -> None:
        """Let the provider's time pass."""
        self.ask("advance", seconds=seconds)

    def settle(self, timeout_seconds: float = 60.0) -> bool:
        """Wait until everything due is done."""
        return self.ask("settle", timeout_seconds=timeout_seconds)

    def profile(self, name: str, **delays: float) -> None:
        """Take a named set of delays, some of them changed."""
        self.ask("profile", name=name, delays=delays)
