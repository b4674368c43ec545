"""What a blocklist is, what one answer of it was, and what that means."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address
from typing import Final, NamedTuple, Protocol

from flows.policy.verdict import Verdict

LAST_OCTET: Final = 256


class Kind(StrEnum):
    """What is asked about; a list is asked only about the kinds it documents."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DOMAIN = "domain"


class Effect(StrEnum):
    """What a code of a list's table says of the subject."""

    LISTED = "listed"  # it harmed somebody
    POLICY = "policy"  # its owner says that no mail should come from there (PBL)
    AGE = "age"  # first seen too recently; no listing, no points
    REFUSAL = "refusal"  # said of us who ask, not of the subject


@dataclass(frozen=True, slots=True)
class Code:
    """One row of a list's code table.

    `pattern` is `127.0.0.2`, a range of last octets `127.0.0.4-7`, or a bit of it `127.0.0.&8`. A refusal has no tier.
    """

    pattern: str
    word: str
    effect: Effect = Effect.LISTED
    tier: int | None = None

    def __post_init__(self) -> None:
        """ValueError with one sentence for a pattern that can never match, and for a listing without a tier."""
        _parsed(self.pattern)
        if (self.tier is None) != (self.effect is Effect.REFUSAL):
            raise ValueError(f"code {self.pattern} ({self.word}): a refusal has no tier, anything else has one")

    @property
    def bit(self) -> int:
        """Which bits of the last octet this row is about; 0 when the whole octet counts."""
        return _parsed(self.pattern)[3]

    def matches(self, answer: IPv4Address) -> bool:
        """Whether this row explains an answer, or one bit of it."""
        network, first, last, bit = _parsed(self.pattern)
        octets = answer.packed
        if octets[:3] != network:
            return False
        return bool(octets[3] & bit) if bit else first <= octets[3] <= last


def _parsed(pattern: str) -> tuple[bytes, int, int, int]:
    head, _, tail = pattern.rpartition(".")
    bit = int(tail[1:]) if tail[:1] == "&" and tail[1:].isdecimal() else 0
    first, _, last = ("0", "", "") if bit else tail.partition("-")
    try:
        network = IPv4Address(f"{head}.0").packed[:3]
        numbers = int(first), int(last or first)
    except (AddressValueError, ValueError) as error:
        raise ValueError(f"no code pattern: {pattern!r}") from error
    if network[0] != 127 or not 0 <= numbers[0] <= numbers[1] < LAST_OCTET or bit >= LAST_OCTET:  # noqa: PLR2004  127/8, RFC 5782 2.1
        raise ValueError(f"no code pattern: {pattern!r}")
    return network, *numbers, bit


@dataclass(frozen=True, slots=True)
class Probe:
    """Two subjects whose answers a living list always gives (RFC 5782 section 5)."""

    listed: str
    clean: str


@dataclass(frozen=True, slots=True)
class Blocklist:
    """One list. `tier` is that of its gravest ordinary code: how often it is asked, and what hangs on its silence."""

    name: str
    title: str
    tier: int  # 1 receivers reject on it, 2 hurts placement, 3 a note
    points: dict[Kind, Probe]
    codes: tuple[Code, ...]
    lookup_url: str = ""  # where a person asks why, and for removal
    gates: bool = True  # False: an operator has said that nothing waits for this list

    def answers(self, kind: Kind) -> bool:
        """Whether the list documents this kind of subject."""
        return kind in self.points


class Heard(Protocol):
    """What one question brought. `outcome` is found, absent, servfail, refused, timeout, broken or unlicensed."""

    @property
    def outcome(self) -> str: ...  # noqa: D102  explained above
    @property
    def codes(self) -> tuple[str, ...]: ...  # noqa: D102  the addresses that stand at the name
    @property
    def texts(self) -> tuple[str, ...]: ...  # noqa: D102  the list's reasons
    @property
    def question(self) -> str: ...  # noqa: D102  as it may be shown: `<key>` stands for the licence key
    @property
    def server(self) -> str: ...  # noqa: D102  that said it
    @property
    def asked_at(self) -> datetime: ...  # noqa: D102  in UTC
    @property
    def ttl_seconds(self) -> int | None: ...  # noqa: D102  how long it holds


class Finding(NamedTuple):
    """One list's word on one subject: PASS is clean, FAIL is listed. `code` is the worst row that matched."""

    verdict: Verdict
    listname: str
    tier: int
    code: Code | None = None
    codes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    unknown_codes: tuple[str, ...] = ()
    refused: str = ""  # what the list holds against us who ask
    gates: bool = True
    at: datetime | None = None
