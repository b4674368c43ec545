"""Dated rules of the large receivers: one FAIL is no, one gap is not proven, and nothing is green by silence."""

from datetime import date, timedelta

import pytest

from flows.policy.readiness import READ, REQUIREMENTS, answer, held
from flows.policy.verdict import Truth, Verdict

TODAY = date(2026, 12, 1)
SUBJECTS = ("spf", "spf-host", "dkim-rsa:s1", "dkim:s2", "dmarc", "ptr", "ptr:198.51.100.7", "mx", "canary:a@b")
ALL = [Verdict(subject, Truth.PASS) for subject in SUBJECTS]
KNOWABLE = [rule for rule in REQUIREMENTS if rule.needs]


def test_everything_that_can_be_known_and_is_right_passes_and_the_rest_stays_not_proven() -> None:
    found = held(ALL, TODAY)
    assert {one.requirement.id for one in found if one.truth is Truth.PASS} == {rule.id for rule in KNOWABLE}
    assert {one.truth for one in found} == {Truth.PASS, Truth.UNKNOWN}
    assert answer(found) == "not proven"
    assert answer(held(ALL, TODAY, KNOWABLE)) == "yes"
    assert answer(()) == "not proven"


@pytest.mark.parametrize("subject", SUBJECTS)
def test_one_fail_is_no_and_its_cure_is_named(subject) -> None:
    broken = [*ALL, Verdict(subject, Truth.FAIL, "missing", fix="publish it")]
    found = held(broken, TODAY)
    assert answer(found) == "no"
    assert {one.because for one in found if one.truth is Truth.FAIL} == {"publish it"}


@pytest.mark.parametrize("need", ["spf", "dkim", "dmarc", "ptr", "mx", "canary"])
def test_what_nothing_speaks_for_is_never_green(need) -> None:
    left = [verdict for verdict in ALL if not verdict.subject.startswith(need)]
    assert answer(held(left, TODAY, KNOWABLE)) == "not proven"


def test_a_rule_holds_from_its_day_on_and_grows_stale() -> None:
    assert "M1" not in {one.requirement.id for one in held(ALL, date(2025, 5, 4))}
    assert "M1" in {one.requirement.id for one in held(ALL, date(2025, 5, 5))}
    assert not any(one.stale for one in held(ALL, READ + timedelta(days=180)))
    assert all(one.stale for one in held(ALL, READ + timedelta(days=181)))


def test_the_exchange_of_a_domain_does_not_speak_for_its_senders() -> None:
    left = [verdict for verdict in ALL if not verdict.subject.startswith("ptr")]
    assert answer(held([*left, Verdict("mx-ptr:198.51.100.9", Truth.PASS)], TODAY, KNOWABLE)) == "not proven"
