from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.dns_status import (
    SHIPPED,
    Notice,
    RecordState,
    RecordStatus,
    after,
    domain_status,
    given_up,
    grace,
    next_look,
)
from flows.policy.lifecycle import DomainStatus
from flows.policy.verdict import Evidence, Truth, Verdict

START = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def verdict(truth: Truth, reason: str = "ok", ttl: int = 300, subject: str = "spf") -> Verdict:
    return Verdict(subject, truth, reason, evidence=(Evidence("ns", "q", "a", START, ttl),))


GOOD, BAD = verdict(Truth.PASS), verdict(Truth.FAIL, "mismatch")
SILENT = verdict(Truth.UNKNOWN, "authority_unreachable")


def told(*steps: tuple[Verdict, timedelta], state: RecordState | None = None):
    """The state after each (verdict, time since the start), and everything that was said on the way."""
    state = state or RecordState()
    said: list[Notice] = []
    for seen, passed in steps:
        state, notices = after(state, seen, START + passed)
        said += notices
    return state, said


VERIFIED, _ = told((GOOD, timedelta(0)))


def test_one_pass_verifies():
    state, said = told((BAD, timedelta(0)), (SILENT, MINUTE), (GOOD, 2 * MINUTE))
    assert (state.status, state.error, said) == (RecordStatus.VERIFIED, "", [])


def test_a_record_that_never_stood_is_pending_not_failed():
    state, said = told(*((BAD, HOUR * step) for step in range(50)))
    assert (state.status, said) == (RecordStatus.PENDING, [])


def test_three_fails_over_an_hour_are_needed_and_the_tenant_is_warned_at_the_first():
    state, said = told((BAD, HOUR), (BAD, HOUR + 30 * MINUTE), state=VERIFIED)
    assert (state.status, said) == (RecordStatus.VERIFIED, [Notice.FIRST_FAIL])
    state, said = told((BAD, 2 * HOUR), state=state)
    assert (state.status, said) == (RecordStatus.FAILED, [Notice.FAILED])


def test_three_fails_in_a_hurry_are_not_enough():
    state, _ = told(*((BAD, HOUR + MINUTE * step) for step in range(40)), state=VERIFIED)
    assert state.status is RecordStatus.VERIFIED


def test_a_long_ttl_stretches_the_row():
    cached = verdict(Truth.FAIL, "mismatch", ttl=4 * 3600)
    state, _ = told(*((cached, HOUR * step) for step in range(1, 5)), state=VERIFIED)
    assert state.status is RecordStatus.VERIFIED
    state, _ = told((cached, 5 * HOUR), state=state)
    assert state.status is RecordStatus.FAILED


def test_a_pass_ends_the_row():
    state, _ = told((BAD, HOUR), (BAD, 2 * HOUR), (GOOD, 3 * HOUR), (BAD, 4 * HOUR), (BAD, 5 * HOUR), state=VERIFIED)
    assert state.status is RecordStatus.VERIFIED


def test_silence_neither_ends_nor_feeds_the_row():
    state, _ = told((BAD, HOUR), (SILENT, 2 * HOUR), (BAD, 3 * HOUR), (SILENT, 4 * HOUR), state=VERIFIED)
    assert state.status is RecordStatus.VERIFIED
    state, _ = told((BAD, 5 * HOUR), state=state)
    assert state.status is RecordStatus.FAILED


def test_a_flapping_record_needs_two_passes():
    state, at = VERIFIED, timedelta(0)
    for _ in range(2):
        state, _ = told(*((BAD, at + HOUR * step) for step in (1, 2, 3)), (GOOD, at + 4 * HOUR), state=state)
        assert state.status is RecordStatus.VERIFIED
        at += 5 * HOUR
    state, _ = told(*((BAD, at + HOUR * step) for step in (1, 2, 3)), state=state)
    once, said = told((GOOD, at + 4 * HOUR), state=state)
    assert (once.status, said) == (RecordStatus.FAILED, [])
    twice, said = told((GOOD, at + 4 * HOUR + MINUTE), state=once)
    assert (twice.status, said) == (RecordStatus.VERIFIED, [Notice.RECOVERED])
    later, said = told((GOOD, at + 40 * HOUR), state=state)
    assert (later.status, said) == (RecordStatus.VERIFIED, [Notice.RECOVERED])


