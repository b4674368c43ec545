"""The world's DNS: one authoritative server for every zone, one resolver before it, updates by RFC 2136 with TSIG."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import dns.exception
import dns.query
import dns.rcode
import dns.resolver
import dns.tsigkeyring
import dns.update

from sandbox.hosts import HostPlan
from sandbox.network import AUTHORITATIVE, RESOLVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from sandbox.hosts import HostBackend
    from sandbox.network import Network

HOST = "dns"
CERTIFICATES = IPv4Address("203.0.113.55")  # the ACME authority of the world, on the same host
NAME_SERVER = "ns.lab.example"
TTL_SECONDS = 5
ANSWER_TIMEOUT_SECONDS = 5.0
TXT_STRING_BYTES = 255  # RFC 1035 section 3.3
PLATFORM_ZONE = "penguin.example"
PROVIDER_ZONE = "hostwindsdns.com"
TENANT_ZONES = ("acme.example", "beta.example", "gamma.example", "delta.example", "epsilon.example")
REVERSE_ZONES = ("100.51.198.in-addr.arpa", "113.0.203.in-addr.arpa")
BLOCKLISTS = ("dnsbl.example", "dnsbl2.example", "dbl.example")
TEST_POINT = ("2.0.0.127", "127.0.0.2")  # RFC 5782 section 5
Record = tuple[str, str, str]  # owner relative to its zone, type, text of the data
Replacement = tuple[str, str, "Sequence[str]"]


class UpdateRefused(RuntimeError):
    """The authoritative server did not accept an update; the text holds its code."""


@dataclass(frozen=True, slots=True)
class UpdateKey:
    """A TSIG key (RFC 8945), fresh for every world."""

    name: str
    algorithm: str
    secret: str = field(repr=False)

    @classmethod
    def fresh(cls) -> UpdateKey:
        """Draw a new secret."""
        return cls("world-update", "hmac-sha256", base64.b64encode(secrets.token_bytes(32)).decode())


def first_zones(receivers: Mapping[str, Sequence[Record]], pointers: Sequence[Record]) -> dict[str, list[Record]]:
    """List every zone of a new world with its records."""
    point, code = TEST_POINT
    zones: dict[str, list[Record]] = {
        ".": [],
        "example": [
            ("ns.lab", "A", str(AUTHORITATIVE)),
            ("resolver.lab", "A", str(RESOLVER)),
            ("ca.lab", "A", str(CERTIFICATES)),
        ],
        PLATFORM_ZONE: [],
        PROVIDER_ZONE: [],
        **{zone: [] for zone in TENANT_ZONES},
        **{zone: [] for zone in REVERSE_ZONES},
        **{zone: [(point, "A", code), (point, "TXT", "test point")] for zone in BLOCKLISTS},
        **{domain: list(records) for domain, records in receivers.items()},
    }
    zones[zone_of_pointer(AUTHORITATIVE)] += [
        (AUTHORITATIVE.exploded.rpartition(".")[2], "PTR", f"{NAME_SERVER}."),
        (RESOLVER.exploded.rpartition(".")[2], "PTR", "resolver.lab.example."),
        *pointers,
    ]
    return zones


def zone_of_pointer(address: IPv4Address) -> str:
    """Name the reverse zone of an address."""
    return ".".join(reversed(str(address).split(".")[:3])) + ".in-addr.arpa"


def quoted(kind: str, value: str) -> str:
    """Write record data as master files want it: text in strings of at most 255 bytes, the rest as it is."""
    if kind != "TXT" or value.startswith('"'):
        return value
    pieces = [value[start : start + TXT_STRING_BYTES] for start in range(0, len(value), TXT_STRING_BYTES)] or [""]
    return " ".join('"{}"'.format(piece.replace("\\", "\\\\").replace('"', '\\"')) for piece in pieces)


def zone_text(zone: str, records: Iterable[Record], serial: int = 1) -> str:
    """Write a zone's first master file."""
    origin = zone if zone.endswith(".") else f"{zone}."
    lines = [f"$ORIGIN {origin}", f"$TTL {TTL_SECONDS}"]
    lines += [f"@ SOA {NAME_SERVER}. host.lab.example. {serial} 60 60 600 {TTL_SECONDS}", f"@ NS {NAME_SERVER}."]
    lines += [f"{owner} {kind} {quoted(kind, value)}" for owner, kind, value in records]
    return "\n".join(lines) + "\n"


def server_config(key: UpdateKey) -> str:
    """Write the authoritative server's configuration; each zone has a file of its own below zones.d.

    Master files are never written again: updates live in the journal, which is played back on top of them at a start.
    """
    return f"""server:
    listen: {AUTHORITATIVE}@53
    user: knot:knot
log:
  - target: syslog
    any: info
key:
  - id: {key.name}
    algorithm: {key.algorithm}
    secret: {key.secret}
acl:
  - id: holders-of-the-key
    key: {key.name}
    action: [update, transfer]
template:
  - id: default
    storage: /var/lib/knot
    acl: holders-of-the-key
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: changes
include: /etc/knot/zones.d/*.conf
"""


