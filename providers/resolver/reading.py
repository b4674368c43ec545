"""From a server's message to its answer, or to the alias that it left open."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from providers.resolver import library, wire
from providers.resolver.nouns import Answer, Message, Outcome, Question, Record

MAX_HOPS: Final = 8
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
RCODES: Final = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
TYPES: Final = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16}
UNHEARD: Final = {SERVFAIL: Outcome.SERVFAIL, REFUSED: Outcome.REFUSED}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what an inquiry needs to go on from it."""

    answer: Answer
    follow: str = ""  # an alias that this server could not resolve to its end
    zone: str = ""  # the owner of the SOA in a negative answer
    delegated: bool = False  # the server is no authority here and names those who are


def read(question: Question, message: Message, server: str, asked_at: datetime) -> Reply:
    """Judge one message."""
    rcode = message.rcode
    heard = Answer(Outcome.BROKEN, (), None, server, asked_at, RCODES.get(rcode, f"RCODE{rcode}"))
    if rcode in UNHEARD:
        return Reply(replace(heard, outcome=UNHEARD[rcode]))
    if rcode not in {NOERROR, NXDOMAIN} or not message.readable:
        return Reply(heard)
    if not question.recursive and not message.authoritative:  # it speaks from memory, or points elsewhere
        return Reply(replace(heard, rcode="LAME"), delegated=_delegates(question, message))
    name, aliases, ttl, found = _chain(question, message.answer)
    if found is None:
        return Reply(replace(heard, rcode="CNAME-CHAIN", cname=aliases[: MAX_HOPS + 1]))
    if not found:
        return _absence(message, name, aliases, heard)
    values = tuple(sorted(record.value for record in found))
    return Reply(behind((), Answer(Outcome.FOUND, values, ttl, server, asked_at, heard.rcode, aliases)))


def _chain(
    question: Question, records: tuple[Record, ...]
) -> tuple[str, tuple[str, ...], int, tuple[Record, ...] | None]:
    """The name at the chain's end, its aliases, the shortest time to live on the way, and what stands at the end."""
    name, aliases, ttl = question.name, (), wire.MAX_TTL
    while len(aliases) <= 2 * MAX_HOPS:
        found = tuple([record for record in records if record.rtype == question.rtype and record.owner == name])
        if found:
            return name, aliases, min(ttl, *[record.ttl for record in found]), found
        alias = next((record for record in records if record.rtype == wire.CNAME and record.owner == name), None)
        if alias is None:
            return name, aliases, ttl, ()
        name, aliases, ttl = alias.value, (*aliases, alias.value), min(ttl, alias.ttl)
    return name, aliases, ttl, None


def _absence(message: Message, name: str, aliases: tuple[str, ...], heard: Answer) -> Reply:
    absent = replace(heard, outcome=Outcome.ABSENT, nxdomain=message.rcode == NXDOMAIN, cname=aliases)
    soa = next((r for r in message.authority if r.rtype == wire.SOA and is_under(name, r.owner)), None)
    if soa is not None:
        seconds = min(soa.ttl, int(soa.value.rpartition(" ")[2]))
        return Reply(behind((), replace(absent, negative_ttl_seconds=seconds)), zone=soa.owner)
    if aliases and not absent.nxdomain:
        return Reply(behind((), absent), follow=name)
    if not (message.authoritative or message.recursive):
        return Reply(replace(heard, rcode="REFERRAL", cname=aliases))  # it neither knows nor looks: no word of absence
    return Reply(behind((), absent))


def _delegates(question: Question, message: Message) -> bool:
    return any(record.rtype == wire.NS and is_under(question.name, record.owner) for record in message.authority)


def behind(aliases: tuple[str, ...], answer: Answer) -> Answer:
    """Put aliases in front of an answer; a loop or a chain that is too long breaks it."""
    chain = aliases + answer.cname
    if not chain:
        return answer
    if len(chain) <= MAX_HOPS and len(set(chain)) == len(chain):
        return replace(answer, cname=chain)
    return replace(answer, outcome=Outcome.BROKEN, values=(), cname=chain[: MAX_HOPS + 1], rcode="CNAME-CHAIN")


def unheard(outcome: Outcome, server: str, word: str, asked_at: datetime | None = None) -> Answer:
    """The answer where there is none."""
    return Answer(outcome, (), None, server, asked_at or datetime.now(UTC), word)


def is_under(name: str, zone: str) -> bool:
    """Whether an absolute name is the zone's or below it."""
    return zone in {".", name} or name.endswith(f".{zone}")


def parent(name: str) -> str | None:
    """The name one label up; None above the root."""
    if name == ".":
        return None
    return name.partition(".")[2] or "."


@lru_cache(maxsize=4096)
def on_wire(name: str) -> tuple[str, bytes] | None:
    """A name as it is asked for, absolute and in lower case, with its wire form; None when no message can carry it."""
    encoded = wire.encoded(name)
    if encoded is None:
        return library.name_on_wire(name)
    return name.lower().removesuffix(".") + ".", encoded


def rtype_of(text: str) -> int:
    """The number of a record type; ValueError for a word that names none."""
    return TYPES.get(text) or library.rtype_of(text)
