"""Our own reading of ordinary answers, some forty times cheaper than the library's.

It reads what servers say all day and declines everything else by None: then dnspython reads the message. So it never
has the last word on anything odd: a class, type, flag or label out of the ordinary, a pointer that is not strictly
backwards (RFC 1035 section 4.1.4), a length that does not fit, an octet too many.
"""

import re
from functools import lru_cache
from struct import Struct, error
from typing import Final, NamedTuple

from providers.resolver.nouns import Message, Question, Record

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, OPT = 1, 2, 5, 6, 12, 15, 16, 28, 41
HEADER: Final = Struct("!HHHHH")  # after the id: flags and four counts
FIXED: Final = Struct("!HHIH")
FIXED_BYTES: Final = FIXED.size
SOA_NUMBERS: Final = Struct("!IIIII")
HEADER_BYTES: Final = 12
ID_BYTES: Final = 2
QR_OPCODE_TC: Final = 0xFA00
QR: Final = 0x8000
AA: Final = 0x0400
RA: Final = 0x0080
IN: Final = 1
MAX_TTL: Final = 0x7FFFFFFF
MAX_LABEL: Final = 63
MAX_NAME: Final = 255  # octets
POINTER: Final = 0xC0
TO_QUESTION: Final = bytes((POINTER, HEADER_BYTES))
MAX_POINTERS: Final = 16
NOT_NAME: Final = 5  # octets of a question that are not its name's text: the root, type and class
# Labels that are written as they are; anything else needs an escape or an IDNA rule, and the library knows those.
PLAIN: Final = re.compile(rb"[A-Za-z0-9_*/+=~:-]+")
PLAIN_LABEL: Final = re.compile(r"[A-Za-z0-9_*/+=~:-]{1,63}")
NAMED: Final = frozenset({NS, CNAME, PTR})
KEPT: Final = frozenset({NS, SOA})
ROOT: Final = b"\0"
LENGTHS: Final = tuple(bytes((length,)) for length in range(MAX_LABEL + 1))
SINGLE: Final = frozenset({CNAME, SOA})


class Absence(NamedTuple):
    """What was read behind a question that ends at `end` and whose own last octets are `tail`."""

    end: int
    tail: bytes
    message: Message


ABSENCES: Final[dict[bytes, Absence]] = {}
MOST_ABSENCES: Final = 1024
LONGEST_ABSENCE: Final = 512  # octets; an ordinary one is shorter, and a stranger may send 64 KB of them


class Odd(Exception):
    """Something that the library should read."""


def encoded(name: str) -> bytes | None:
    """The wire form of an ordinary name, in lower case; None for one that the library should encode."""
    wire = _encoded(name) if len(name) <= MAX_NAME else None
    return wire if wire is not None and len(wire) <= MAX_NAME else None


@lru_cache(maxsize=8192)  # of the names below one, its own form is made once
def _encoded(name: str) -> bytes | None:
    label, _, above = name.partition(".")
    if not PLAIN_LABEL.fullmatch(label):
        return None
    rest = _encoded(above) if above else ROOT
    return LENGTHS[len(label)] + label.lower().encode() + rest if rest is not None else None


def read(question: Question, data: bytes) -> Message | None:
    """Read an ordinary answer to the question, id included; None for any other message."""
    end = HEADER_BYTES + len(question.section)
    if data[HEADER_BYTES:end] != question.section:
        return None
    # What the very same octets round the question were read as, behind a name with the same end in the same place.
    known = ABSENCES.get(data[ID_BYTES:HEADER_BYTES] + data[end:])
    if known is not None and known.end == end and question.section.endswith(known.tail):
        return known.message
    try:
        return _read(question, data, end)
    except (Odd, IndexError, ValueError, error):
        return None


def _read(question: Question, data: bytes, end: int) -> Message:
    flags, questions, answers, authorities, additionals = HEADER.unpack_from(data, ID_BYTES)
    if flags & QR_OPCODE_TC != QR or questions != 1:
        raise Odd
    answer, at = _records(question, data, end, answers)
    kept, at = _records(question, data, at, authorities)
    if _additional(question, data, at, additionals) != len(data):
        raise Odd
    authority = tuple([record for record in kept if record.rtype in KEPT])
    message = Message(flags & 0x000F, bool(flags & AA), bool(flags & RA), answer, authority)
    if not answers and len(data) <= LONGEST_ABSENCE:
        _remember(question, data, end, message)
    return message


def _remember(question: Question, data: bytes, end: int, message: Message) -> None:
    """Keep what was read of an absence: those of one zone are alike but for the names that were asked for.

    What is read depends on the question by pointers alone, so whatever could be a pointer counts as one.
    """
    starts = [at for at in range(end, len(data) - 1) if data[at] >= POINTER]
    lowest = min([(data[at] & 0x3F) << 8 | data[at + 1] for at in starts] + [end])
    if lowest < HEADER_BYTES:
        return
    if len(ABSENCES) >= MOST_ABSENCES:
        ABSENCES.clear()
    tail = question.section[lowest - HEADER_BYTES :]
    ABSENCES[data[ID_BYTES:HEADER_BYTES] + data[end:]] = Absence(end, tail, message)


