"""What a plan allows against what a tenant wants; the limits are the JSON of `plans.limits`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KINDS: Final = ("servers", "ips", "domains", "mailboxes")
UNLIMITED: Final = -1


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is done: a short code for the table, one sentence for the tenant."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """The most of each that a plan allows; None is without limit. What could not be read is a refusal, not a limit."""

    servers: int | None = 0
    ips: int | None = 0
    domains: int | None = 0
    mailboxes: int | None = 0
    unreadable: tuple[Refusal, ...] = ()

    @classmethod
    def from_json(cls, plan: Mapping[str, object]) -> "PlanLimits":
        """Read `plans.limits`. A missing key is a refusal that names it, never "no limit"; -1 and null are that."""
        read = {kind: limit_of(plan, kind) for kind in KINDS}
        numbers = {kind: value for kind, value in read.items() if not isinstance(value, Refusal)}
        return cls(**numbers, unreadable=tuple(value for value in read.values() if isinstance(value, Refusal)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many of each the tenant would have once this run is through, what it has already included."""

    servers: int
    ips: int
    domains: int
    mailboxes: int


def admit(limits: PlanLimits, wanted: Wanted) -> tuple[Refusal, ...]:
    """Every reason against; empty means go on. All are given, so that one correction is enough."""
    kinds = [kind for kind in KINDS if kind not in {refusal.code.partition(":")[2] for refusal in limits.unreadable}]
    beyond = (excess(kind, getattr(limits, kind), getattr(wanted, kind)) for kind in kinds)
    return (*limits.unreadable, *(refusal for refusal in beyond if refusal))


def excess(kind: str, limit: int | None, wanted: int) -> Refusal | None:
    """The refusal when `wanted` is beyond `limit`."""
    if wanted < 0:
        raise ValueError(f"nobody can want {wanted} {kind}")
    if limit is None or wanted <= limit:
        return None
    return Refusal(f"limit:{kind}", f"The plan allows {limit} {kind}, {wanted} are wanted.")


def limit_of(plan: Mapping[str, object], kind: str) -> int | Refusal | None:
    """One limit of the plan: a whole number, None for no limit, or why it cannot be read."""
    if kind not in plan:
        return Refusal(f"unreadable:{kind}", f"The plan does not say how many {kind} it allows.")
    value = plan[kind]
    if value is None or value == UNLIMITED:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return Refusal(f"unreadable:{kind}", f"The plan's limit of {kind} is no whole number: {str(value)[:40]!r}.")
    return value
