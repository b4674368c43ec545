"""Signed return paths: read back whole, refused when anything of them was made or changed by somebody else."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.verp import DIGITS, KEY_BYTES, LIFE_DAYS, Standing, read, return_path

OURS, OLD, THEIRS = (bytes([number]) * KEY_BYTES for number in (1, 2, 3))
KEYS = {"acme.example": (OURS, OLD), "beta.example": (THEIRS,)}
TODAY = date(2026, 11, 22)
PATH = return_path(OURS, domain="acme.example", reference=4711, sent_on=TODAY)


def standing(address: str, today: date = TODAY) -> Standing:
    return read(address, KEYS, today).standing


def test_a_return_path_comes_back_with_its_message() -> None:
    found = read(PATH, KEYS, TODAY)
    assert (found.standing, found.domain, found.reference) == (Standing.GENUINE, "acme.example", 4711)
    assert found.expires_on == TODAY + timedelta(days=LIFE_DAYS)


@given(st.integers(0, (1 << 128) - 1), st.dates(date(2000, 1, 1), date(2200, 1, 1)))
def test_every_reference_and_day_survives_the_way_through_an_address(reference: int, sent_on: date) -> None:
    path = return_path(OURS, domain="acme.example", reference=reference, sent_on=sent_on)
    found = read(f"<{path.upper()}>", KEYS, sent_on)
    assert (found.standing, found.reference) == (Standing.GENUINE, reference)


def test_a_local_part_is_no_longer_than_rfc_5321_allows() -> None:
    longest = return_path(OURS, domain="acme.example", reference=(1 << 128) - 1, sent_on=date(2200, 1, 1))
    assert len(longest.partition("@")[0]) <= 64


def test_an_answer_is_taken_to_the_last_day_and_not_longer() -> None:
    last = TODAY + timedelta(days=LIFE_DAYS)
    assert standing(PATH, last) is Standing.GENUINE
    assert standing(PATH, last + timedelta(days=1)) is Standing.EXPIRED


def test_no_letter_can_be_changed() -> None:
    start = len("b+")
    for place in range(start, PATH.index("@")):
        other = DIGITS[(DIGITS.index(PATH[place]) + 1) % len(DIGITS)]
        assert standing(PATH[:place] + other + PATH[place + 1 :]) is Standing.FORGED, place


@pytest.mark.parametrize(
    "address",
    [
        PATH.replace("acme", "beta"),
        return_path(THEIRS, domain="acme.example", reference=1, sent_on=TODAY),
        return_path(OURS, domain="beta.example", reference=1, sent_on=TODAY),
        "b@bounce.acme.example",
        "b+@bounce.acme.example",
        "b+token@bounce.acme.example",
        f"b+{'i' * 46}@bounce.acme.example",
        PATH.replace("b+", "b+0"),
        PATH.replace("@", "+x@"),
    ],
)
def test_what_we_did_not_make_for_this_domain_is_forged(address: str) -> None:
    assert standing(address) is Standing.FORGED


@pytest.mark.parametrize(
    "address",
    [
        "",
        "<>",
        "anna@acme.example",
        "postmaster@bounce.acme.example",
        PATH.replace("bounce.", ""),
        "b+x@bounce.x.example",
    ],
)
def test_what_is_no_return_path_of_ours_is_left_alone(address: str) -> None:
    assert standing(address) is Standing.OTHER


def test_a_path_is_of_its_own_domain_even_where_two_share_a_key() -> None:
    shared = {"acme.example": (OURS,), "beta.example": (OURS,)}
    assert read(PATH.replace("acme", "beta"), shared, TODAY).standing is Standing.FORGED


def test_a_retired_key_is_still_read() -> None:
    assert standing(return_path(OLD, domain="acme.example", reference=1, sent_on=TODAY)) is Standing.GENUINE


def test_a_domain_without_keys_has_no_return_paths() -> None:
    assert read(PATH, {"acme.example": ()}, TODAY).standing is Standing.FORGED


@pytest.mark.parametrize(("key", "reference"), [(b"short", 1), (OURS, -1), (OURS, 1 << 128)])
def test_what_cannot_be_sealed_is_not_written(key: bytes, reference: int) -> None:
    with pytest.raises(ValueError, match="has"):
        return_path(key, domain="acme.example", reference=reference, sent_on=TODAY)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert standing(f"{text}@bounce.acme.example") in set(Standing)
