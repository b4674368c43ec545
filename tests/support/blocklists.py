"""The product's blocklists on a loopback name server: alive, with whoever a test puts on them, or troubled."""

from dataclasses import dataclass, field

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support.nameserver import NameServer

KEY = "canarykey26charactersxxxxx"
POINTS = {  # zone: (test point, its code)
    f"{KEY}.zen.dq.spamhaus.net": ("2.0.0.127", "127.0.0.2"),
    f"{KEY}.authbl.dq.spamhaus.net": ("2.0.0.127", "127.0.0.20"),
    f"{KEY}.dbl.dq.spamhaus.net": ("dbltest.com", "127.0.1.2"),
    f"{KEY}.zrd.dq.spamhaus.net": ("test", "127.0.2.2"),
    "b.barracudacentral.org": ("2.0.0.127", "127.0.0.2"),
    "bl.spamcop.net": ("2.0.0.127", "127.0.0.2"),
    "psbl.surriel.com": ("2.0.0.127", "127.0.0.2"),
    "bl.mailspike.net": ("2.0.0.127", "127.0.0.2"),
    "multi.uribl.com": ("test.uribl.com", "127.0.0.14"),
    "multi.surbl.org": ("surbl-org-permanent-test-point.com", "127.0.0.254"),
    "dnsbl-1.uceprotect.net": ("2.0.0.127", "127.0.0.2"),
    "dnsbl-2.uceprotect.net": ("2.0.0.127", "127.0.0.2"),
    "dnsbl-3.uceprotect.net": ("2.0.0.127", "127.0.0.2"),
}
ZEN, DBL, PSBL, URIBL, UCE3 = (
    f"{KEY}.zen.dq.spamhaus.net", f"{KEY}.dbl.dq.spamhaus.net", "psbl.surriel.com", "multi.uribl.com",
    "dnsbl-3.uceprotect.net",
)  # fmt: skip


@dataclass
class Lists(NameServer):
    """`listed` maps a whole name to its codes, `every` a zone to the code of all names; `dead`, `silent` are zones."""

    listed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    every: dict[str, str] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)

    def put(self, zone: str, label: str, *codes: str) -> None:
        self.listed[f"{label}.{zone}."] = codes

    def take_off(self, zone: str, label: str) -> None:
        del self.listed[f"{label}.{zone}."]

    def codes(self, name: str) -> tuple[str, ...]:
        zone = self.zone_named(name)
        if zone in self.every:
            return (self.every[zone],)
        if zone in self.dead:
            return ()
        point, code = POINTS.get(zone, ("", ""))
        return (code,) if name == f"{point}.{zone}." else self.listed.get(name, ())

    def zone_named(self, name: str) -> str:
        return next((zone for zone in POINTS if name.endswith(f".{zone}.")), "")

    def reply(self, wire: bytes, transport: str) -> bytes | None:
        name = dns.message.from_wire(wire).question[0].name.to_text().lower()
        return None if self.zone_named(name) in self.silent else super().reply(wire, transport)

    def fill(self, message: dns.message.Message, name: dns.name.Name, rtype: dns.rdatatype.RdataType) -> None:
        codes = self.codes(name.to_text().lower())
        if not codes:
            message.set_rcode(dns.rcode.NXDOMAIN)
        elif rtype == dns.rdatatype.A:
            message.answer.append(dns.rrset.from_text(name, 60, "IN", "A", *codes))
        elif rtype == dns.rdatatype.TXT:
            message.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", '"see the page"'))

    def questions(self, zone: str) -> list[str]:
        """The names that were asked for under a zone."""
        return [asked.name for asked in self.asked if asked.name.endswith(f".{zone}.")]
