"""One question to the DNS, one Answer that says what was heard, from whom, and how long it holds.

Only FOUND and ABSENT are knowledge; everything else means that we could not find out. Nothing is raised for what a
name server does. All names are absolute: no search suffix is ever added.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import cast

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rdtypes.txtbase
import dns.rrset

MAX_SERVERS = 8  # polite bounds on one question, like the two below
MAX_ADDRESSES = 2
MAX_HOPS = 8
UDP_PAYLOAD_BYTES = 1232  # larger answers come over TCP instead of in fragments
HOLDS_NAMES = frozenset({"NS", "CNAME", "PTR", "MX", "SRV", "SOA"})  # compared without regard to case


class Outcome(StrEnum):
    """What became of a question; `settled` ones may be believed."""

    FOUND = "found"
    ABSENT = "absent"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    BROKEN = "broken"

    @property
    def settled(self) -> bool:
        """Whether this says something about the record, and not about the server."""
        return self in {Outcome.FOUND, Outcome.ABSENT}


@dataclass(frozen=True, slots=True)
class Answer:
    """One server's word about one name and type. Times in seconds; `asked_at` is UTC; `values` are sorted."""

    outcome: Outcome
    values: tuple[str, ...]  # TXT: each record's strings joined; other types: presentation form, names with final dot
    ttl_seconds: int | None
    server: str  # address
    asked_at: datetime
    rcode: str  # as the server said it, or in a word of ours why there is none
    cname: tuple[str, ...] = ()  # the aliases that were followed, in order
    negative_ttl_seconds: int | None = None
    nxdomain: bool = False  # ABSENT: the name does not exist at all
    server_name: str = ""  # of an authoritative server