def test_ten_times_silence_tells_an_operator_once_and_changes_nothing():
    state, said = told(*((SILENT, HOUR * step) for step in range(30)), state=VERIFIED)
    assert (state.status, said, state.error) == (
        RecordStatus.VERIFIED,
        [Notice.NOBODY_ANSWERS],
        "authority_unreachable",
    )


def test_a_first_fail_that_was_nothing_is_taken_back():
    state, said = told((BAD, HOUR), (GOOD, 2 * HOUR), (GOOD, 3 * HOUR), state=VERIFIED)
    assert (state.status, said) == (RecordStatus.VERIFIED, [Notice.FIRST_FAIL, Notice.RECOVERED])


@pytest.mark.parametrize("answer", [GOOD, BAD])
def test_who_heard_of_the_silence_hears_of_its_end(answer: Verdict):
    _, said = told(*((SILENT, HOUR * step) for step in range(12)), (answer, 13 * HOUR), state=VERIFIED)
    assert [notice for notice in said if notice is not Notice.FIRST_FAIL] == [
        Notice.NOBODY_ANSWERS, Notice.ANSWERED_AGAIN,
    ]  # fmt: skip
    _, said = told((SILENT, HOUR), (answer, 2 * HOUR), state=VERIFIED)
    assert Notice.ANSWERED_AGAIN not in said  # of one silence nobody was told


@given(st.lists(st.sampled_from([GOOD, BAD, SILENT]), max_size=40))
def test_whatever_was_told_is_over_after_enough_good_looks(seen):
    looks = [
        *((one, HOUR * step) for step, one in enumerate(seen)),
        *((GOOD, HOUR * (len(seen) + n)) for n in range(3)),
    ]
    _, said = told(*looks, state=VERIFIED)
    bad = [notice for notice in said if notice in {Notice.FIRST_FAIL, Notice.FAILED, Notice.RECOVERED}]
    silent = [notice for notice in said if notice in {Notice.NOBODY_ANSWERS, Notice.ANSWERED_AGAIN}]
    assert not bad or bad[-1] is Notice.RECOVERED
    assert not silent or silent[-1] is Notice.ANSWERED_AGAIN


STEPS = st.lists(st.tuples(st.sampled_from([GOOD, BAD, SILENT]), st.integers(1, 180)), max_size=40)


@given(STEPS)
def test_status_changes_only_on_agreeing_observations(steps):
    state, at = RecordState(), START
    fails: list[datetime] = []
    for seen, minutes in steps:
        at += timedelta(minutes=minutes)
        before = state.status
        state, notices = after(state, seen, at)
        fails = [*fails, at] if seen is BAD else ([] if seen is GOOD else fails)
        if seen is SILENT:
            assert state.status is before
            assert Notice.FAILED not in notices
        if state.status is RecordStatus.FAILED and before is RecordStatus.VERIFIED:
            assert len(fails) >= 3
            assert fails[-1] - fails[0] >= HOUR
        if state.status is RecordStatus.VERIFIED and before is not RecordStatus.VERIFIED:
            assert seen is GOOD
        pause = next_look(state, seen, at)
        assert pause is None or MINUTE <= pause - at <= DAY


@pytest.mark.parametrize(
    ("ttl", "pause"),
    [
        (60, HOUR),
        (3000, HOUR),
        (3599, timedelta(seconds=3899)),
        (3600, timedelta(seconds=4200)),
        (86400, DAY),
        (10**7, DAY),
    ],
)
def test_a_verified_record_is_asked_again_after_its_ttl(ttl, pause):
    assert next_look(VERIFIED, verdict(Truth.PASS, ttl=ttl), START) == START + pause


