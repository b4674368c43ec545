"""State words and moves of campaigns and their messages; what sends them is a later journey."""

from enum import StrEnum
from typing import Final

from flows.policy.lifecycle import Moves, moves


class CampaignStatus(StrEnum):
    """Where a campaign stands."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class EmailStatus(StrEnum):
    """Where one message to one lead stands."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"


CAMPAIGN_MOVES: Final[Moves] = moves(
    CampaignStatus,
    draft="scheduled running cancelled",
    scheduled="draft running cancelled",
    running="paused completed cancelled",
    paused="running cancelled",
)
EMAIL_MOVES: Final[Moves] = moves(
    EmailStatus,
    queued="sending suppressed cancelled",
    sending="sent deferred bounced failed",
    deferred="sending suppressed cancelled failed",
    sent="bounced",  # a bounce may come days after the host took it
)


def campaign_from(new: CampaignStatus) -> tuple[CampaignStatus, ...]:
    """Words a campaign may come from."""
    return tuple(word for word in CampaignStatus if new in CAMPAIGN_MOVES[word])


def email_from(new: EmailStatus) -> tuple[EmailStatus, ...]:
    """Words a message may come from."""
    return tuple(word for word in EmailStatus if new in EMAIL_MOVES[word])


TAKES_LEADS: Final = frozenset({
    CampaignStatus.DRAFT, CampaignStatus.SCHEDULED, CampaignStatus.RUNNING, CampaignStatus.PAUSED
})  # fmt: skip


def why_not(old: CampaignStatus, new: CampaignStatus) -> str:
    """The sentence for a move that is not allowed."""
    further = [word for word in CampaignStatus if word in CAMPAIGN_MOVES[old]]
    if not further:
        return f"it is {old}, and stays so"
    return f"it is {old}, and from there becomes {', '.join(further[:-1])} or {further[-1]}, not {new}"