@dataclass(frozen=True, slots=True)
class Authorities:
    """The zone that holds a name, and who serves it; a name server without an address has an empty one."""

    zone: str
    servers: tuple[tuple[str, str], ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Reply:
    answer: Answer
    follow: dns.name.Name | None = None  # an alias that this server could not resolve to its end
    soa_owner: dns.name.Name | None = None


@dataclass(frozen=True, slots=True)
class _Question:
    name: dns.name.Name
    rtype: dns.rdatatype.RdataType
    recursive: bool = True
    checking_disabled: bool = False

    def message(self) -> dns.message.QueryMessage:
        flags = dns.flags.RD if self.recursive else dns.flags.Flag(0)
        if self.checking_disabled:
            flags |= dns.flags.CD
        return dns.message.make_query(self.name, self.rtype, use_edns=0, payload=UDP_PAYLOAD_BYTES, flags=flags)


class Resolver:
    """Asks recursive servers, or the authorities of a name themselves."""

    def __init__(self, servers: Sequence[str], *, timeout_seconds: float = 3, tries: int = 2, port: int = 53) -> None:
        """`servers` are addresses of recursive servers, asked in this order; `port` holds for every server."""
        if not servers or tries < 1:
            raise ValueError("a resolver needs at least one server and one try")
        self._servers = tuple(servers)
        self._timeout_seconds = timeout_seconds
        self._tries = tries
        self._port = port

    async def ask(self, name: str, rtype: str, *, at: str | None = None, checking_disabled: bool = False) -> Answer:
        """Ask the recursive servers, or the one at address `at`; follows at most 8 aliases.

        `checking_disabled` asks a validating server for what it would hold back (RFC 4035 3.2.2).
        """
        kind = _type(rtype)
        servers = self._servers if at is None else (at,)
        target = _name(name)
        if target is None:
            return _unheard(Outcome.BROKEN, servers[0], "BADNAME")
        aliases: tuple[str, ...] = ()
        while True:
            reply = await self._ask_any(_Question(target, kind, checking_disabled=checking_disabled), servers)
            answer = _behind(aliases, reply.answer)
            if reply.follow is None or answer.outcome is Outcome.BROKEN:
                return answer
            aliases, target = answer.cname, reply.follow

    async def authorities(self, name: str) -> Authorities:
        """Find the zone cut of the name itself, walking up from it, and the addresses of that zone's servers."""
        at = _name(name)
        while at is not None:
            reply = await self._ask_any(_Question(at, dns.rdatatype.NS), self._servers)
            answer = reply.answer
            if not answer.outcome.settled:
                return Authorities("", (), answer.outcome)
            if answer.outcome is Outcome.FOUND and not answer.cname:
                return Authorities(at.to_text(), await self._addresses(answer.values), Outcome.FOUND)
            at = _next_cut(at, reply)
        return Authorities("", (), Outcome.BROKEN)

    async def ask_authorities(self, name: str, rtype: str) -> tuple[Answer, ...]:
        """Ask every authoritative server of the name; an alias is followed to the authorities of its target.

        One Answer for each address, and one for a name server without an address, so that a caller can count who is
        silent. When the authorities cannot be found, the one Answer says why.
        """
        target = _name(name)
        if target is None:
            return (_unheard(Outcome.BROKEN, self._servers[0], "BADNAME"),)
        return await self._ask_each_authority(target, _type(rtype), ())

    async def _ask_each_authority(
        self, target: dns.name.Name, rtype: dns.rdatatype.RdataType, aliases: tuple[str, ...]
    ) -> tuple[Answer, ...]:
        found = await self.authorities(target.to_text())
        if found.outcome is not Outcome.FOUND or not found.servers:
            outcome = Outcome.BROKEN if found.outcome.settled else found.outcome
            return (_behind(aliases, _unheard(outcome, self._servers[0], "NO-AUTHORITIES")),)
        question = _Question(target, rtype, recursive=False)
        replies = await asyncio.gather(*(self._ask_authority(question, *server) for server in found.servers))
        answers: list[Answer] = []
        followed: set[dns.name.Name] = set()
        for reply in replies:
            answer = _behind(aliases, reply.answer)
            if reply.follow is None or answer.outcome is Outcome.BROKEN:
                answers.append(answer)
            elif reply.follow not in followed:  # servers that name the same target lead to the same answers
                followed.add(reply.follow)
                answers += await self._ask_each_authority(reply.follow, rtype, answer.cname)
        return tuple(answers)

    async def _ask_authority(self, question: _Question, server_name: str, address: str) -> _Reply:
        if not address:
            return _Reply(replace(_unheard(Outcome.TIMEOUT, "", "NO-ADDRESS"), server_name=server_name))
        reply = await self._ask_any(question, (address,))
        return replace(reply, answer=replace(reply.answer, server_name=server_name))

    async def _addresses(self, server_names: Sequence[str]) -> tuple[tuple[str, str], ...]:
        names = server_names[:MAX_SERVERS]
        found = await asyncio.gather(*(self.ask(name, "A") for name in names))
        return tuple(
            (name, address)
            for name, answer in zip(names, found, strict=True)
            for address in answer.values[:MAX_ADDRESSES] or ("",)
        )

    async def _ask_any(self, question: _Question, servers: Sequence[str]) -> _Reply:
        """Ask server after server until one settles it; only silence is asked again."""
        silent, last = list(servers), None
        for _ in range(self._tries):
            for server in tuple(silent):
                reply = await self._ask_once(question, server)
                if reply.answer.outcome.settled:
                    return reply
                if reply.answer.outcome is not Outcome.TIMEOUT:
                    silent.remove(server)
                if last is None or last.answer.outcome is Outcome.TIMEOUT:
                    last = reply  # what a server said tells more than another one's silence
        return cast("_Reply", last)

    async def _ask_once(self, question: _Question, server: str) -> _Reply:
        asked_at = datetime.now(UTC)
        try:
            message = await self._exchange(question.message(), server)
        except (dns.exception.Timeout, OSError) as error:
            outcome, word = Outcome.TIMEOUT, "TIMEOUT" if isinstance(error, dns.exception.Timeout) else "UNREACHABLE"
            return _Reply(_unheard(outcome, server, word, asked_at))
        except (dns.exception.DNSException, EOFError, ValueError) as error:
            return _Reply(_unheard(Outcome.BROKEN, server, type(error).__name__, asked_at))
        return _read(question, message, _unheard(Outcome.BROKEN, server, dns.rcode.to_text(message.rcode()), asked_at))

    async def _exchange(self, query: dns.message.QueryMessage, server: str) -> dns.message.Message:
        # Datagrams with another id, question or sender are not our answer: somebody may be guessing.
        limit, port = self._timeout_seconds, self._port
        try:
            return await dns.asyncquery.udp(
                query, server, limit, port, ignore_unexpected=True, ignore_errors=True, raise_on_truncation=True
            )
        except dns.message.Truncated:
            return await dns.asyncquery.tcp(query, server, limit, port)


def _read(question: _Question, message: dns.message.Message, heard: Answer) -> _Reply:
    """Judge one message; `heard` carries who said it and when."""
    rcode = message.rcode()
    if rcode in {dns.rcode.SERVFAIL, dns.rcode.REFUSED}:
        return _Reply(replace(heard, outcome=Outcome.SERVFAIL if rcode == dns.rcode.SERVFAIL else Outcome.REFUSED))
    if rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN} or not isinstance(message, dns.message.QueryMessage):
        return _Reply(heard)
    authoritative = bool(message.flags & dns.flags.AA)
    if not question.recursive and not authoritative:
        return _Reply(replace(heard, rcode="LAME"))  # it speaks from memory, or points elsewhere
    try:
        chain = message.resolve_chaining()
    except dns.exception.DNSException as error:
        return _Reply(replace(heard, rcode=type(error).__name__))
    heard = replace(heard, cname=tuple(_text(alias)[0] for alias in chain.cnames))
    if chain.answer is not None:
        found = replace(heard, outcome=Outcome.FOUND, values=_text(chain.answer), ttl_seconds=chain.minimum_ttl)
        return _Reply(_behind((), found))
    return _read_absence(message, chain.canonical_name, heard, knows=authoritative)


