"""One world: raised, used and taken down; any process may attach to it while it runs."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.blocklists import LISTS, Blocklists, with_lists
from sandbox.certificates import Authority
from sandbox.emulation import admin_socket, api_url, start_emulator
from sandbox.environment import Info
from sandbox.hosts import HostPlan, NspawnHosts
from sandbox.images import Images, ensure_images
from sandbox.network import (
    AUTHORITATIVE,
    CONTROL,
    RESOLVER,
    SERVER_NETWORK,
    Network,
    addresses_of,
)
from sandbox.pebble import Pebble, directory
from sandbox.prerequisites import raise_limits
from sandbox.receivers import KINDS, Receiver, providers
from sandbox.state import DEFAULT_WORLD, State, write_whole
from sandbox.teardown import is_whole, take_down
from sandbox.zones import UpdateKey, Zones, first_zones

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from sandbox.zones import Replacement

JOURNAL = "journalctl --no-pager -o short-iso -b"
MAIL_LOG = "[ ! -e /var/log/mail.log ] || { echo --- mail.log; cat /var/log/mail.log; }"


class NotUp(RuntimeError):
    """There is no finished world of this name."""


class World:
    """A running world and everything that may be done to it."""

    def __init__(self, state: State, images: Callable[[], Images], key: UpdateKey, passwords: dict[str, str]) -> None:
        """Take what `up` or `attach` found out; use those."""
        self.state = state
        self.network = Network(state)
        self.authority = Authority(state.folder / "certificates")
        self.hosts = NspawnHosts(state, self.network, images)
        self.zones = Zones(self.hosts, self.network, key)
        self.pebble = Pebble(self.hosts, self.authority, state.folder / "certificates" / "trust.crt")
        self.blocklists = Blocklists(self.hosts, state.folder)
        self._receivers = {one.domain: Receiver(self.hosts, self.network, one) for one in providers(passwords)}

    @classmethod
    def up(cls, name: str = DEFAULT_WORLD, *, emulator: bool = True, say: Callable[[str], None] = print) -> World:
        """Raise a world, or attach to it when it is up already; what a dead run left is removed first."""
        state = State(name)
        images = ensure_images()
        with state.alone():
            if is_whole(state):
                say(f"world {name} is up already")
                return cls.attach(state.folder)
            if state.left_over or state.folder.exists():
                say(f"world {name}: removing what an earlier run left")
                take_down(state, say)
            world = cls(state, lambda: images, UpdateKey.fresh(), {one: secrets.token_urlsafe(12) for one in KINDS})
            world._raise(images, emulator=emulator, say=say)
            return world

    @classmethod
    def attach(cls, state_dir: Path | str) -> World:
        """Open a running world from its folder; raise NotUp when it is not up."""
        folder = Path(state_dir)
        try:
            kept = json.loads((folder / "world.json").read_text())
        except FileNotFoundError as error:
            raise NotUp(f"no world in {folder}: python -m sandbox up") from error
        layers = {layer: Path(path) for layer, path in kept["images"]["layers"].items()}
        images = Images(Path(kept["images"]["base"]), layers, Path(kept["images"]["repository"]))
        return cls(State(kept["world"], folder), lambda: images, UpdateKey(**kept["tsig"]), kept["passwords"])

    @property
    def info(self) -> dict[str, Any]:
        """What info.json says; raise NotUp while it is not written."""
        try:
            return json.loads((self.state.folder / "info.json").read_text())
        except FileNotFoundError as error:
            raise NotUp(f"world {self.state.world} is not up") from error

    @staticmethod
    def down_named(name: str = DEFAULT_WORLD, *, say: Callable[[str], None] = print) -> None:
        """Remove everything a world made, whether it was finished or not; safe to repeat."""
        state = State(name)
        with state.alone():
            take_down(state, say)

    def down(self, say: Callable[[str], None] = print) -> None:
        """Remove everything this world made; safe to repeat."""
        with self.state.alone():
            take_down(self.state, say)

    def create_host(
        self,
        name: str,
        addresses: Sequence[str],
        *,
        image: str = "bare",
        hostname: str,
        root_password: str,
        disk_mb: int | None = None,
    ) -> None:
        """Boot a server with the provider's root password; returns at the SSH banner, before boot has finished."""
        plan = HostPlan(name, addresses_of(addresses), image, hostname, root_password, disk_mb)
        try:
            self.hosts.create(plan)
        except (OSError, RuntimeError):
            if self.hosts.state.find("host", name) and not self.hosts.running(name):
                self.hosts.destroy(name)
            raise

    def destroy_host(self, name: str) -> None:
        """Remove a server and its disk; gone already is well."""
        self.hosts.destroy(name)

    def restart_host(self, name: str) -> None:
        """Cut a server's power and boot it again with nothing on eth0 but what it was created with."""
        self.hosts.restart(name)

    def exec(
        self, host: str, script: str, stdin: bytes = b"", timeout_seconds: float = 120.0
    ) -> tuple[int, bytes, bytes]:
        """Run a shell script on a host past SSH; returns code, output, complaints."""
        done = self.hosts.execute(host, script, stdin, timeout_seconds)
        return done.code, done.out, done.err

    def dns_update(
        self, zone: str, replace: Iterable[Replacement] = (), delete: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Play a tenant's DNS panel: set (owner, type, values) and drop (owner, type)."""
        self.zones.update(zone, replace, delete)

    def add_zone(self, zone: str) -> None:
        """Serve one more zone."""
        self.zones.add(zone)

    def set_ptr(self, address: str, name: str | None) -> None:
        """Set an address's reverse name, or remove it."""
        self.zones.set_ptr(IPv4Address(address), name)

    def receiver(self, domain: str) -> Receiver:
        """Return a receiving provider by its domain; KeyError when there is none."""
        return self._receivers[domain]

    def list_address(self, ip: str, zone: str, code: str = "127.0.0.2") -> None:
        """Put an address on a blocklist: a zone of the receivers, or one of the product's lists by its name."""
        if zone in LISTS:
            self.blocklists.put(zone, ip, code)
            return
        self.zones.list_address(IPv4Address(ip), zone, code)

    def delist(self, ip: str, zone: str) -> None:
        """Take an address off a blocklist."""
        if zone in LISTS:
            self.blocklists.take_off(zone, ip)
            return
        self.zones.delist(IPv4Address(ip), zone)

    def block_port25(self, address: str, direction: str, on: bool) -> None:
        """Drop an address's SMTP on the switch; direction is `out` or `in`."""
        if direction not in {"out", "in"}:
            raise ValueError(f"direction is out or in, got {direction!r}")
        self.network.fault(f"no_port25_{direction}", IPv4Address(address), on=on)

    def route_address(self, name: str, address: str, on: bool) -> None:
        """Carry an address of a server over the switch, or drop all that concerns it."""
        del name  # addresses are unique in a world; the name is for whoever reads the call
        self.network.fault("not_routed", IPv4Address(address), on=not on)

    def logs(self, host: str) -> str:
        """Collect a host's console, journal and mail log."""
        console = self.state.host_folder(host) / "console.log"
        text = f"--- console\n{console.read_text(errors='replace')}" if console.exists() else ""
        if self.hosts.running(host):
            text += "--- journal\n" + self.exec(host, f"{JOURNAL}; {MAIL_LOG}")[1].decode(errors="replace")
        return text

    @contextlib.contextmanager
    def enter_control(self) -> Generator[None]:
        """Move this thread into the control room."""
        with self.network.enter_control():
            yield

    def _raise(self, images: Images, *, emulator: bool, say: Callable[[str], None]) -> None:
        started = time.monotonic()

        def tell(what: str) -> None:
            say(f"{time.monotonic() - started:6.2f} s  {what}")

        self._keep(images)
        raised = raise_limits()
        if raised:
            tell(raised)
        self.network.make()
        tell(f"network: control room {self.network.control} at {CONTROL}, no uplink")
        self.authority.make()
        tell(f"certificate authority {self.authority.certificate_file}")
        with ThreadPoolExecutor(4) as workers:
            pending = [workers.submit(self._make_dns, tell)]
            pending += [workers.submit(self._make_receiver, receiver, tell) for receiver in self._receivers.values()]
            for one in pending:
                one.result()
        api_key = secrets.token_hex(16)
        if emulator:
            start_emulator(self.state, api_key)
            tell(f"Hostwinds emulator {api_url()}")
        write_whole(self.state.folder / "info.json", self._info(api_key).as_json(), 0o600)
        tell(f"world {self.state.world} is up: {self.state.folder}/info.json")

    def _make_dns(self, tell: Callable[[str], None]) -> None:
        receivers = {one.provider.domain: one.provider.records() for one in self._receivers.values()}
        pointers = [record for one in self._receivers.values() for record in one.provider.pointers()]
        self.zones.make(with_lists(first_zones(receivers, pointers)), self.pebble.prepare)
        self.pebble.refresh_trust()
        tell(f"host dns: resolver {RESOLVER}, authoritative {AUTHORITATIVE}, ACME authority {directory()}")

    def _make_receiver(self, receiver: Receiver, tell: Callable[[str], None]) -> None:
        receiver.make(self.authority)
        addresses = ", ".join(map(str, receiver.provider.addresses))
        tell(f"host {receiver.provider.host}: mail for {receiver.provider.domain} at {addresses}")

    def _keep(self, images: Images) -> None:
        """Write what `attach` needs, before anything is made."""
        self.state.folder.mkdir(parents=True, exist_ok=True)
        layers = {layer: str(path) for layer, path in images.layers.items()}
        kept = {
            "world": self.state.world,
            "images": {"base": str(images.base), "layers": layers, "repository": str(images.repository)},
            "tsig": asdict(self.zones.key),
            "passwords": {one.provider.host: one.provider.password for one in self._receivers.values()},
        }
        write_whole(self.state.folder / "world.json", json.dumps(kept), 0o600)

    def _info(self, api_key: str) -> Info:
        folder = self.state.folder
        ca_file = self.authority.certificate_file
        receivers = [one.provider for one in self._receivers.values()]
        return Info(
            world=self.state.world,
            api_url=api_url(),
            api_key=api_key,
            admin_socket=str(admin_socket(self.state)),
            resolver=str(RESOLVER),
            authoritative=str(AUTHORITATIVE),
            tsig=asdict(self.zones.key),
            ca_file=str(ca_file),
            ca_key_file=str(self.authority.key_file),
            trust_file=str(self.pebble.trust_file),
            acme_directory=directory(),
            control_namespace=self.network.control,
            log_dir=str(folder / "hosts"),
            state_dir=str(folder),
            receivers=[one.described(ca_file) for one in receivers],
            port25_probe_hosts=list(receivers[0].mx_names),
            server_networks=[str(SERVER_NETWORK)],
            template="debian-12",
            rid="1",
            location_id="1",
        )
