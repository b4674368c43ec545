"""Our reading of answers beside dnspython's, over made, mended and broken messages. CASES=100000 for a long run."""

import os
import random
from collections import Counter
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.renderer
import dns.rrset
import pytest

from providers.resolver import library, wire
from providers.resolver.naming import new_question, questions_under
from providers.resolver.nouns import RD, Message, Question

CASES = int(os.environ.get("CASES", "1500"))
SEED = int(os.environ.get("SEED", "5"))
LABELS = ("acme", "example", "_dmarc", "s1", "_domainkey", "MAIL", "x" * 63, "a-b", "*", "ns1", "xn--bcher-kva", "0")
ODD_LABELS = (r"a\.b", r"\000", r"\200", "q\\032q", r"\@")
TYPES = ("A", "TXT", "MX", "NS", "CNAME", "PTR", "SOA", "AAAA", "SRV", "CAA", "DNAME", "TYPE65280")


def asked(name: str, rtype: str) -> Question:
    encoded = library.name_on_wire(name)
    assert encoded is not None
    return Question.about(*encoded, library.rtype_of(rtype))


def name(rng: random.Random) -> str:
    labels = [rng.choice(LABELS) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.03:
        labels[0] = rng.choice(ODD_LABELS)
    while sum(map(len, labels)) + len(labels) > 250:
        labels.pop()
    return ".".join(labels) + "."


def value(rng: random.Random, rtype: str) -> str:  # noqa: PLR0911  a table
    match rtype:
        case "A":
            return f"192.0.2.{rng.randrange(256)}"
        case "AAAA":
            return f"2001:db8::{rng.randrange(65536):x}"
        case "TXT":
            parts = [rng.randbytes(rng.choice((0, 1, 30, 255))) for _ in range(rng.randint(1, 3))]
            return " ".join('"' + "".join(f"\\{byte:03d}" for byte in part) + '"' for part in parts)
        case "MX":
            return f"{rng.randrange(65536)} {rng.choice((name(rng), '.'))}"
        case "SRV":
            return f"0 1 465 {name(rng)}"
        case "SOA":
            return f"{name(rng)} {name(rng)} {rng.randrange(2**32)} 1 2 3 {rng.randrange(2**32)}"
        case "CAA":
            return '0 issue "ca.example"'
        case "TYPE65280":
            return r"\# 2 abcd"
        case _:
            return name(rng)


def rrset(rng: random.Random, owner: str, rtype: str) -> dns.rrset.RRset:
    values = [value(rng, rtype) for _ in range(1 if rtype in {"CNAME", "SOA", "DNAME"} else rng.randint(1, 3))]
    return dns.rrset.from_text_list(owner, rng.randrange(2**31), "IN", rtype, values)


def made(rng: random.Random) -> tuple[Question, bytes]:
    """A message as a server might write it, compressed, with anything in any section."""
    common = rng.choice(TYPES[:7])
    query = dns.message.make_query(name(rng).lower(), common, use_edns=0)
    reply = dns.message.make_response(query, recursion_available=rng.random() < 0.5)
    reply.set_rcode(rng.choice((0, 0, 0, 0, 2, 3, 5, 16)))
    if rng.random() < 0.5:
        reply.flags |= dns.flags.AA
    if rng.random() < 0.3:
        reply.use_edns(edns=False)
    owner = query.question[0].name.to_text()
    kinds = [common if rng.random() < 0.8 else rng.choice(TYPES) for _ in range(rng.randint(0, 3))]
    reply.answer = [rrset(rng, owner if rng.random() < 0.7 else name(rng), kind) for kind in kinds]
    if rng.random() < 0.5:
        reply.authority = [rrset(rng, name(rng), rng.choice(("SOA", "NS", "A", "SOA")))]
    if rng.random() < 0.3:
        reply.additional = [rrset(rng, name(rng), rng.choice(("A", "AAAA", "A", "TXT")))]
    return asked(owner, common), reply.to_wire(max_size=65535)


def broken(rng: random.Random, data: bytes) -> bytes:
    """The same with some octets changed, cut out, doubled or put in."""
    hurt = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(hurt)) if rng.random() < 0.2 else rng.randrange(12, max(len(hurt), 13))
        at = min(at, len(hurt) - 1)
        match rng.randrange(6):
            case 0:
                hurt[at] = rng.randrange(256)
            case 1:
                hurt[at] = rng.choice((0xC0, 0xC1, 0x00, 0xFF, 0x3F, 0x40, 0x0C))
            case 2:
                hurt[at : at + 2] = bytes((0xC0, rng.randrange(256)))
            case 3:
                del hurt[at : at + rng.randint(1, 8)]
            case 4:
                hurt[at:at] = rng.randbytes(rng.randint(1, 8))
            case _:
                del hurt[at:]
        if not hurt:
            return b"\0"
    return bytes(hurt)


