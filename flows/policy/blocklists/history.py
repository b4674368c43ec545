"""From findings to runs of equal answers: what must be confirmed, what may end a run, and when to look again.

UNKNOWN opens nothing and ends nothing. One odd answer changes nothing either: a listing, and its end, are believed when
a second answer agrees some time later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from flows.policy.blocklists.classifying import NO_ANSWER
from flows.policy.blocklists.nouns import Finding
from flows.policy.presets import BLOCKLISTS
from flows.policy.verdict import Truth


@dataclass(frozen=True, slots=True)
class TierRules:
    """The figures of one tier."""

    confirm: timedelta  # two answers this far apart make a listing; zero: one answer
    listed: timedelta  # how often to look while listed
    sending: timedelta  # and while clean, of a subject that sends
    idle: timedelta  # and of one that does not


@dataclass(frozen=True, slots=True)
class Rules:
    """The figures of the `blocklists` preset."""

    tiers: Mapping[int, TierRules]
    delist: timedelta
    retry_unknown: timedelta
    jitter: float  # share of the interval

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Rules":
        """The body of the preset."""
        names = ("confirm_seconds", "listed_seconds", "sending_seconds", "idle_seconds")
        tiers = {
            int(tier): TierRules(*(timedelta(seconds=row[name]) for name in names))
            for tier, row in body["tiers"].items()
        }
        retry = timedelta(seconds=body["retry_unknown_seconds"])
        return cls(tiers, timedelta(seconds=body["delist_seconds"]), retry, float(body["jitter"]))


SHIPPED: Final = Rules.from_json(BLOCKLISTS.body)


class Act(StrEnum):
    """What becomes of the stored run."""

    KEEP = "keep"  # the same run goes on, perhaps with a doubt noted on it
    SETTLE = "settle"  # a run of which nothing was known gets its first conclusive answer
    TURN = "turn"  # the run has ended, the next begins


@dataclass(frozen=True, slots=True)
class Run:
    """The open run of one subject on one list. `answer` names it: `pass`, `unknown`, or `fail:<word>:<tier>`."""

    answer: str = "unknown"
    since: datetime | None = None  # first answer of the run
    contrary: str = ""  # another conclusive answer, heard but not confirmed yet
    contrary_since: datetime | None = None
    unknown_since: datetime | None = None
    next_at: datetime | None = None

    @property
    def truth(self) -> Truth:
        """The run's colour."""
        return Truth(self.answer.partition(":")[0])

    @property
    def tier(self) -> int | None:
        """The tier of a listing."""
        return int(self.answer.rpartition(":")[2]) if self.truth is Truth.FAIL else None


@dataclass(frozen=True, slots=True)
class Step:
    """The run after an answer, and what to write."""

    act: Act
    run: Run


def answer_of(finding: Finding) -> str:
    """The name of a run that consists of such answers."""
    if finding.verdict.truth is Truth.FAIL and finding.code is not None:
        return f"fail:{finding.code.word}:{finding.tier}"
    return finding.verdict.truth.value


def after(
    run: Run, finding: Finding, at: datetime, *, sending: bool, jitter: float = 0.0, rules: Rules = SHIPPED
) -> Step:
    """The run after one finding; `jitter` is a random number from -1 to 1."""
    step = _judged(run, finding, at, rules)
    pause = _pause(step.run, finding, rules, sending=sending)
    return replace(step, run=replace(step.run, next_at=at + pause * (1 + rules.jitter * max(-1.0, min(1.0, jitter)))))


def _judged(run: Run, finding: Finding, at: datetime, rules: Rules) -> Step:
    answer = answer_of(finding)
    if finding.verdict.truth is Truth.UNKNOWN:
        return Step(Act.KEEP, replace(run, unknown_since=run.unknown_since or at))
    if answer == run.answer:
        return Step(Act.KEEP, replace(run, contrary="", contrary_since=None, unknown_since=None))
    first = run.contrary_since if run.contrary == answer and run.contrary_since else at
    if at - first < _to_confirm(run, finding, rules):
        return Step(Act.KEEP, replace(run, contrary=answer, contrary_since=first, unknown_since=None))
    act = Act.SETTLE if run.truth is Truth.UNKNOWN else Act.TURN
    return Step(act, Run(answer, first))


def _to_confirm(run: Run, finding: Finding, rules: Rules) -> timedelta:
    if finding.verdict.truth is Truth.FAIL:
        return rules.tiers[finding.tier].confirm
    return rules.delist if run.truth is Truth.FAIL else timedelta(0)


def _pause(run: Run, finding: Finding, rules: Rules, *, sending: bool) -> timedelta:
    tier = rules.tiers[finding.tier]
    usual = tier.sending if sending else tier.idle
    if finding.verdict.truth is Truth.UNKNOWN:
        # A list that refuses us is not softened by being asked more often.
        return min(usual, rules.retry_unknown) if finding.verdict.reason in NO_ANSWER else usual
    if run.contrary:
        # The second answer is not asked for early by jitter: a little more than the span itself.
        return _to_confirm(run, finding, rules) * (1 + 2 * rules.jitter)
    return rules.tiers[run.tier].listed if run.tier else usual
