from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.backups import Dump, Keep, made_at, name_of, note_and_rest, superfluous, with_note

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
KEEP = Keep(7, 4, 12)


def dump(days_ago: float, *, verified: bool = True) -> Dump:
    at = NOW - timedelta(days=days_ago)
    return Dump(name_of("core", at, f"{int(days_ago * 1000):08x}"), at, verified)


dumps = st.lists(
    st.builds(dump, st.floats(0, 900).map(lambda days: round(days, 3)), verified=st.booleans()),
    max_size=60,
    unique_by=lambda one: one.key,
)


def test_a_name_tells_its_time_and_a_strangers_name_tells_none():
    assert made_at(name_of("analytics", NOW, "0123456789ab")) == NOW
    for name in ("core/x.sealed", "other/20261122T020000Z-01234567.sealed", "core/20261122T020000Z-01234567.dump", ""):
        assert made_at(name) is None


def test_a_year_of_nights_leaves_days_weeks_and_months():
    nights = [dump(days) for days in range(400)]
    gone = set(superfluous(nights, KEEP))
    left = [one for one in nights if one.key not in gone]
    assert [one.made_at for one in left[:7]] == [one.made_at for one in nights[:7]]
    assert 7 + 3 + 10 <= len(left) <= 7 + 4 + 12
    assert len({(one.made_at.year, one.made_at.month) for one in left}) == 12


def test_without_a_proven_dump_nothing_goes():
    assert superfluous([dump(days, verified=False) for days in range(100)], KEEP) == ()


def test_what_is_newer_than_the_last_proven_one_stays_however_much_it_is():
    young = [dump(hours / 24, verified=False) for hours in range(48)]
    assert superfluous([*young, dump(3)], Keep(1, 0, 0)) == ()


def test_the_proven_one_of_a_day_stays_rather_than_a_later_one_that_is_not():
    proven, later, newest = dump(5.5), dump(5.1, verified=False), dump(0)
    assert superfluous([proven, later, newest], Keep(2, 0, 0)) == (later.key,)


@given(dumps)
def test_the_newest_proven_dump_is_never_taken_away_and_what_goes_is_older(stored):
    gone = superfluous(stored, Keep(1, 0, 0))
    proven = [one for one in stored if one.verified]
    if not proven:
        assert gone == ()
        return
    newest = max(proven, key=lambda one: one.made_at)
    assert newest.key not in gone
    assert all(one.made_at < newest.made_at for one in stored if one.key in gone)


@given(dumps)
def test_pruning_twice_takes_nothing_more(stored):
    gone = superfluous(stored, KEEP)
    left = [one for one in stored if one.key not in gone]
    assert superfluous(left, KEEP) == ()


@given(st.binary(max_size=300), st.lists(st.binary(max_size=40), max_size=9), st.integers(1, 20))
def test_a_note_and_its_stream_come_apart_again_however_they_are_cut(note, pieces, size):
    joined = b"".join(with_note(note, pieces))
    found, rest = note_and_rest(joined[place : place + size] for place in range(0, len(joined), size))
    assert (found, b"".join(rest)) == (note, b"".join(pieces))


@pytest.mark.parametrize("cut", [b"", b"\0\0", b"\0\0\0\5ab"])
def test_a_stream_that_ends_in_its_note_is_refused(cut):
    with pytest.raises(ValueError, match="within its note"):
        note_and_rest([cut] if cut else [])