def cases(count: int, seed: int) -> Iterator[tuple[Question, bytes]]:
    rng = random.Random(seed)
    for number in range(count):
        question, data = made(rng)
        yield question, broken(rng, data) if number % 2 else data


def by_library(question: Question, data: bytes) -> Message | None:
    try:
        return library.read(question, data)
    except library.NotOurs:
        return None


def same(message: Message) -> tuple[object, ...]:
    """A message with each set's time to live brought to its lowest, in one order: what an answer is made of."""
    lowest: dict[tuple[str, int], int] = {}
    for record in message.answer + message.authority:
        key = record.owner, record.rtype
        lowest[key] = min(record.ttl, lowest.get(key, record.ttl))
    sections = (
        sorted((record.owner, record.rtype, record.value) for record in section)
        for section in (message.answer, message.authority)
    )
    return message.rcode, message.authoritative, message.recursive, message.readable, lowest, *sections


def test_what_we_read_ourselves_is_what_the_library_reads() -> None:
    seen: Counter[str] = Counter()
    for number, (question, data) in enumerate(cases(CASES, SEED)):
        ours = wire.read(question, data)
        theirs = by_library(question, data)
        if ours is not None:
            assert theirs is not None, f"case {number} of seed {SEED}: the library refuses {data.hex()}"
            assert same(ours) == same(theirs), f"case {number} of seed {SEED}: {data.hex()}"
        seen["both" if ours else "the library alone" if theirs else "neither"] += 1
    print(f"{CASES} cases of seed {SEED}: {dict(seen)}")  # noqa: T201  shown by a long run
    assert min(seen["both"], seen["neither"], seen["the library alone"]) > CASES / 20


@pytest.mark.parametrize("length", [0, 1, 2, 11, 12, 13])
def test_a_message_of_next_to_nothing_is_left_to_the_library(length) -> None:
    assert wire.read(asked("acme.example.", "A"), bytes(length)) is None


def test_random_bytes_never_raise() -> None:
    rng = random.Random(SEED)
    question = asked("acme.example.", "TXT")
    head = b"\0\0\x84\0\0\1" + bytes(6) + question.section
    for _ in range(CASES):
        counts = bytes(rng.choice((0, 1, 2)) if at % 2 else 0 for at in range(6))
        data = head[:6] + counts + head[12:] + rng.randbytes(rng.randrange(60))
        ours = wire.read(question, data)
        if ours is not None:
            assert same(ours) == same(library.read(question, data)), data.hex()


@pytest.mark.parametrize(
    "name",
    ["acme.example", "ACME.example.", "_dmarc.acme.example", "x" * 63 + ".example", "bücher.example", ".", "a\\.b"],
)
def test_a_name_goes_on_the_wire_as_the_library_writes_it(name) -> None:
    ours = wire.encoded(name)
    assert ours is None or ours == dns.name.from_text(name).canonicalize().to_wire()


