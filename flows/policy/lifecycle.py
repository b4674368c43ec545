"""Which status may follow which. The words are those of the tables' CHECKs."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import chain
from types import MappingProxyType
from typing import Final, TypeVar

Status = TypeVar("Status", bound=StrEnum)


class InstanceStatus(StrEnum):
    """`vps_instances.status`."""

    REQUESTED = "requested"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    MAINTENANCE = "maintenance"
    SUSPENDED = "suspended"
    FAILED = "failed"
    SCHEDULED_DECOMMISSION = "scheduled_decommission"
    DECOMMISSIONED = "decommissioned"


class AddressStatus(StrEnum):
    """`smtp_ip_addresses.status`."""

    AVAILABLE = "available"
    ASSIGNED = "assigned"
    WARMING = "warming"
    WARMED = "warmed"
    DEGRADED = "degraded"
    BURNED = "burned"
    QUARANTINED = "quarantined"
    RELEASED = "released"


class DomainStatus(StrEnum):
    """`domains.verification_status`. UNKNOWN after a conclusive answer leaves the word as it is."""

    PENDING = "pending"
    PARTIALLY_VERIFIED = "partially_verified"
    VERIFIED = "verified"
    FAILED = "failed"
    ERROR = "error"
    DELETED = "deleted"


class MailboxStatus(StrEnum):
    """`email_accounts.status`; issue: the host disagrees, paused: policy resumes it, suspended: a person must."""

    PENDING = "pending"
    ACTIVE = "active"
    ISSUE = "issue"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class DkimKeyStatus(StrEnum):
    """`dkim_keys.status`; signing begins at active, after the published record was verified."""

    GENERATED = "generated"
    PUBLISHED = "published"
    VERIFIED = "verified"
    ACTIVE = "active"
    RETIRING = "retiring"
    REVOKED = "revoked"
    DELETED = "deleted"


class RunStatus(StrEnum):
    """`provisioning_runs.status`; waiting carries a reason, rejected was refused before anything was done."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    REJECTED = "rejected"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """`provisioning_steps.status`; unconfirmed: it may have happened, look before acting."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    UNCONFIRMED = "unconfirmed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class OrderState(StrEnum):
    """`provider_orders.state`; the protocol is told in flows/onboarding/servers.py."""

    INTENDED = "intended"
    CALLING = "calling"
    ACCEPTED = "accepted"
    UNCONFIRMED = "unconfirmed"
    FULFILLED = "fulfilled"
    REJECTED = "rejected"
    NEEDS_OPERATOR = "needs_operator"
    ABANDONED = "abandoned"


Moves = Mapping[StrEnum, frozenset[StrEnum]]


def moves(words: type[StrEnum], **table: str) -> Moves:
    """One subject's table from lines `old="new new"`; an unknown word is a ValueError at import."""
    written = {words(old): frozenset(map(words, new.split())) for old, new in table.items()}
    return MappingProxyType({word: written.get(word, frozenset()) for word in words})


# A word without a line is terminal. `running` may follow itself: a new process takes over what a dead one left.
ALLOWED: Final[Mapping[type[StrEnum], Moves]] = MappingProxyType(
    {
        InstanceStatus: moves(
            InstanceStatus,
            requested="provisioning failed",
            provisioning="active failed scheduled_decommission",
            active="maintenance suspended failed scheduled_decommission",
            maintenance="active failed scheduled_decommission",
            suspended="active failed scheduled_decommission",
            failed="provisioning scheduled_decommission",
            # Not to failed: a retry from there would revive a server that is to end.
            scheduled_decommission="decommissioned",
        ),
        AddressStatus: moves(
            AddressStatus,
            available="assigned released",
            assigned="available warming released",
            warming="warmed degraded released",
            warmed="degraded released",
            degraded="warmed quarantined burned released",
            quarantined="warming burned released",
            burned="released",
        ),
        DomainStatus: moves(
            DomainStatus,
            pending="partially_verified verified failed error deleted",
            partially_verified="pending verified failed deleted",
            verified="partially_verified failed deleted",
            failed="partially_verified verified deleted",
            # Only while no conclusive answer was ever seen, so nothing but pending leads here.
            error="pending partially_verified verified failed deleted",
        ),
        MailboxStatus: moves(
            MailboxStatus,
            pending="active issue suspended deleted",
            active="issue paused suspended deleted",
            issue="active paused suspended deleted",
            paused="active issue suspended deleted",
            suspended="active deleted",
        ),
        DkimKeyStatus: moves(
            DkimKeyStatus,
            generated="published deleted",
            published="verified revoked deleted",
            verified="published active revoked",
            active="retiring revoked",
            # Back to active when the record of its successor breaks while the old one is still published.
            retiring="active revoked",
            revoked="deleted",
        ),
        RunStatus: moves(
            RunStatus,
            pending="running rejected failed cancelled",
            running="running waiting rejected succeeded failed cancelled",
            waiting="running failed cancelled",
            rejected="pending running cancelled",
            failed="pending running cancelled",
        ),
        StepStatus: moves(
            StepStatus,
            pending="running skipped",
            running="running waiting unconfirmed succeeded failed",
            waiting="running failed",
            unconfirmed="running waiting succeeded failed",
            succeeded="pending running",  # an operator retries from here on
            failed="pending running",
            skipped="pending running",
        ),
        OrderState: moves(
            OrderState,
            # Straight to fulfilled: the look before the call found a server that carries our token.
            intended="calling fulfilled needs_operator abandoned",
            calling="intended accepted unconfirmed fulfilled rejected",
            accepted="unconfirmed fulfilled needs_operator",
            unconfirmed="fulfilled needs_operator",
            rejected="intended needs_operator abandoned",
            needs_operator="intended fulfilled abandoned",
            abandoned="intended fulfilled",  # on a person's word, or when it shows after all
        ),
    }
)


def may_become(old: Status, new: Status) -> bool:
    """Whether the subject may go from `old` to `new`; words of two different subjects never mix."""
    return type(old) is type(new) and new in ALLOWED[type(old)][old]


def allowed_from(new: Status) -> tuple[Status, ...]:
    """The statuses that may become `new`, for `WHERE status = ANY(…)`; in the order of the words."""
    words = type(new)
    return tuple(old for old in words if new in ALLOWED[words][old])


def is_terminal(status: StrEnum) -> bool:
    """Whether nothing follows."""
    return not ALLOWED[type(status)][status]


def reachable(start: StrEnum) -> frozenset[StrEnum]:
    """Every status that some chain of moves leads to from `start`, itself included."""
    table = ALLOWED[type(start)]
    seen: frozenset[StrEnum] = frozenset({start})
    while not (further := frozenset(chain.from_iterable(table[word] for word in seen))) <= seen:
        seen |= further
    return seen
