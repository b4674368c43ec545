"""Nouns of the Hostwinds wire that no other provider shares."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from providers.vps import Server


class Kind(StrEnum):
    """What a reply says, before anybody asks what it means for the call."""

    ACCEPTED = "accepted"  # items, all success
    REFUSED = "refused"  # items, all error
    PARTIAL = "partial"  # items of both sorts: something may have moved
    PAYLOAD = "payload"  # an answer to a question
    UNRECOGNISED = "unrecognised"


@dataclass(frozen=True, slots=True)
class Item:
    """One line of an answer to a change. `message` is the vendor's prose and decides nothing."""

    succeeded: bool
    title: str
    message: str
    code: str  # looks like a call-site constant of theirs: shown, never branched on


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed body. The payload may hold root passwords and stays out of `repr`."""

    kind: Kind
    items: tuple[Item, ...] = ()
    payload: Any = field(default=None, repr=False)
    bare: bool = False  # a payload without its `success` wrapper
    reason: str = ""  # why it was not recognised


@dataclass(frozen=True, slots=True)
class ServerRows:
    """A list of servers, and what had to be left out of it."""

    servers: tuple[Server, ...]
    skipped: int  # rows without a usable id
    skipped_tokens: frozenset[str]  # labels on those rows: such a server exists but cannot be addressed


@dataclass(frozen=True, slots=True)
class FirewallRule:
    """One rule of the vendor's firewall; `None` means any."""

    direction: str
    protocol: str | None
    port_min: int | None
    port_max: int | None


@dataclass(frozen=True, slots=True)
class FirewallProfile:
    """The vendor's firewall in front of a server."""

    name: str
    rules: tuple[FirewallRule, ...]