@pytest.mark.parametrize(
    "label", ["9.2.0.192", "ACME.example", "x" * 64, "a..b", "a.", "", "a\\.b", "bücher", "x." * 120 + "x"]
)
@pytest.mark.parametrize("zone", ["bl.example", "BL.example.", "y" * 63, "y" * 64, "", ".", "a\\.b.example"])
def test_a_name_below_a_zone_is_asked_for_as_if_it_were_written_out(label, zone) -> None:
    assert list(questions_under([zone], label, 1)) == [new_question(f"{label}.{zone}", 1, RD)]


@pytest.mark.parametrize("name", ["x" * 64 + ".example", "a..b", "x." * 140, ""])
def test_a_name_that_no_message_can_carry_is_not_ours_to_write(name) -> None:
    assert wire.encoded(name) is None


@pytest.mark.parametrize(
    ("rtype", "disabled", "recursive"), [("TXT", False, True), ("A", True, True), ("MX", False, False)]
)
def test_a_question_is_written_as_the_library_writes_it(rtype, disabled, recursive) -> None:
    flags = (dns.flags.RD if recursive else dns.flags.Flag(0)) | (dns.flags.CD if disabled else dns.flags.Flag(0))
    theirs = dns.message.make_query("acme.example.", rtype, use_edns=0, payload=1232, flags=flags).to_wire()
    encoded = wire.encoded("acme.example.")
    assert encoded is not None
    ours = Question.about("acme.example.", encoded, library.rtype_of(rtype), int(flags)).wire
    assert ours == theirs[2:]


def test_texts_that_are_cut_differently_stay_two_records() -> None:
    query = dns.message.make_query("acme.example.", "TXT")
    reply = dns.message.make_response(query)
    reply.answer = [dns.rrset.from_text_list("acme.example.", 60, "IN", "TXT", ['"v=spf1" " -all"', '"v=spf1 -all"'])]
    ours = wire.read(asked("acme.example.", "TXT"), reply.to_wire())
    assert ours is not None
    assert [record.value for record in ours.answer] == ["v=spf1 -all"] * 2


def test_an_absence_that_is_like_one_before_is_read_as_the_library_reads_it() -> None:
    """Octets alike behind other names, in other places, with pointers that lead into the name that was asked for."""
    rng, read = random.Random(SEED), 0
    for _ in range(CASES):
        owner = ".".join((rng.choice(("a", "b", "bb", "a.b", "b.a")), rng.choice(("x.example", "y.example")))) + "."
        query = dns.message.make_query(owner, "A", use_edns=0)
        reply = dns.message.make_response(query, recursion_available=True)
        zone = rng.choice((owner.partition(".")[2], "example."))
        reply.authority = [dns.rrset.from_text(zone, 60, "IN", "SOA", f"ns.{zone} h.{zone} 1 2 3 4 5")]
        question, data = asked(owner, "A"), bytearray(reply.to_wire())
        end = 12 + len(question.section)
        if rng.random() < 0.5:  # another place in the question's name, or in the header
            pointers = [at for at in range(end, len(data) - 20) if data[at] == 0xC0]
            data[rng.choice(pointers) + 1] = rng.randrange(8, end + 2)
        ours, theirs = wire.read(question, bytes(data)), by_library(question, bytes(data))
        if ours is not None:
            read += 1
            assert theirs is not None, data.hex()
            assert same(ours) == same(theirs), data.hex()
    assert read > CASES / 2


def test_an_absence_of_unusual_length_is_read_and_not_kept() -> None:
    wire.ABSENCES.clear()
    for servers, kept in ((0, 1), (200, 1)):
        query = dns.message.make_query("gone.example.", "A", use_edns=0)
        reply = dns.message.make_response(query, recursion_available=True)
        reply.authority = [dns.rrset.from_text("example.", 60, "IN", "SOA", "ns.example. h.example. 1 2 3 4 5")]
        if servers:
            names = [f"ns{number}.example." for number in range(servers)]
            reply.authority.append(dns.rrset.from_text("example.", 60, "IN", "NS", *names))
        message = wire.read(asked("gone.example.", "A"), reply.to_wire(max_size=65535))
        assert message is not None
        assert len(message.authority) == 1 + servers
        assert len(wire.ABSENCES) == kept