def _records(question: Question, data: bytes, at: int, count: int) -> tuple[tuple[Record, ...], int]:
    if not count:
        return (), at
    records: list[Record] = []
    seen: set[tuple[str, int, str | bytes]] = set()
    for _ in range(count):
        if data[at : at + 2] == TO_QUESTION:
            owner, at = question.name, at + 2
        else:
            owner, at = _name(question, data, at)
        rtype, rclass, ttl, length = FIXED.unpack_from(data, at)
        start = at + FIXED_BYTES
        at = start + length
        if rclass != IN or ttl > MAX_TTL or at > len(data):
            raise Odd
        value = _value(question, data, rtype, start, at)
        if count > 1:
            # Texts that are cut differently are two records, which an SPF evaluation has to notice.
            key = (owner, rtype, "" if rtype in SINGLE else data[start:at] if rtype == TXT else value)
            if key in seen:
                raise Odd
            seen.add(key)
        records.append(Record(owner, rtype, ttl, value))
    return tuple(records), at


def _value(question: Question, data: bytes, rtype: int, start: int, end: int) -> str:
    if rtype == TXT:
        return _text(data, start, end)
    if rtype == A and end - start == 4:  # noqa: PLR2004  octets of an IPv4 address
        return f"{data[start]}.{data[start + 1]}.{data[start + 2]}.{data[start + 3]}"
    if rtype == MX:
        exchange, at = _name(question, data, start + 2)
        value = f"{data[start] << 8 | data[start + 1]} {exchange}"
    elif rtype in NAMED:
        value, at = _name(question, data, start)
    elif rtype == SOA:
        value, at = _soa(question, data, start)
    else:
        raise Odd
    if at != end:
        raise Odd
    return value


def _text(data: bytes, at: int, end: int) -> str:
    parts: list[bytes] = []
    while at < end:
        stop = at + 1 + data[at]
        parts.append(data[at + 1 : stop])
        at = stop
    if at != end or not parts:
        raise Odd
    return b"".join(parts).decode(errors="backslashreplace")


def _soa(question: Question, data: bytes, start: int) -> tuple[str, int]:
    primary, at = _name(question, data, start)
    mailbox, at = _name(question, data, at)
    numbers = " ".join(map(str, SOA_NUMBERS.unpack_from(data, at)))
    return f"{primary} {mailbox} {numbers}", at + SOA_NUMBERS.size


def _name(question: Question, data: bytes, at: int) -> tuple[str, int]:
    """A name in lower case with its final dot, and where what follows it begins."""
    if data[at] == POINTER and (known := _known(question, data[at + 1])):
        return known, at + 2
    labels: list[bytes] = []
    after, limit, size, jumps, floor = 0, at, 1, 0, len(data)
    while length := data[at]:
        if length <= MAX_LABEL:
            stop = at + 1 + length
            if stop >= floor:
                raise Odd
            labels.append(data[at + 1 : stop])
            size += length + 1
            at = stop
            continue
        if length < POINTER:
            raise Odd
        target = (length & 0x3F) << 8 | data[at + 1]
        if target >= limit or at + 1 >= floor:
            raise Odd
        after = after or at + 2
        if known := _known(question, target):
            return _joined(labels, size, known), after
        jumps += 1
        # What a pointer leads to lies wholly before the name that holds it.
        floor = limit
        at = limit = target
    if jumps > MAX_POINTERS or at >= floor or not labels:
        raise Odd
    return _joined(labels, size), after or at + 1


def _known(question: Question, target: int) -> str:
    """What a pointer into the question's name leads to: its text has the wire's own places; empty for no name."""
    name, at = question.name, target - HEADER_BYTES
    if at == 0:
        return name
    if at < 0 or at >= len(name) or len(name) + NOT_NAME != len(question.section):
        return ""
    return name[at:] if name[at - 1] == "." else ""


def _joined(labels: list[bytes], size: int, rest: str = "") -> str:
    if size + len(rest) > MAX_NAME or not all(map(PLAIN.fullmatch, labels)):
        raise Odd
    return b".".join([*labels, b""]).decode().lower() + rest


def _additional(question: Question, data: bytes, at: int, count: int) -> int:
    """Where the message ends, when there is nothing but addresses and one empty OPT record of EDNS version 0."""
    seen = False
    for _ in range(count):
        if data[at] == 0:
            rtype, _, ttl, length = FIXED.unpack_from(data, at + 1)
            if rtype != OPT or seen or ttl & 0xFFFF0000 or length:
                raise Odd
            seen, at = True, at + 1 + FIXED_BYTES
            continue
        at = _name(question, data, at)[1]
        rtype, rclass, _, length = FIXED.unpack_from(data, at)
        if rclass != IN or (rtype, length) not in {(A, 4), (AAAA, 16)}:
            raise Odd
        at += FIXED_BYTES + length
    return at
