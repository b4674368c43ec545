"""What is asked of name servers, and what is made of their words."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

CLASS_IN: Final = b"\x00\x01"
RD: Final = 0x0100  # find out for us (RFC 1035 section 4.1.1)
CD: Final = 0x0010  # what validation would hold back, too (RFC 4035 section 3.2.2)
ONE_QUESTION: Final = b"\x00\x01\x00\x00\x00\x00\x00\x01"  # and one additional record
# No option, 1232 bytes of UDP payload (larger answers come over TCP instead of in fragments), no DNSSEC records wanted.
EDNS: Final = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"

ENDLESS: Final = "CNAME-CHAIN"  # in the place of a response code: aliases that lead in a circle, or on for too long


class Outcome(StrEnum):
    """What became of a question; `settled` ones may be believed."""

    FOUND = "found"
    ABSENT = "absent"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    BROKEN = "broken"
    BUDGET = "budget"  # never asked: this inquiry has used up its questions or its time

    @property
    def settled(self) -> bool:
        """Whether this says something about the record, and not about the server."""
        return self is Outcome.FOUND or self is Outcome.ABSENT


class Answer(NamedTuple):
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


class Question(NamedTuple):
    """One name and type as it goes on the wire."""

    name: str  # absolute, in lower case
    rtype: int
    flags: int
    section: bytes  # the question section alone, which an answer has to repeat
    wire: bytes  # the message without its id: two questions are the same when this is

    @classmethod
    def about(cls, name: str, encoded: bytes, rtype: int, flags: int = RD) -> "Question":
        """The question for a name with its wire form."""
        section = encoded + rtype.to_bytes(2) + CLASS_IN
        return cls(name, rtype, flags, section, flags.to_bytes(2) + ONE_QUESTION + section + EDNS)

    @property
    def is_recursive(self) -> bool:
        """Whether the server is to find out, and not to tell what it holds itself."""
        return bool(self.flags & RD)


class Record(NamedTuple):
    """One record of an answer: owner absolute in lower case, value as it stands in `Answer.values`."""

    owner: str
    rtype: int
    ttl: int
    value: str


class Message(NamedTuple):
    """What matters of a name server's message. `rcode` is the extended one; of authority only SOA and NS are kept."""

    rcode: int
    authoritative: bool
    recursive: bool  # the server offers recursion
    answer: tuple[Record, ...]
    authority: tuple[Record, ...]
    readable: bool = True  # False: an opcode that is no answer to a question


@dataclass(frozen=True, slots=True)
class Silence:
    """Why there is no message."""

    outcome: Outcome
    word: str
