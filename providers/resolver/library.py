"""What is out of the ordinary, read and written by dnspython, which is also the oracle of our own reading."""

from collections.abc import Iterable
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.txtbase
import dns.rrset

from providers.resolver.nouns import Message, Question, Record

HOLDS_NAMES = frozenset({"NS", "CNAME", "PTR", "MX", "SRV", "SOA"})  # compared without regard to case
KEPT = frozenset({dns.rdatatype.NS, dns.rdatatype.SOA})
EMPTY_QUESTION_ALLOWED = frozenset({1, 2, 4, 5})  # FORMERR, SERVFAIL, NOTIMP, REFUSED


class NotOurs(Exception):
    """Bytes that are no answer to the question: somebody may be guessing."""


def read(question: Question, data: bytes) -> Message:
    """Read any answer to the question, whole; NotOurs for what is none."""
    try:
        message = dns.message.from_wire(data)
    except (dns.exception.DNSException, EOFError, ValueError) as error:
        raise NotOurs(type(error).__name__) from error
    if not message.flags & dns.flags.QR or not _repeats(question, message):
        raise NotOurs("another question")
    return Message(
        int(message.rcode()),
        bool(message.flags & dns.flags.AA),
        bool(message.flags & dns.flags.RA),
        tuple(record for rrset in message.answer for record in _records(rrset)),
        tuple(record for rrset in message.authority if rrset.rdtype in KEPT for record in _records(rrset)),
        readable=message.opcode() == dns.opcode.QUERY,
    )


def _repeats(question: Question, message: dns.message.Message) -> bool:
    if not message.question:
        return int(message.rcode()) in EMPTY_QUESTION_ALLOWED
    if len(message.question) != 1:
        return False
    asked = message.question[0]
    return (asked.name.to_text().lower(), int(asked.rdtype), int(asked.rdclass)) == (question.name, question.rtype, 1)


def _records(rrset: dns.rrset.RRset) -> Iterable[Record]:
    if rrset.rdclass != dns.rdataclass.IN:
        return
    kind = dns.rdatatype.to_text(rrset.rdtype)
    for record in cast("Iterable[dns.rdata.Rdata]", rrset):
        yield Record(rrset.name.to_text().lower(), int(rrset.rdtype), rrset.ttl, _value(record, kind))


def _value(record: dns.rdata.Rdata, kind: str) -> str:
    if isinstance(record, dns.rdtypes.txtbase.TXTBase):
        return b"".join(record.strings).decode(errors="backslashreplace")
    text = record.to_text()
    return text.lower() if kind in HOLDS_NAMES else text


def name_on_wire(text: str) -> tuple[str, bytes] | None:
    """A name's text and wire form; None instead of an error: names come out of other people's records, too."""
    try:
        name = dns.name.from_text(text).canonicalize()
    except (dns.exception.DNSException, UnicodeError):
        return None
    return name.to_text(), name.to_wire() or b"\x00"


def rtype_of(text: str) -> int:
    """The number of a record type; ValueError for a word that names none."""
    try:
        return int(dns.rdatatype.from_text(text))
    except dns.exception.DNSException as error:
        raise ValueError(f"not a record type: {text!r}") from error
