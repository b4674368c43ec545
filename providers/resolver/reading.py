"""From a server's message to its answer, or to the alias that it left open."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from providers.resolver import wire
from providers.resolver.naming import is_under
from providers.resolver.nouns import ENDLESS, Answer, Message, Outcome, Question, Record, Silence

MAX_HOPS: Final = 8
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
SETTLING: Final = frozenset({NOERROR, NXDOMAIN})
RCODES: Final = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
UNHEARD: Final = {SERVFAIL: Outcome.SERVFAIL, REFUSED: Outcome.REFUSED}


class Reply(NamedTuple):
    """An answer, and what an inquiry needs to go on from it."""

    answer: Answer
    follow: str = ""  # an alias that this server could not resolve to its end
    zone: str = ""  # the owner of the SOA in a negative answer
    delegated: bool = False  # the server is no authority here and names those who are


def judged(question: Question, message: Message | Silence, server: str, asked_at: datetime) -> Reply:
    """What a server's message says about the question, or why there is none."""
    if isinstance(message, Silence):
        return Reply(unheard(message.outcome, server, message.word, asked_at))
    rcode = message.rcode
    word = RCODES.get(rcode) or f"RCODE{rcode}"
    if rcode not in SETTLING or not message.readable:
        return Reply(unheard(UNHEARD.get(rcode, Outcome.BROKEN), server, word, asked_at))
    if not question.is_recursive and not message.authoritative:  # it speaks from memory, or points elsewhere
        return Reply(unheard(Outcome.BROKEN, server, "LAME", asked_at), delegated=_delegates(question, message))
    name, aliases, ttl, found = _chain(question, message.answer)
    if found is None:
        return Reply(Answer(Outcome.BROKEN, (), None, server, asked_at, ENDLESS, aliases[: MAX_HOPS + 1]))
    if not found:
        return _absence(message, name, aliases, server, asked_at)
    values = tuple(sorted([record.value for record in found]))
    answer = Answer(Outcome.FOUND, values, ttl, server, asked_at, word, aliases)
    return Reply(behind((), answer) if aliases else answer)


def _chain(question: Question, records: tuple[Record, ...]) -> tuple[str, tuple[str, ...], int, list[Record] | None]:
    """The name at the chain's end, its aliases, the shortest time to live on the way, and what stands at the end."""
    name, aliases, ttl = question.name, (), wire.MAX_TTL
    if not records:
        return name, aliases, ttl, []
    if len(records) == 1 and records[0].rtype == question.rtype and records[0].owner == name:  # as most answers are
        return name, aliases, records[0].ttl, [records[0]]
    while len(aliases) <= 2 * MAX_HOPS:
        found = [record for record in records if record.rtype == question.rtype and record.owner == name]
        if found:
            return name, aliases, min(ttl, *[record.ttl for record in found]), found
        alias = [record for record in records if record.rtype == wire.CNAME and record.owner == name]
        if not alias:
            return name, aliases, ttl, []
        name, aliases, ttl = alias[0].value, (*aliases, alias[0].value), min(ttl, alias[0].ttl)
    return name, aliases, ttl, None


def _absence(message: Message, name: str, aliases: tuple[str, ...], server: str, asked_at: datetime) -> Reply:
    soa = _soa_above(name, message.authority)
    seconds = _negative_seconds(soa) if soa else None
    nxdomain = message.rcode == NXDOMAIN
    answer = Answer(Outcome.ABSENT, (), None, server, asked_at, RCODES[message.rcode], aliases, seconds, nxdomain)
    if soa is None and not (aliases and not nxdomain) and not (message.authoritative or message.recursive):
        # It neither knows nor looks: no word of absence.
        return Reply(Answer(Outcome.BROKEN, (), None, server, asked_at, "REFERRAL", aliases))
    if not aliases:
        return Reply(answer, zone=soa.owner if soa else "")
    follow = "" if soa or nxdomain else name
    return Reply(behind((), answer), follow, soa.owner if soa else "")


def _soa_above(name: str, authority: tuple[Record, ...]) -> Record | None:
    for record in authority:
        if record.rtype == wire.SOA and is_under(name, record.owner):
            return record
    return None


@lru_cache(maxsize=256)  # those of one zone are alike for a second
def _negative_seconds(soa: Record) -> int:
    """How long an absence holds (RFC 2308 section 5)."""
    return min(soa.ttl, int(soa.value.rpartition(" ")[2]))


def _delegates(question: Question, message: Message) -> bool:
    return any(record.rtype == wire.NS and is_under(question.name, record.owner) for record in message.authority)


def behind(aliases: tuple[str, ...], answer: Answer) -> Answer:
    """Put aliases in front of an answer; a loop or a chain that is too long breaks it."""
    chain = aliases + answer.cname
    if not chain:
        return answer
    if len(chain) <= MAX_HOPS and len(set(chain)) == len(chain):
        return answer._replace(cname=chain)
    return answer._replace(outcome=Outcome.BROKEN, values=(), cname=chain[: MAX_HOPS + 1], rcode=ENDLESS)


def unheard(outcome: Outcome, server: str, word: str, asked_at: datetime | None = None) -> Answer:
    """The answer where there is none."""
    return Answer(outcome, (), None, server, asked_at or datetime.now(UTC), word)
