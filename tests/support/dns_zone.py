"""A tenant's zone on loopback as it should be, its picture in the tables, and servers that can be made to err."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any

from flows.policy.dns_status import RecordState, RecordStatus
from flows.policy.records import (
    DkimRecord,
    DomainPlan,
    Entry,
    ExpectedRecord,
    HostAddress,
    Need,
    as_json,
    expected_records,
)
from flows.policy.verdict import Truth
from tests.support.nameserver import Fault, NameServer, serving

IP = IPv4Address("198.51.100.7")
KEY = "A" * 43 + "="
FIRST, SECOND = "127.0.0.2", "127.0.0.3"


def plan(domain: str) -> DomainPlan:
    return DomainPlan(
        domain=domain, hosts=(HostAddress(f"mail.{domain}", IP),), sending_ip=IP, standby_ips=(),
        dkim=(DkimRecord("pm202611e", "ed25519", KEY),), dmarc_rua=None, platform_zone=None, label=None,
        manage_mx=False, verification_token="a" * 32,
    )  # fmt: skip


def expected(domain: str) -> tuple[ExpectedRecord, ...]:
    return tuple(record for record in expected_records(plan(domain)) if record.need is not Need.OPTIONAL)


def picture(domain: str, *, verified: bool = True) -> dict[str, Any]:
    """What the tables say of a domain that was right at the last look, or that nobody has looked at."""
    now = datetime.now(UTC)
    state = RecordState(RecordStatus.VERIFIED, since=now, conclusive=True, passes=1) if verified else RecordState()
    truth = Truth.PASS if verified else ""
    return {"records": [as_json(Entry(record, state, truth, "ok" if verified else "")) for record in expected(domain)]}


def zone(domain: str) -> str:
    """The zone with everything that is expected, two name servers and the reverse name."""
    lines = [
        f"{domain}. 300 SOA ns1.{domain}. hostmaster.{domain}. 7 60 60 60 30",
        f"{domain}. 300 NS ns1.{domain}.", f"{domain}. 300 NS ns2.{domain}.",
        f"ns1.{domain}. 300 A {FIRST}", f"ns2.{domain}. 300 A {SECOND}",
    ]  # fmt: skip
    return "\n".join([*lines, *(line(record) for record in expected(domain))]) + "\n"


def line(record: ExpectedRecord) -> str:
    name, value = record.name.rstrip("."), record.values[0]
    return f"{name}. 300 {record.rtype} {value if record.rtype != 'TXT' else quoted(value)}"


def quoted(text: str) -> str:
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))


REVERSE = "100.51.198.in-addr.arpa"
SHARED = f"""
. 300 SOA a.root.example. hostmaster.example. 1 60 60 60 60
{REVERSE}. 300 SOA ns1.rev.example. hostmaster.example. 1 60 60 60 60
{REVERSE}. 300 NS ns1.rev.example.
ns1.rev.example. 300 A {FIRST}
"""


@dataclass
class Internet:
    """A resolver and two authorities over the same records; each may be given other ones, or faults."""

    port: int
    recursive: NameServer
    first: NameServer
    second: NameServer
    servers: tuple[NameServer, ...] = field(default=())

    def change(self, old: str, new: str, *, at: str = "everywhere") -> None:
        """Replace text in the records of all servers, or of one."""
        for server in self.servers if at == "everywhere" else (getattr(self, at),):
            assert old in server.records, old
            server.records = server.records.replace(old, new)

    @property
    def questions(self) -> int:
        return sum(len(server.asked) for server in self.servers)

    def forget(self) -> None:
        for server in self.servers:
            server.asked.clear()


@asynccontextmanager
async def internet(*domains: str, faults: Mapping[str, Fault] | None = None, more: str = "") -> AsyncIterator[Internet]:
    records = SHARED + more + "".join(map(zone, domains))
    zones = (*domains, REVERSE)
    recursive = NameServer(records, faults=dict(faults or {}))
    first, second = NameServer(records, zones), NameServer(records, zones)
    async with serving({"127.0.0.1": recursive, FIRST: first, SECOND: second}) as port:
        yield Internet(port, recursive, first, second, (recursive, first, second))
