"""Network namespaces on one bridge that has no uplink: what is not of this world is unreachable at once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import threading
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.commands import attempt, run
from sandbox.identity import as_owner, room_owner

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from sandbox.state import State

NETWORKS = (IPv4Network("198.51.100.0/24"), IPv4Network("203.0.113.0/24"))  # RFC 5737
SERVER_NETWORK = NETWORKS[0]
CONTROL = IPv4Address("203.0.113.10")
RESOLVER = IPv4Address("203.0.113.53")
AUTHORITATIVE = IPv4Address("203.0.113.54")
SWITCH_NAME, CONTROL_NAME = "sw", "ctl"
PORT_NAME_LENGTH = 15  # IFNAMSIZ - 1, linux/if.h
CLONE_NEWNET = 0x40000000  # setns(2)
RESOLV_CONF = f"nameserver {RESOLVER}\noptions timeout:1 attempts:2\n"
NETWORK_FILE = "etc/systemd/network/10-eth0.network"
_libc = ctypes.CDLL(None, use_errno=True)
# Faults of the network: each set holds addresses, each rule drops what concerns them.
SWITCH_RULES = """
table bridge world {
  set no_port25_out { type ipv4_addr; }
  set no_port25_in { type ipv4_addr; }
  set not_routed { type ipv4_addr; }
  chain faults {
    type filter hook forward priority 0; policy accept;
    ip saddr @no_port25_out tcp dport 25 drop
    ip daddr @no_port25_in tcp dport 25 drop
    ip saddr @not_routed drop
    ip daddr @not_routed drop
    arp saddr ip @not_routed drop
    arp daddr ip @not_routed drop
  }
}
"""


def mac_of(address: IPv4Address) -> str:
    """Derive a hardware address, so that a host rebuilt on its old address meets no stale ARP entry."""
    return ":".join(f"{octet:02x}" for octet in (2, 0, *address.packed))


def port_of(name: str) -> str:
    """Name the switch's end of a host's cable."""
    return f"p{name}"[:PORT_NAME_LENGTH]


def cable_commands(name: str, namespace: str) -> str:
    """Batch for the switch: a cable to the host, plugged into the bridge."""
    port = port_of(name)
    return f"link add name {port} type veth peer name eth0 netns {namespace}\nlink set {port} master br0 up\n"


def eth0_commands(addresses: Sequence[IPv4Address]) -> str:
    """Batch for the host's namespace: both networks on link, no default route.

    The broadcast address is the one systemd-networkd would set: with another, version 252 asks for it without end.
    """
    lines = ["link set lo up", f"link set eth0 address {mac_of(addresses[0])}"]
    lines += [f"addr add {address}/24 brd + dev eth0" for address in addresses]
    lines += ["link set eth0 up"]
    lines += [f"route replace {network} dev eth0 src {addresses[0]}" for network in _beyond(addresses[0])]
    return "\n".join(lines) + "\n"


def network_file(addresses: Sequence[IPv4Address]) -> str:
    """Write the provider's systemd-networkd file for eth0; drop-in files beside it add to it (SB-A10)."""
    lines = ["[Match]", "Name=eth0", "", "[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    lines += [f"Address={address}/24" for address in addresses]
    for network in _beyond(addresses[0]):
        lines += ["", "[Route]", f"Destination={network}", "Scope=link", f"PreferredSource={addresses[0]}"]
    return "\n".join(lines) + "\n"


def _beyond(address: IPv4Address) -> list[IPv4Network]:
    """List the networks of the world that an address does not lie in."""
    return [network for network in NETWORKS if address not in network]


class Network:
    """The switch and the control room of one world; hosts bring their own namespaces."""

    def __init__(self, state: State) -> None:
        """Take the world's names; nothing is made yet."""
        self.state = state
        self.switch = state.namespace(SWITCH_NAME)
        self.control = state.namespace(CONTROL_NAME)

    def make(self) -> None:
        """Make the switch with its fault rules, and the control room on it."""
        self.add_namespace(SWITCH_NAME)
        run("ip", "-n", self.switch, "-batch", "-", stdin=b"link add name br0 type bridge\nlink set br0 up\n")
        run("ip", "netns", "exec", self.switch, "nft", "-f", "-", stdin=SWITCH_RULES.encode())
        self.add_namespace(CONTROL_NAME)
        run("ip", "-n", self.switch, "-batch", "-", stdin=cable_commands(CONTROL_NAME, self.control).encode())
        run("ip", "-n", self.control, "-batch", "-", stdin=eth0_commands([CONTROL]).encode())
        if room_owner():
            return  # the whole room asks the resolver of its worlds, and /etc is not ours
        resolv_conf = Path("/etc/netns", self.control, "resolv.conf")
        resolv_conf.parent.mkdir(parents=True, exist_ok=True)
        resolv_conf.write_text(RESOLV_CONF)

    def add_namespace(self, name: str) -> None:
        """Make one namespace, noted first."""
        self.state.note("namespace", name)
        run("ip", "netns", "add", self.state.namespace(name))

    def remove_namespace(self, name: str) -> None:
        """Remove one namespace and what belongs to it; gone already is well."""
        namespace = self.state.namespace(name)
        attempt("ip", "-n", self.switch, "link", "del", port_of(name))
        attempt("ip", "netns", "del", namespace)
        shutil.rmtree(Path("/etc/netns", namespace), ignore_errors=True)
        self.state.forget("namespace", name)

    def fault(self, name: str, address: IPv4Address, *, on: bool) -> None:
        """Put an address into one of the switch's fault sets, or take it out; safe to repeat."""
        element = f"add element bridge world {name} {{ {address} }}\n"
        change = element if on else element + element.replace("add", "delete", 1)
        run("ip", "netns", "exec", self.switch, "nft", "-f", "-", stdin=change.encode())

    def control_words(self) -> list[str]:
        """Words before a command that runs it in the control room, as the user who called us."""
        return ["ip", "netns", "exec", self.control, *as_owner()]

    @contextlib.contextmanager
    def enter_control(self) -> Generator[None]:
        """Move this thread into the control room; a socket opened there stays there."""
        with entered(self.control):
            yield

    def connect(self, address: IPv4Address, port: int, timeout_seconds: float = 1.0) -> socket.socket:
        """Open a TCP connection from the control room."""
        with self.enter_control():
            return socket.create_connection((str(address), port), timeout_seconds)

    def await_banner(self, address: IPv4Address, port: int, start: bytes, limit_seconds: float = 60.0) -> None:
        """Wait until a daemon greets with the given first bytes; raise TimeoutError when it never does."""
        deadline = time.monotonic() + limit_seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), self.connect(address, port) as connection:
                if connection.recv(64).startswith(start):
                    return
            threading.Event().wait(0.02)
        raise TimeoutError(f"{address}:{port} did not greet within {limit_seconds:g} s")


@contextlib.contextmanager
def entered(namespace: str) -> Generator[None]:
    """Move this thread into a network namespace and always back: a pool's thread must not stay behind."""
    with _opened("/proc/thread-self/ns/net") as home, _opened(f"/run/netns/{namespace}") as away:
        _set_namespace(away)
        try:
            yield
        finally:
            _set_namespace(home)


@contextlib.contextmanager
def _opened(path: str) -> Generator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def addresses_of(texts: Iterable[str]) -> tuple[IPv4Address, ...]:
    """Read addresses and refuse what lies outside the world's networks."""
    addresses = tuple(IPv4Address(text) for text in texts)
    for address in addresses:
        if not any(address in network for network in NETWORKS):
            raise ValueError(f"{address} is not of this world: {', '.join(map(str, NETWORKS))}")
    return addresses
