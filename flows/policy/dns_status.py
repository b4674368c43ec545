"""From verdicts to a status that does not flap, and when to look again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from flows.policy.lifecycle import DomainStatus
from flows.policy.presets import DNS_STATUS
from flows.policy.verdict import Truth, Verdict

DAY: Final = timedelta(days=1)
LONG_TTL: Final = timedelta(hours=1)
MOST_DOUBLINGS: Final = 6  # of a minute: beyond the hour that ends them


class RecordStatus(StrEnum):
    """`verification_status` of one record in `domains.dns_records`; an error stands beside the word, not in it."""

    NOT_VERIFIED = "not_verified"  # given up asking until somebody wants to know
    PENDING = "pending"
    VERIFIED = "verified"
    FAILED = "failed"


class Notice(StrEnum):
    """What somebody is told when a status takes a step."""

    FIRST_FAIL = "first_fail"  # tenant: it may be nothing yet
    FAILED = "failed"  # tenant
    RECOVERED = "recovered"  # tenant
    NOBODY_ANSWERS = "nobody_answers"  # operator only
    ANSWERED_AGAIN = "answered_again"  # operator only


@dataclass(frozen=True, slots=True)
class Rules:
    """The figures, from a `thresholds` preset."""

    fails_to_failed: int
    fail_span: timedelta
    passes_when_flapping: int
    flaps_in_a_day: int
    unknowns_to_alert: int
    pending_steps: tuple[timedelta, ...]
    jitter: float  # share of the interval

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Rules":
        """The body of a `dns-status` preset."""
        return cls(
            int(body["fails_to_failed"]),
            timedelta(seconds=body["fail_span_seconds"]),
            int(body["passes_when_flapping"]),
            int(body["flaps_in_24_hours"]),
            int(body["unknowns_to_alert"]),
            tuple(timedelta(seconds=step) for step in body["pending_steps_seconds"]),
            float(body["jitter"]),
        )


SHIPPED: Final = Rules.from_json(DNS_STATUS.body)


@dataclass(frozen=True, slots=True)
class RecordState:
    """What is remembered of one record between two looks."""

    status: RecordStatus = RecordStatus.PENDING
    since: datetime | None = None  # when the status was entered
    fails: int = 0  # in a row; UNKNOWN neither adds nor ends the row
    failing_since: datetime | None = None
    passes: int = 0  # in a row
    unknowns: int = 0  # in a row
    error: str = ""  # reason of the last UNKNOWN, until something conclusive comes
    conclusive: bool = False  # whether anything conclusive was ever seen
    flaps: tuple[datetime, ...] = ()  # falls from verified to failed within a day
    disagreeing_since: datetime | None = None  # first time the authorities were seen to differ, while they do


def after(
    state: RecordState, verdict: Verdict, at: datetime, rules: Rules = SHIPPED
) -> tuple[RecordState, tuple[Notice, ...]]:
    """The state after one more verdict, and who is to be told of it."""
    state = replace(
        state,
        since=state.since or at,
        flaps=tuple(flap for flap in state.flaps if at - flap < DAY),
        disagreeing_since=(state.disagreeing_since or at) if verdict.reason == "authorities_disagree" else None,
    )
    if verdict.truth is Truth.UNKNOWN:
        return after_unknown(state, verdict, rules)
    state, answered = conclude(state, rules)
    passed = verdict.truth is Truth.PASS
    state, notices = after_pass(state, at, rules) if passed else after_fail(state, verdict, at, rules)
    return state, (*answered, *notices)


def conclude(state: RecordState, rules: Rules) -> tuple[RecordState, tuple[Notice, ...]]:
    """Something conclusive was seen: the trouble before it is over, and who was told of it hears that too."""
    notices = (Notice.ANSWERED_AGAIN,) if state.unknowns >= rules.unknowns_to_alert else ()
    return replace(state, unknowns=0, error="", conclusive=True), notices


def after_unknown(state: RecordState, verdict: Verdict, rules: Rules) -> tuple[RecordState, tuple[Notice, ...]]:
    """The status stays; an operator hears of it once."""
    unknowns = state.unknowns + 1
    notices = (Notice.NOBODY_ANSWERS,) if unknowns == rules.unknowns_to_alert else ()
    return replace(state, unknowns=unknowns, error=verdict.reason), notices


def after_pass(state: RecordState, at: datetime, rules: Rules) -> tuple[RecordState, tuple[Notice, ...]]:
    """One pass verifies; a record that flapped needs more to come back from failed."""
    was_told = state.fails > 0
    state = replace(state, passes=state.passes + 1, fails=0, failing_since=None)
    if state.status is RecordStatus.VERIFIED:
        return state, (Notice.RECOVERED,) if was_told else ()
    if state.status is not RecordStatus.FAILED:
        return replace(state, status=RecordStatus.VERIFIED, since=at), ()
    flapped = len(state.flaps) >= rules.flaps_in_a_day
    if state.passes < (rules.passes_when_flapping if flapped else 1):
        return state, ()
    return replace(state, status=RecordStatus.VERIFIED, since=at), (Notice.RECOVERED,)


def after_fail(
    state: RecordState, verdict: Verdict, at: datetime, rules: Rules
) -> tuple[RecordState, tuple[Notice, ...]]:
    """A verified record fails only after a row of fails that spans its own TTL."""
    state = replace(state, fails=state.fails + 1, failing_since=state.failing_since or at, passes=0)
    if state.status is not RecordStatus.VERIFIED:
        return state, ()
    span = max(rules.fail_span, ttl_of(verdict))
    if state.fails >= rules.fails_to_failed and at - (state.failing_since or at) >= span:
        fallen = replace(state, status=RecordStatus.FAILED, since=at, flaps=(*state.flaps, at))
        return fallen, (Notice.FAILED,)
    return state, (Notice.FIRST_FAIL,) if state.fails == 1 else ()


def ttl_of(verdict: Verdict) -> timedelta:
    """The longest time that an answer behind the verdict may still be held in caches."""
    return timedelta(seconds=max((seen.ttl_seconds or 0 for seen in verdict.evidence), default=0))


def next_look(
    state: RecordState, verdict: Verdict, at: datetime, *, jitter: float = 0.0, rules: Rules = SHIPPED
) -> datetime | None:
    """When to ask again, None for "not until somebody asks"; `jitter` is a random number from -1 to 1."""
    pause = pause_after(state, verdict, at, rules)
    return None if pause is None else at + pause * (1 + rules.jitter * max(-1.0, min(1.0, jitter)))


def pause_after(state: RecordState, verdict: Verdict, at: datetime, rules: Rules) -> timedelta | None:
    """The pause without its jitter."""
    if verdict.truth is Truth.UNKNOWN:
        return pause_after_unknown(state, verdict)
    ttl = ttl_of(verdict)
    if verdict.truth is Truth.PASS and state.status is RecordStatus.VERIFIED:
        extra = timedelta(seconds=600 if ttl >= LONG_TTL else 300)
        return min(max(ttl + extra, timedelta(hours=1)), DAY)
    return pause_while_wrong(state, at, rules)


def pause_after_unknown(state: RecordState, verdict: Verdict) -> timedelta:
    """Doubling from a minute to an hour; where servers are only late, as long as they need."""
    if verdict.reason == "authorities_disagree":
        return timedelta(minutes=5)
    ttl = ttl_of(verdict)
    if verdict.reason == "propagating" and ttl:
        return min(max(ttl, timedelta(minutes=1)), timedelta(hours=1))
    doublings = min(max(state.unknowns - 1, 0), MOST_DOUBLINGS)
    return min(timedelta(minutes=1) * 2**doublings, timedelta(hours=1))


def pause_while_wrong(state: RecordState, at: datetime, rules: Rules) -> timedelta | None:
    """Often at first, then hourly, every six hours, daily, and after thirty days no more."""
    looks = max(state.fails + state.passes, 1)
    if looks <= len(rules.pending_steps):
        return rules.pending_steps[looks - 1]
    age = at - (state.failing_since or state.since or at)
    for until, pause in ((DAY, timedelta(hours=1)), (7 * DAY, timedelta(hours=6)), (30 * DAY, DAY)):
        if age < until:
            return pause
    return None


def given_up(state: RecordState, at: datetime) -> RecordState:
    """A record that nobody published in thirty days is no longer asked for."""
    return replace(state, status=RecordStatus.NOT_VERIFIED, since=at) if state.status is RecordStatus.PENDING else state


def domain_status(required: Iterable[RecordState], before: str | None = None) -> DomainStatus:
    """The domain's word from those of its required records; a verified one falls only by what is known to be wrong."""
    states = list(required)
    words = {state.status for state in states}
    if words == {RecordStatus.VERIFIED}:
        return DomainStatus.VERIFIED
    if before == DomainStatus.VERIFIED and not any(map(known_wrong, states)):
        return DomainStatus.VERIFIED
    if RecordStatus.FAILED in words:
        return DomainStatus.FAILED
    if RecordStatus.VERIFIED in words:
        return DomainStatus.PARTIALLY_VERIFIED
    if states and not any(state.conclusive for state in states) and all(state.error for state in states):
        return DomainStatus.ERROR
    return DomainStatus.PENDING


def known_wrong(state: RecordState) -> bool:
    """Whether something conclusive speaks against a record: one that nobody could ask for yet is not wrong."""
    return state.status is RecordStatus.FAILED or (state.status is not RecordStatus.VERIFIED and state.fails > 0)


def grace(verdict: Verdict) -> timedelta:
    """How long after `failed` the sending goes on unrestricted; for a wrong PTR the ramp is held at once."""
    key = verdict.subject.partition(":")[0]
    if key == "ptr":
        return timedelta(0)
    is_grave = (
        key.startswith("dkim") or verdict.reason == "spf_permerror" or (key, verdict.reason) == ("dmarc", "missing")
    )
    return DAY if is_grave else 3 * DAY
