import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.limits import KINDS, PlanLimits, Refusal, Wanted, admit

PLAN = {"servers": 1, "ips": 1, "domains": 2, "mailboxes": 10}


def test_what_the_plan_allows_is_admitted():
    assert admit(PlanLimits.from_json(PLAN), Wanted(1, 1, 2, 10)) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_one_more_than_the_plan_allows_is_refused_by_name(kind):
    wanted = dict(PLAN) | {kind: PLAN[kind] + 1}
    (refusal,) = admit(PlanLimits.from_json(PLAN), Wanted(**wanted))
    assert refusal == Refusal(f"limit:{kind}", f"The plan allows {PLAN[kind]} {kind}, {PLAN[kind] + 1} are wanted.")


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_limit_is_a_refusal_that_names_it_and_never_no_limit(kind):
    plan = {name: value for name, value in PLAN.items() if name != kind}
    (refusal,) = admit(PlanLimits.from_json(plan), Wanted(0, 0, 0, 0))
    assert (refusal.code, kind in refusal.sentence) == (f"unreadable:{kind}", True)


@pytest.mark.parametrize("value", [None, -1])
def test_null_and_minus_one_are_without_limit(value):
    assert admit(PlanLimits.from_json(PLAN | {"mailboxes": value}), Wanted(1, 1, 2, 10**6)) == ()


@pytest.mark.parametrize("value", [True, False, "5", 5.0, -2, [], {}, "∞" * 500])
def test_a_limit_that_is_no_whole_number_is_a_refusal(value):
    (refusal,) = admit(PlanLimits.from_json(PLAN | {"ips": value}), Wanted(1, 1, 1, 1))
    assert refusal.code == "unreadable:ips"
    assert len(refusal.sentence) < 120


def test_every_reason_is_given_at_once():
    refusals = admit(PlanLimits.from_json({"servers": 0, "ips": "x", "domains": 1}), Wanted(1, 1, 2, 1))
    assert {refusal.code for refusal in refusals} == {
        "limit:servers", "unreadable:ips", "limit:domains", "unreadable:mailboxes",
    }  # fmt: skip


def test_nobody_wants_less_than_nothing():
    with pytest.raises(ValueError, match="-1 ips"):
        admit(PlanLimits.from_json(PLAN), Wanted(1, -1, 1, 1))


def test_a_plan_that_was_never_read_allows_nothing():
    assert len(admit(PlanLimits(), Wanted(1, 1, 1, 1))) == 4


NUMBERS = st.lists(st.integers(0, 50), min_size=4, max_size=4)


@given(NUMBERS, NUMBERS)
def test_admitted_means_that_nothing_is_exceeded(limits, wanted):
    refusals = admit(PlanLimits.from_json(dict(zip(KINDS, limits, strict=True))), Wanted(*wanted))
    exceeded = [kind for kind, limit, want in zip(KINDS, limits, wanted, strict=True) if want > limit]
    assert [refusal.code for refusal in refusals] == [f"limit:{kind}" for kind in exceeded]
