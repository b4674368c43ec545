import json
from collections import Counter

import pytest

from flows.policy.presets import CANARY, DEFAULT_RAMP, RAMPS, SHIPPED, default_ramp, first_day, last_step, preset


def test_no_preset_is_shipped_twice():
    assert max(Counter((row.kind, row.name, row.version) for row in SHIPPED).values()) == 1


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row.name)
def test_a_body_survives_the_table(row):
    assert json.loads(json.dumps(row.body)) == row.body


@pytest.mark.parametrize("ramp", RAMPS, ids=lambda ramp: ramp.name)
def test_a_ramp_begins_within_its_cap_and_ends_some_day(ramp):
    assert 0 < first_day(ramp) <= ramp.body["cap"]
    assert last_step(ramp) >= 1


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("penguin-careful-40", 5, 21),
        ("penguin-band-21", 5, 21),
        ("gentle-plus1", 10, 31),
        ("slow-plus2", 5, 24),
        ("background", 5, 1),
        ("ip-standard-30", 50, 30),
        ("ip-slow", 50, 40),
        ("ip-fast", 200, 10),
        ("domain-56", 5, 56),
    ],
)
def test_figures_are_those_of_the_published_table(name, first, last):
    ramp = preset("warmup_ramp", name)
    assert (first_day(ramp), last_step(ramp)) == (first, last)


def test_points_never_fall():
    for ramp in RAMPS:
        if ramp.body["shape"] == "points":
            days, volumes = zip(*ramp.body["points"], strict=True)
            assert list(days) == sorted(set(days))
            assert list(volumes) == sorted(volumes)
            assert volumes[-1] == ramp.body["cap"]


def test_each_subject_has_a_default_ramp_of_its_own():
    for subject in DEFAULT_RAMP:
        assert default_ramp(subject).body["subject"] == subject
    assert default_ramp("mailbox").body["cap"] == 40


def test_what_is_not_shipped_is_not_found():
    with pytest.raises(KeyError, match="fast-and-furious"):
        preset("warmup_ramp", "fast-and-furious")


def test_a_threshold_is_no_ramp():
    with pytest.raises(ValueError, match="no ramp"):
        first_day(CANARY)
