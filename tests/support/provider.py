"""The emulated provider in this process: API only, on loopback, with an instant profile."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.hostwinds.admin import Admin
from sandbox.hostwinds.config import EmulatorConfig
from sandbox.hostwinds.protocol import NoHosts
from sandbox.hostwinds.server import Provider, open_listener

ORDER = {"template": "debian-12", "rid": "52", "location_id": "12", "qty": "1", "billingcycle": "monthly"}
TOKEN = "pm-test-t1-01j0"


@dataclass(frozen=True, slots=True)
class Played:
    """A running provider, its admin client, and its wishes to the world."""

    provider: Provider
    admin: Admin
    hosts: NoHosts

    def post(self, action: str, *, key: str | None = None, timeout_seconds: float = 10, **form: Any) -> httpx.Response:
        """Send one form as a plain HTTP client does."""
        fields = {"action": action, "API": key or self.provider.api_key, **form}
        return httpx.post(
            self.provider.url, data=fields, timeout=timeout_seconds, verify=False
        )  # no CA to load for http

    def call(self, action: str, **form: Any) -> Any:
        """Send one form and decode the answer."""
        return self.post(action, **form).json()

    def order(self, label: str = TOKEN, **form: Any) -> Any:
        """Order a server."""
        return self.call("add_instance", **{**ORDER, "srvrname": label, **form})

    def rows(self) -> list[dict[str, Any]]:
        """The account's list of servers."""
        return self.call("get_instances")["success"]

    def wishes(self, what: str) -> list[tuple[str, ...]]:
        """What was asked of the world, by kind of wish, once everything due is done."""
        assert self.admin.settle(20)
        return [wish for wish in self.hosts.wishes if wish[0] == what]


@contextlib.contextmanager
def played_provider(
    folder: Path | None = None, config: EmulatorConfig | None = None, listen: str = "127.0.0.1"
) -> Iterator[Played]:
    """Run a provider for as long as the block lasts; with a folder it keeps its books there."""
    with tempfile.TemporaryDirectory(prefix="pm-") as short:  # a Unix socket's path has little room
        hosts, path = NoHosts(), Path(short) / "admin.sock"
        with Provider(open_listener((listen, 0)), path, hosts, config, folder=folder) as provider:
            yield Played(provider, Admin(path), hosts)
