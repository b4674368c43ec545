"""A small name server on loopback, over UDP and TCP, that can also misbehave for chosen names."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Fault = Literal[
    "silent",
    "silent_once",
    "servfail",
    "servfail_unless_cd",
    "servfail_unless_cname",
    "refused",
    "formerr",
    "truncated",
    "truncated_then_silent",
    "truncated_then_garbage",
    "wrong_id",
    "wrong_question",
    "garbage",
    "lame",
    "referral",
]


@dataclass
class Asked:
    """One question as it arrived."""

    name: str
    rtype: str
    transport: str
    flags: int


@dataclass
class NameServer:
    """Answers from `records` (lines of `name ttl type content`); with `zones` as their authority, else recursively."""

    records: str = ""
    zones: tuple[str, ...] = ()
    faults: dict[str, Fault] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def reply(self, wire: bytes, transport: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text().lower()
        seen_before = any(asked.name == name for asked in self.asked)
        self.asked.append(Asked(name, dns.rdatatype.to_text(question.rdtype), transport, int(query.flags)))
        fault = self.faults.get(name)
        if fault in {"silent", "wrong_id", "wrong_question", "garbage"} or (fault == "silent_once" and not seen_before):
            return forged(query, fault)
        if transport == "tcp" and fault == "truncated_then_silent":
            return None
        if transport == "tcp" and fault == "truncated_then_garbage":
            return b"garbage"
        most = {"max_size": 65535} if transport == "tcp" else {}
        return self.answer(query, transport, fault).to_wire(**most)

    def answer(self, query: dns.message.Message, transport: str, fault: Fault | None) -> dns.message.Message:
        message = dns.message.make_response(query, recursion_available=not self.zones)
        refusals = {"servfail": "SERVFAIL", "refused": "REFUSED", "formerr": "FORMERR"}
        if fault == "servfail_unless_cd" and not query.flags & dns.flags.CD:
            fault = "servfail"
        if fault == "servfail_unless_cname" and query.question[0].rdtype != dns.rdatatype.CNAME:
            fault = "servfail"  # as resolvers answer over aliases in a circle
        if fault in refusals:
            message.set_rcode(dns.rcode.from_text(refusals[fault]))
        elif transport == "udp" and (fault or "").startswith("truncated"):
            message.flags |= dns.flags.TC
        elif fault == "referral":
            message.flags &= ~dns.flags.RA
            message.authority.append(dns.rrset.from_text("example.", 60, "IN", "NS", "ns1.example."))
        else:
            self.fill(message, query.question[0].name, query.question[0].rdtype)
        if fault == "lame":
            message.flags &= ~dns.flags.AA
        return message

    def fill(self, message: dns.message.Message, name: dns.name.Name, rtype: dns.rdatatype.RdataType) -> None:
        zone = self.zone_of(name)
        if self.zones and zone is None:
            message.set_rcode(dns.rcode.REFUSED)
            return
        if zone is not None and not message.answer:
            message.flags |= dns.flags.AA
        for _ in range(20):
            found, alias = self.find(name, rtype), self.find(name, dns.rdatatype.CNAME)
            if found or not alias:
                break
            message.answer += alias
            name = alias[0][0].target
            if self.zones and self.zone_of(name) is None:
                return
        message.answer += found
        if not found:
            self.fill_absence(message, name)

    def fill_absence(self, message: dns.message.Message, name: dns.name.Name) -> None:
        if not any(rrset.name.is_subdomain(name) for rrset in self.rrsets()):
            message.set_rcode(dns.rcode.NXDOMAIN)
        above = [
            rrset for rrset in self.rrsets() if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name)
        ]
        message.authority += sorted(above, key=lambda rrset: len(rrset.name))[-1:]

    def zone_of(self, name: dns.name.Name) -> str | None:
        return next((zone for zone in self.zones if name.is_subdomain(dns.name.from_text(zone))), None)

    def find(self, name: dns.name.Name, rtype: dns.rdatatype.RdataType) -> list[dns.rrset.RRset]:
        return [rrset for rrset in self.rrsets() if rrset.name == name and rrset.rdtype == rtype]

    def rrsets(self) -> Iterable[dns.rrset.RRset]:
        return parsed(self.records)

    def asked_for(self, name: str) -> list[tuple[str, str]]:
        return [(asked.rtype, asked.transport) for asked in self.asked if asked.name == name]


@lru_cache(maxsize=64)
def parsed(records: str) -> tuple[dns.rrset.RRset, ...]:
    """Once for each text: a record of 64 KB takes longer to read than a question has time."""
    sets: dict[tuple[str, str], dns.rrset.RRset] = {}
    for line in filter(None, map(str.strip, records.splitlines())):
        name, ttl, rtype, content = line.split(maxsplit=3)
        rrset = dns.rrset.from_text(name, int(ttl), "IN", rtype, content)
        sets.setdefault((name, rtype), rrset).update(rrset)
    return tuple(sets.values())


def forged(query: dns.message.Message, fault: str | None) -> bytes | None:
    if fault == "garbage":
        return b"\xff" * 7
    if fault not in {"wrong_id", "wrong_question"}:
        return None
    message = dns.message.make_response(query)
    if fault == "wrong_id":
        message.id ^= 1
    else:
        message.question = dns.message.make_query("other.example.", "TXT").question
    message.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", '"forged"'))
    return message.to_wire()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if answer := self.server.reply(data, "udp"):
            self.transport.sendto(answer, addr)


def free_port() -> int:
    """A port that nobody has, neither for datagrams nor for streams."""
    while True:
        with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            try:
                datagrams.bind(stream.getsockname())
            except OSError:
                continue
            return int(stream.getsockname()[1])


@asynccontextmanager
async def serving(servers: dict[str, NameServer]) -> AsyncIterator[int]:
    """Serve each loopback address with its server, all on one port, which is given."""
    loop = asyncio.get_running_loop()
    port = free_port()
    running: list[asyncio.BaseTransport | asyncio.Server] = []
    for address, server in servers.items():
        transport, _ = await loop.create_datagram_endpoint(lambda s=server: Datagrams(s), local_addr=(address, port))
        running.append(transport)
        running.append(await asyncio.start_server(lambda r, w, s=server: streams(s, r, w), address, port))
    try:
        yield port
    finally:
        for one in running:
            one.close()


async def streams(server: NameServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            if answer := server.reply(await reader.readexactly(length), "tcp"):
                writer.write(len(answer).to_bytes(2, "big") + answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