def test_a_pending_record_is_asked_often_then_seldom_then_no_more():
    state, at, pauses = RecordState(), START, []
    while True:
        state, _ = after(state, BAD, at)
        due = next_look(state, BAD, at)
        if due is None:
            break
        pauses.append(due - at)
        at = due
    assert [pause // MINUTE for pause in pauses[:7]] == [1, 2, 5, 15, 30, 60, 60]
    assert pauses == sorted(pauses)
    assert {pause // HOUR for pause in pauses} == {0, 1, 6, 24}
    assert timedelta(days=30) <= at - START < timedelta(days=31)
    assert given_up(state, at).status is RecordStatus.NOT_VERIFIED
    assert given_up(VERIFIED, at) == VERIFIED


def test_silence_is_asked_again_with_doubling_pauses():
    state, pauses = RecordState(), []
    for _ in range(9):
        state, _ = after(state, SILENT, START)
        pauses.append((next_look(state, SILENT, START) - START) // MINUTE)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(
    ("reason", "ttl", "pause"),
    [
        ("propagating", 900, 15),
        ("propagating", 5, 1),
        ("propagating", 10**6, 60),
        ("propagating", 0, 1),
        ("authorities_disagree", 900, 5),
    ],
)
def test_what_is_only_late_is_given_the_time_it_needs(reason, ttl, pause):
    late = verdict(Truth.UNKNOWN, reason, ttl)
    state, _ = after(RecordState(), late, START)
    assert next_look(state, late, START) == START + pause * MINUTE


@given(st.floats(-5, 5, allow_nan=False))
def test_jitter_stays_within_its_share(jitter):
    due = next_look(VERIFIED, GOOD, START, jitter=jitter)
    assert due is not None
    assert abs(due - START - HOUR) <= HOUR * SHIPPED.jitter


def state_of(status: RecordStatus, *, conclusive: bool = True, error: str = "") -> RecordState:
    return RecordState(status, conclusive=conclusive, error=error)


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([state_of(RecordStatus.VERIFIED)] * 2, DomainStatus.VERIFIED),
        ([state_of(RecordStatus.VERIFIED), state_of(RecordStatus.PENDING)], DomainStatus.PARTIALLY_VERIFIED),
        ([state_of(RecordStatus.VERIFIED), state_of(RecordStatus.FAILED)], DomainStatus.FAILED),
        ([state_of(RecordStatus.PENDING)] * 2, DomainStatus.PENDING),
        ([], DomainStatus.PENDING),
        ([state_of(RecordStatus.PENDING, conclusive=False, error="x")] * 2, DomainStatus.ERROR),
        (
            [state_of(RecordStatus.PENDING), state_of(RecordStatus.PENDING, conclusive=False, error="x")],
            DomainStatus.PENDING,
        ),
        ([state_of(RecordStatus.VERIFIED, error="x")], DomainStatus.VERIFIED),
    ],
)
def test_the_domains_word_follows_from_its_records(states, word):
    assert domain_status(states) is word


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (RecordState(error="timeout"), DomainStatus.VERIFIED),
        (RecordState(fails=1), DomainStatus.PARTIALLY_VERIFIED),
        (RecordState(RecordStatus.VERIFIED, fails=1), DomainStatus.VERIFIED),
        (RecordState(RecordStatus.FAILED), DomainStatus.FAILED),
    ],
)
def test_a_verified_domain_falls_only_by_what_is_known_to_be_wrong(state, word):
    states = [state_of(RecordStatus.VERIFIED), state]
    assert domain_status(states, DomainStatus.VERIFIED) is word
    assert domain_status([state_of(RecordStatus.PENDING), state], DomainStatus.PENDING) is not DomainStatus.VERIFIED


@pytest.mark.parametrize(
    ("subject", "reason", "days"),
    [
        ("dkim-rsa:pm202611r", "key_mismatch", 1),
        ("spf", "spf_permerror", 1),
        ("spf", "spf_not_authorised", 3),
        ("dmarc", "missing", 1),
        ("dmarc", "dmarc_weaker", 3),
        ("mx-bounce", "mismatch", 3),
        ("ptr", "ptr_default", 0),
    ],
)
def test_what_hurts_more_is_given_less_time(subject, reason, days):
    assert grace(verdict(Truth.FAIL, reason, subject=subject)) == timedelta(days=days)
