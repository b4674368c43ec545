"""Whether a host's clock may be trusted: its signatures, its certificate's end and its daily caps go by it."""

from dataclasses import dataclass

from flows.policy.convergence import Change, Facts

LIMIT_SECONDS = 60  # a signature from further ahead is refused by some receivers (RFC 6376 section 3.5)
COMPONENT = "clock"  # of secure_host: the change that gives a host a time service
OWN = "none"  # of systemd-detect-virt: no container, so the clock is the host's own


@dataclass(frozen=True, slots=True)
class WrongClock:
    """How far a host's clock is off, and whether the host is to set it by itself."""

    seconds: int  # positive: ahead of ours
    mends_itself: bool

    @property
    def sentence(self) -> str:
        """What was found and what is to be done."""
        found = f"the clock is {abs(self.seconds)} s {'ahead of' if self.seconds > 0 else 'behind'} ours"
        if self.mends_itself:
            return f"{found} (limit {LIMIT_SECONDS} s); its time service has to set it: timedatectl timesync-status"
        return (
            f"{found} (limit {LIMIT_SECONDS} s), nothing is signed by it; compare date on the host and on the worker,"
            " and have the wrong one set (timedatectl on a machine, its provider for a container)"
        )


def wrong_clock(facts: Facts, asked_at: float, answered_at: float) -> WrongClock | None:
    """Judge the host's word by the moments between which it was given; None while it is within the limit."""
    off = min(facts.clock_seconds - asked_at + 1, 0) + max(facts.clock_seconds - answered_at, 0)  # in whole seconds
    if abs(off) <= LIMIT_SECONDS:
        return None
    return WrongClock(round(off), mends_itself=facts.container == OWN)


def being_mended(changes: tuple[Change, ...]) -> bool:
    """Whether a plan gives the host a time service: then that comes first, and the next look judges."""
    return any(change.summary.startswith(f"{COMPONENT}:") for change in changes)
