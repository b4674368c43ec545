"""What a step can say when it ends without an error."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

WaitReason = Literal["dns", "provider", "operator"]


@dataclass(frozen=True, slots=True)
class Done:
    """It is true. `output` is what a later step or a rerun needs: ids and public facts, never a secret."""

    output: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Waiting:
    """It is not true yet, and not for us to make it so. `detail` says what is waited for and what ends the wait."""

    reason: WaitReason
    detail: str
    look_again_in: timedelta | None = None  # None: only a person can end it


@dataclass(frozen=True, slots=True)
class Refused:
    """The order itself cannot be carried out; nothing was done."""

    sentence: str


Outcome = Done | Waiting | Refused


@dataclass(frozen=True, slots=True)
class JobEnded:
    """How the run of a queued job ended; without a reason it is done. `again`: the job's budget of attempts decides."""

    reason: str | None = None
    again: bool = False
