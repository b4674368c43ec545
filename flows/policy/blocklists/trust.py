"""Whether a list is believed: its self-test (RFC 5782 section 5), judged and remembered."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from flows.policy.blocklists.classifying import NO_ANSWER, classify
from flows.policy.blocklists.nouns import Blocklist, Heard, Kind
from flows.policy.presets import BLOCKLISTS
from flows.policy.verdict import Truth, Verdict


class Trust(StrEnum):
    """How a list stands, for one kind of subject."""

    UNPROVEN = "unproven"  # not tested yet, or its test brought no answer
    TRUSTED = "trusted"
    DEAD = "dead"  # its test brought a wrong answer


@dataclass(frozen=True, slots=True)
class TrustRules:
    """The figures."""

    good_for: timedelta
    test_every: timedelta  # shorter than good_for, so that trust does not lapse between two tests
    retry_every: timedelta
    passes_to_return: int

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "TrustRules":
        """The body of the `blocklists` preset."""
        test = body["self_test"]
        return cls(
            timedelta(seconds=test["good_for_seconds"]),
            timedelta(seconds=test["every_seconds"]),
            timedelta(seconds=test["retry_seconds"]),
            int(test["passes_to_return"]),
        )


SHIPPED: Final = TrustRules.from_json(BLOCKLISTS.body)


@dataclass(frozen=True, slots=True)
class TrustState:
    """What is remembered of one list's self-test. `passes` counts those since it died, far enough apart."""

    trust: Trust = Trust.UNPROVEN
    reason: str = "not_tested"
    tested_at: datetime | None = None  # last test with an answer
    tried_at: datetime | None = None  # last test at all
    passes: int = 0
    passed_at: datetime | None = None  # last pass that was counted

    def believed(self, at: datetime, rules: TrustRules = SHIPPED) -> bool:
        """Whether its answers count now: a passing test, and a fresh one."""
        fresh = self.tested_at is not None and at - self.tested_at <= rules.good_for
        return self.trust is Trust.TRUSTED and fresh

    def doubt(self, at: datetime, rules: TrustRules = SHIPPED) -> str:
        """Why it is not believed, as a reason; empty when it is."""
        if self.believed(at, rules):
            return ""
        if self.trust is Trust.TRUSTED:
            return "self_test_stale"
        return "list_dead" if self.trust is Trust.DEAD else self.reason

    def due(self, at: datetime, rules: TrustRules = SHIPPED) -> bool:
        """Whether it is time for a test."""
        if self.tried_at is None:
            return True
        if self.trust is Trust.DEAD:
            return at - self.tried_at >= rules.good_for
        answered = self.trust is Trust.TRUSTED and self.tested_at == self.tried_at
        return at - self.tried_at >= (rules.test_every if answered else rules.retry_every)


def judge_self_test(blocklist: Blocklist, kind: Kind, listed: Heard, clean: Heard) -> Verdict:
    """PASS: alive. FAIL: dead, or it lists the world. UNKNOWN: no answer, or it does not serve us."""
    points = blocklist.points[kind]
    on = classify(blocklist, points.listed, listed)
    off = classify(blocklist, points.clean, clean)
    subject = f"{blocklist.name}:{kind}:self-test"
    evidence = on.verdict.evidence + off.verdict.evidence
    for reason in filter(None, (on.refused, off.refused)):
        return Verdict(subject, Truth.UNKNOWN, reason, fix=on.verdict.fix or off.verdict.fix, evidence=evidence)
    wrong = _wrong(on.verdict, off.verdict)
    if wrong:
        fix = f"{blocklist.title} is dead ({wrong}): disable it (python -m flows blocklists disable {blocklist.name})"
        return Verdict(
            subject, Truth.FAIL, wrong, "listed and clean", on.verdict.found + off.verdict.found, fix, evidence
        )
    if on.verdict.truth is Truth.FAIL and off.verdict.truth is Truth.PASS:
        return Verdict(subject, Truth.PASS, evidence=evidence)
    silent = on.verdict if on.verdict.truth is Truth.UNKNOWN else off.verdict
    return Verdict(subject, Truth.UNKNOWN, silent.reason, fix=silent.fix, evidence=evidence)


def _wrong(on: Verdict, off: Verdict) -> str:
    if "parked" in {on.reason, off.reason}:
        return "parked"
    if off.truth is Truth.FAIL or off.reason == "unknown_code":
        return "lists_the_world"
    return "empty" if on.truth is Truth.PASS else ""


def after_self_test(state: TrustState, verdict: Verdict, at: datetime, rules: TrustRules = SHIPPED) -> TrustState:
    """One wrong answer kills; a dead list comes back after several passes, each far from the one before."""
    if verdict.truth is Truth.UNKNOWN:
        return _unanswered(state, verdict, at)
    if verdict.truth is Truth.FAIL:
        return TrustState(Trust.DEAD, verdict.reason, at, at)
    if state.trust is not Trust.DEAD:
        return TrustState(Trust.TRUSTED, "ok", at, at)
    far_enough = state.passed_at is None or at - state.passed_at >= rules.good_for
    counted = replace(state, tested_at=at, tried_at=at)
    if far_enough:
        counted = replace(counted, passes=state.passes + 1, passed_at=at)
    return TrustState(Trust.TRUSTED, "ok", at, at) if counted.passes >= rules.passes_to_return else counted


def _unanswered(state: TrustState, verdict: Verdict, at: datetime) -> TrustState:
    """Silence leaves what is known until it is stale; a list that says it does not serve us is not believed at once."""
    if state.trust is Trust.DEAD or (state.trust is Trust.TRUSTED and verdict.reason in NO_ANSWER):
        return replace(state, tried_at=at)
    return TrustState(Trust.UNPROVEN, verdict.reason, state.tested_at, at)