def zone_config(zone: str) -> str:
    """Write the configuration of one zone."""
    return f'zone:\n  - domain: {zone}\n    file: "{zone_file(zone)}"\n'


def zone_file(zone: str) -> str:
    """Name a zone's master file; the root has none but a word."""
    return "root.zone" if zone == "." else f"{zone}.zone"


class Zones:
    """The DNS host of a world."""

    def __init__(self, hosts: HostBackend, network: Network, key: UpdateKey) -> None:
        """Take the back end that boots it and the key that updates carry."""
        self.hosts, self.network, self.key = hosts, network, key

    def make(self, zones: Mapping[str, Sequence[Record]], also: Callable[[Path], None]) -> None:
        """Boot the DNS host with its zones, and what `also` lays into its tree; wait until the resolver answers."""

        def prepare(tree: Path) -> None:
            also(tree)
            (tree / "etc/knot/knot.conf").write_text(server_config(self.key))
            for zone, records in zones.items():
                (tree / "etc/knot/zones.d" / f"{zone_file(zone)}.conf").write_text(zone_config(zone))
                (tree / "var/lib/knot" / zone_file(zone)).write_text(zone_text(zone, records))

        self.hosts.create(HostPlan(HOST, (RESOLVER, AUTHORITATIVE, CERTIFICATES), "dns", NAME_SERVER, prepare=prepare))
        self._await_answer()

    def _await_answer(self) -> None:
        with self.network.enter_control():
            resolver = dns.resolver.Resolver(configure=False)
            resolver.nameservers = [str(RESOLVER)]
            resolver.timeout, resolver.lifetime = 0.2, 60.0
            resolver.retry_servfail = True
            resolver.resolve(f"{NAME_SERVER}.", "A")

    def update(self, zone: str, replace: Iterable[Replacement] = (), delete: Iterable[tuple[str, str]] = ()) -> None:
        """Change a zone in one transaction: each (owner, type, values) stands for the whole set afterwards.

        Owners are relative to the zone, `@` is its top. Raises UpdateRefused.
        """
        keyring = dns.tsigkeyring.from_text({self.key.name: self.key.secret})
        message = dns.update.UpdateMessage(f"{zone}.", keyring=keyring, keyalgorithm=self.key.algorithm)
        for owner, kind in delete:
            message.delete(owner, kind)
        for owner, kind, values in replace:
            message.delete(owner, kind)
            for value in values:
                message.add(owner, TTL_SECONDS, kind, quoted(kind, value))
        try:
            with self.network.enter_control():
                reply = dns.query.tcp(message, str(AUTHORITATIVE), timeout=ANSWER_TIMEOUT_SECONDS)
        except dns.exception.DNSException as error:
            raise UpdateRefused(f"{zone}: {error}") from error
        if reply.rcode() != dns.rcode.NOERROR:
            raise UpdateRefused(f"{zone}: {dns.rcode.to_text(reply.rcode())}")

    def add(self, zone: str) -> None:
        """Serve one more zone, empty but for its SOA and NS; other zones keep their journals."""
        script = f"""set -e
cat > /var/lib/knot/{zone_file(zone)}
chown knot:knot /var/lib/knot/{zone_file(zone)}
printf 'zone:\\n  - domain: {zone}\\n    file: "{zone_file(zone)}"\\n' > /etc/knot/zones.d/{zone_file(zone)}.conf
knotc --blocking --timeout 20 reload >&2
unbound-control flush_zone {zone} > /dev/null
"""
        done = self.hosts.execute(HOST, script, zone_text(zone, ()).encode(), 30.0)
        if done.code:
            raise UpdateRefused(f"{zone}: {done.err.decode(errors='replace')[:300]}")

    def flush(self, zone: str) -> None:
        """Make the resolver forget what it knows of a zone, before absence is asserted."""
        self.hosts.execute(HOST, f"unbound-control flush_zone {zone}", b"", 10.0)

    def set_ptr(self, address: IPv4Address, name: str | None) -> None:
        """Point an address at a name, or at none; the provider's own default names get their A record too."""
        owner = str(address).rpartition(".")[2]
        zone = zone_of_pointer(address)
        if name is None:
            self.update(zone, delete=[(owner, "PTR")])
            return
        self.update(zone, replace=[(owner, "PTR", [name.rstrip(".") + "."])])
        host, _, parent = name.rstrip(".").partition(".")
        if parent == PROVIDER_ZONE:
            self.update(PROVIDER_ZONE, replace=[(host, "A", [str(address)])])

    def list_address(self, address: IPv4Address, zone: str, code: str = "127.0.0.2") -> None:
        """Put an address on a blocklist with the given answer."""
        owner = _listed(address)
        self.update(zone, replace=[(owner, "A", [code]), (owner, "TXT", [f"{address} is listed"])])
        self.flush(zone)

    def delist(self, address: IPv4Address, zone: str) -> None:
        """Take an address off a blocklist."""
        self.update(zone, delete=[(_listed(address), "A"), (_listed(address), "TXT")])
        self.flush(zone)


def _listed(address: IPv4Address) -> str:
    return ".".join(reversed(str(address).split(".")))
