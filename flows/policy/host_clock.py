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


def setting(wrong: WrongClock, changes: tuple[Change, ...], facts: Facts, answered_at: float) -> Change | None:
    """Tell a host the time before anything else, where the plan is only now to give it a time service.

    That service comes by apt, which refuses indexes that are not yet valid, or no longer, by the clock it has. None
    where the host has a service that sets the clock, or cannot set it.
    """
    if not wrong.mends_itself or not being_mended(changes):
        return None
    summary = f"{COMPONENT}: set, it was {abs(wrong.seconds)} s {'ahead' if wrong.seconds > 0 else 'behind'}"
    return Change(summary, f"set_clock {round(answered_at)} {facts.up_seconds}")


def being_mended(changes: tuple[Change, ...]) -> bool:
    """Whether a plan gives the host a time service."""
    return any(change.summary.startswith(f"{COMPONENT}:") for change in changes)


def doubt(ours: float, witness: float) -> str | None:
    """Why no host may be judged by our own clock: another machine of ours, the database's, has another time."""
    if abs(ours - witness) <= LIMIT_SECONDS:
        return None
    return (
        f"the clocks of the worker and of the database are {abs(ours - witness):.0f} s apart (limit {LIMIT_SECONDS} s),"
        " so no host's clock is judged or set; see timedatectl on both machines"
    )