def _read_absence(message: dns.message.QueryMessage, name: dns.name.Name, heard: Answer, *, knows: bool) -> _Reply:
    absent = replace(heard, outcome=Outcome.ABSENT, nxdomain=message.rcode() == dns.rcode.NXDOMAIN)
    soa = next((rrset for rrset in message.authority if _starts_authority(rrset, name)), None)
    if soa is not None:
        negative_ttl = min(soa.ttl, cast("dns.rdtypes.ANY.SOA.SOA", soa[0]).minimum)
        return _Reply(_behind((), replace(absent, negative_ttl_seconds=negative_ttl)), soa_owner=soa.name)
    if heard.cname and not absent.nxdomain:
        return _Reply(_behind((), absent), follow=name)
    if not (knows or message.flags & dns.flags.RA):
        return _Reply(replace(heard, rcode="REFERRAL"))  # it neither knows nor looks: no word of absence
    return _Reply(_behind((), absent))


def _starts_authority(rrset: dns.rrset.RRset, name: dns.name.Name) -> bool:
    return rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name)


def _behind(aliases: tuple[str, ...], answer: Answer) -> Answer:
    """Put aliases in front of an answer; a loop or a chain that is too long breaks it."""
    chain = aliases + answer.cname
    if len(chain) <= MAX_HOPS and len(set(chain)) == len(chain):
        return replace(answer, cname=chain)
    return replace(answer, outcome=Outcome.BROKEN, values=(), cname=chain[: MAX_HOPS + 1], rcode="CNAME-CHAIN")


def _next_cut(at: dns.name.Name, reply: _Reply) -> dns.name.Name | None:
    """Give the next name that may be the top of a zone above `at`; None above the root."""
    owner = reply.soa_owner
    if owner is not None and owner != at and not reply.answer.cname:
        return owner  # a negative answer names the zone: no need to climb label by label
    return None if at == dns.name.root else at.parent()


def _text(rrset: dns.rrset.RRset) -> tuple[str, ...]:
    kind = dns.rdatatype.to_text(rrset.rdtype)
    return tuple(sorted(_record_text(record, kind) for record in cast("Iterable[dns.rdata.Rdata]", rrset)))


def _record_text(record: dns.rdata.Rdata, kind: str) -> str:
    if isinstance(record, dns.rdtypes.txtbase.TXTBase):
        return b"".join(record.strings).decode(errors="backslashreplace")
    text = record.to_text()
    return text.lower() if kind in HOLDS_NAMES else text


def _unheard(outcome: Outcome, server: str, word: str, asked_at: datetime | None = None) -> Answer:
    return Answer(outcome, (), None, server, asked_at or datetime.now(UTC), word)


def _name(text: str) -> dns.name.Name | None:
    # None instead of an error: names come out of other people's records, too.
    try:
        return dns.name.from_text(text)
    except (dns.exception.DNSException, UnicodeError):
        return None


def _type(text: str) -> dns.rdatatype.RdataType:
    try:
        return dns.rdatatype.from_text(text)
    except dns.exception.DNSException as error:
        raise ValueError(f"not a record type: {text!r}") from error
