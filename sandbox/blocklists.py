"""The world's blocklists: the zones that the product's own rows name, each with its test points, and every way to fail.

A list is written anew from what is noted of it, so that a fault leaves nothing behind when it ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any, Final

from sandbox.state import write_whole
from sandbox.zones import HOST, NAME_SERVER, UpdateRefused, zone_file, zone_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.hosts import HostBackend
    from sandbox.zones import Record

LICENCE: Final = "sandbox7licence7of7lists26"  # as long as Spamhaus's own
NOBODY: Final = "203.0.113.250"  # an address where nothing answers
POINT: Final = ("2.0.0.127", "127.0.0.2")  # RFC 5782 section 5

EXPIRE: Final = "knotc --force zone-purge +expire {} >&2"  # an expired zone is served as SERVFAIL
FAULTS: Final = ("empty", "parked", "lists-all", "refuses", "new-code", "silent", "broken")
"""An empty zone; a parked one; every name listed; us refused; codes of no table; no answer; SERVFAIL."""


@dataclass(frozen=True, slots=True)
class EmulatedList:
    """One list: its zone, its test point and that one's answer, and how it refuses."""

    zone: str
    point: str = POINT[0]
    code: str = POINT[1]
    refusal: str = "127.255.255.254"

    @property
    def new_code(self) -> str:
        """A code that stands in no table."""
        return self.code.rpartition(".")[0] + ".99"


LISTS: Final[Mapping[str, EmulatedList]] = {
    "spamhaus-zen": EmulatedList(f"{LICENCE}.zen.dq.spamhaus.net"),
    "spamhaus-authbl": EmulatedList(f"{LICENCE}.authbl.dq.spamhaus.net", code="127.0.0.20"),
    "spamhaus-dbl": EmulatedList(f"{LICENCE}.dbl.dq.spamhaus.net", "dbltest.com", "127.0.1.2"),
    "spamhaus-zrd": EmulatedList(f"{LICENCE}.zrd.dq.spamhaus.net", "test", "127.0.2.2"),
    "barracuda": EmulatedList("b.barracudacentral.org"),
    "spamcop": EmulatedList("bl.spamcop.net"),
    "psbl": EmulatedList("psbl.surriel.com"),
    "mailspike": EmulatedList("bl.mailspike.net"),
    "uribl": EmulatedList("multi.uribl.com", "test.uribl.com", "127.0.0.14", "127.0.0.1"),
    "surbl": EmulatedList("multi.surbl.org", "surbl-org-permanent-test-point.com", "127.0.0.254", "127.0.0.1"),
    "uceprotect-1": EmulatedList("dnsbl-1.uceprotect.net"),
    "uceprotect-2": EmulatedList("dnsbl-2.uceprotect.net"),
    "uceprotect-3": EmulatedList("dnsbl-3.uceprotect.net"),
}

ELSEWHERE: Final[tuple[Record, ...]] = (
    ("silent.lab", "NS", "ns.silent.lab.example."),
    ("ns.silent.lab", "A", NOBODY),
)
"""Records of the zone `example`: a delegation that leads to nobody."""


def first_lists() -> dict[str, list[Record]]:
    """Every list's zone in a new world, with nothing on it but its test point."""
    return {one.zone: records(one, {}, None) for one in LISTS.values()}


def with_lists(zones: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Add the lists, and the names they fail through, to the zones of a new world."""
    return {**zones, "example": [*zones["example"], *ELSEWHERE], **first_lists()}


def records(one: EmulatedList, listed: Mapping[str, tuple[str, str]], fault: str | None) -> list[Record]:
    """What a list's zone holds; `listed` maps a subject to code and text."""
    everything = {"parked": NOBODY, "lists-all": one.code, "refuses": one.refusal}
    if fault in everything:
        return [("*", "A", everything[fault])]
    if fault == "silent":
        return [("*", "CNAME", "list.silent.lab.example.")]
    if fault in {"empty", "broken"}:
        return []
    named = {label_of(subject): answer for subject, answer in listed.items()} | {one.point: (one.code, "test point")}
    return [
        record
        for name, (code, text) in named.items()
        for record in ((name, "A", one.new_code if fault == "new-code" else code), (name, "TXT", text))
    ]


def label_of(subject: str) -> str:
    """An address with its octets turned round; a domain as it is."""
    try:
        address = ip_address(subject)
    except ValueError:
        return subject
    return ".".join(reversed(str(IPv4Address(address)).split(".")))


class Blocklists:
    """Who is on which list, and what is wrong with a list, from any process that is attached to the world."""

    def __init__(self, hosts: HostBackend, folder: Path) -> None:
        """Take the back end of the DNS host and the world's folder."""
        self.hosts, self._file = hosts, folder / "blocklists.json"

    def put(self, name: str, subject: str, code: str | None = None, text: str = "") -> None:
        """Put an address or a domain on a list; the list's ordinary code unless another is said."""
        noted = self._noted(name)
        noted["listed"][subject] = (code or LISTS[name].code, text or f"{subject} is listed")
        self._write(name, noted)

    def take_off(self, name: str, subject: str) -> None:
        """Take a subject off a list; off already is well."""
        noted = self._noted(name)
        noted["listed"].pop(subject, None)
        self._write(name, noted)

    def trouble(self, name: str, fault: str | None) -> None:
        """Let a list fail in one way of FAULTS, or be well again."""
        if fault is not None and fault not in FAULTS:
            raise ValueError(f"no fault {fault!r}: there are {', '.join(FAULTS)}")
        self._write(name, {**self._noted(name), "fault": fault})

    def _all(self) -> dict[str, Any]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def _noted(self, name: str) -> dict[str, Any]:
        if name not in LISTS:
            raise ValueError(f"no list {name!r}: there are {', '.join(LISTS)}")
        return self._all().get(name) or {"listed": {}, "fault": None, "serial": 1}

    def _write(self, name: str, noted: dict[str, Any]) -> None:
        noted["serial"] += 1
        write_whole(self._file, json.dumps({**self._all(), name: noted}))
        one = LISTS[name]
        text = zone_text(one.zone, records(one, noted["listed"], noted["fault"]), noted["serial"])
        # The resolver may still be waiting for a server that never answers: new questions would wait with the old one.
        script = f"""set -e
cat > /var/lib/knot/{zone_file(one.zone)}
knotc --blocking --timeout 20 reload >&2
{EXPIRE.format(one.zone) if noted["fault"] == "broken" else ""}
unbound-control flush_requestlist > /dev/null
unbound-control flush_zone {one.zone} > /dev/null
"""
        done = self.hosts.execute(HOST, script, text.encode(), 30.0)
        if done.code:
            raise UpdateRefused(f"{one.zone} at {NAME_SERVER}: {done.err.decode(errors='replace')[:300]}")
