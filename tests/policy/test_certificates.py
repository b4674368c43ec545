"""When a certificate is due, which of the authority's limits stands in the way, and what its refusals mean."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.certificates import (
    FAILURES,
    FIRST_CERTIFICATES,
    MEANING,
    ORDERS,
    SAME_NAMES,
    Limit,
    caa_verdict,
    due_at,
    held_back,
    registered_domain,
    serves,
    setback,
)
from flows.policy.verdict import Truth

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
OURS = ("ca.example",)


@pytest.mark.parametrize(("age_days", "good"), [(0, True), (59, True), (60, False), (89, False), (100, False)])
def test_a_certificate_serves_until_its_last_third(age_days: int, good: bool) -> None:
    made = NOW - age_days * DAY
    assert serves(["a"], made, made + 90 * DAY, wanted=["a"], now=NOW) is good


@pytest.mark.parametrize("wanted", [["a"], ["a", "b", "c"], ["b", "x"], []])
def test_a_certificate_of_other_names_does_not_serve(wanted: list[str]) -> None:
    assert not serves(["a", "b"], NOW, NOW + 90 * DAY, wanted=wanted, now=NOW)


def test_a_short_life_is_not_due_at_once() -> None:
    assert due_at(NOW, NOW + timedelta(seconds=60)) == NOW + timedelta(seconds=40)


def test_our_limits_stay_below_what_lets_encrypt_publishes() -> None:
    published = {ORDERS: (300, 3), FIRST_CERTIFICATES: (50, 168), SAME_NAMES: (5, 168), FAILURES: (5, 1)}
    for limit, (most, hours) in published.items():
        assert limit.most < most
        assert limit.window == timedelta(hours=hours)


@given(st.lists(st.integers(0, 7200), max_size=30), st.integers(1, 5))
def test_a_limit_is_never_passed_and_never_waits_longer_than_its_window(ages: list[int], most: int) -> None:
    limit = Limit("things", most, timedelta(hours=1))
    counted = [NOW - timedelta(seconds=age) for age in ages]
    free_at = limit.free_at(counted, NOW)
    at = free_at or NOW
    assert sum(at - limit.window < one <= at for one in counted) < most
    assert at <= NOW + limit.window


def held(**more: object) -> object:
    values: dict[str, object] = {
        "orders": [], "first_certificates": {}, "same_names": [], "failures": {}, "renews": False, **more
    }  # fmt: skip
    return held_back(NOW, **values)  # pyright: ignore[reportArgumentType]  one bag for all tables


def test_nothing_counted_holds_nothing_back() -> None:
    assert held() is None


def test_the_third_failure_of_a_name_holds_it_back_for_the_rest_of_the_hour() -> None:
    twice = [NOW - timedelta(minutes=40), NOW - timedelta(minutes=30)]
    assert held(failures={"mail.acme.example": twice}) is None
    hold = held_back(
        NOW, orders=[], first_certificates={}, same_names=[], renews=False,
        failures={"mail.acme.example": [*twice, NOW], "mail2.acme.example": [NOW]},
    )  # fmt: skip
    assert hold is not None
    assert hold.until == NOW + timedelta(minutes=20)
    assert hold.sentence == (
        "mail.acme.example: no more than 3 failed validations of one name in an hour are asked of the certificate"
        " authority; it is asked again at 2026-11-22 12:20 UTC"
    )


def test_a_full_domain_holds_first_certificates_back_and_lets_renewals_through() -> None:
    full = {"penguin.example": [NOW - DAY] * FIRST_CERTIFICATES.most}
    assert held(first_certificates=full) is not None
    assert held(first_certificates=full, renews=True) is None


def test_of_two_limits_the_longer_one_is_waited_for() -> None:
    hold = held_back(
        NOW, orders=[NOW] * ORDERS.most, first_certificates={}, same_names=[NOW - DAY] * SAME_NAMES.most, failures={},
        renews=True,
    )  # fmt: skip
    assert hold is not None
    assert (hold.about, hold.until) == ("these names", NOW + 6 * DAY)


@pytest.mark.parametrize(
    ("name", "zones", "expected"),
    [
        ("mail.acme.example", ["acme.example"], "acme.example"),
        ("mail.eu.acme.example", ["eu.acme.example", "acme.example"], "acme.example"),
        ("pm-7.mx.penguin.example", ["acme.example", "mx.penguin.example"], "mx.penguin.example"),
        ("mail.badacme.example", ["acme.example"], "badacme.example"),
        ("mail.acme.example", [], "acme.example"),
    ],
)
def test_a_name_counts_against_the_highest_zone_of_ours(name: str, zones: list[str], expected: str) -> None:
    assert registered_domain(name, zones) == expected


@pytest.mark.parametrize(
    ("problems", "reason", "words"),
    [
        ([("dns", "NXDOMAIN", "mail.a.example")], "dns", "mail.a.example: the authority finds no usable A record"),
        ([("unauthorized", "got 404", "m.a.example")], "dns", "A record must be the server's address (unauthorized"),
        ([("caa", "forbids", "")], "dns", "the order: a CAA record forbids this authority"),
        ([("connection", "refused", "m.a.example")], "provider", "open it at the provider (connection: refused)"),
        ([("rejectedIdentifier", "policy", "m.a.example")], "operator", "will not certify it"),
        ([("connection", "x", "one"), ("dns", "y", "two")], "dns", "two: "),
        ([("dns", "x", "one"), ("badCSR", "y", "two")], "operator", "two: "),
        ([], "provider", "without a reason"),
    ],
)
def test_a_refusal_names_who_can_end_it(problems: list[tuple[str, str, str]], reason: str, words: str) -> None:
    found = setback(problems)
    assert found.reason == reason
    assert words in found.sentence
    assert (found.again_in is None) == (reason == "operator")


def test_no_refusal_of_the_tenants_or_providers_part_calls_an_operator() -> None:
    assert {setback([(kind, "", "")]).reason for kind in MEANING} == {"dns", "provider"}


@pytest.mark.parametrize(
    ("records", "identities", "truth"),
    [
        ([], OURS, Truth.PASS),
        (['0 issue "ca.example"'], OURS, Truth.PASS),
        (['0 issue "other.example"', '0 issue "ca.example; validationmethods=http-01"'], OURS, Truth.PASS),
        (['0 ISSUE "CA.example"'], OURS, Truth.PASS),
        (['0 issue "other.example"'], OURS, Truth.FAIL),
        (['0 issue ";"'], OURS, Truth.FAIL),
        (['0 issue ""'], OURS, Truth.FAIL),
        (['0 issuewild ";"'], OURS, Truth.PASS),
        (['0 iodef "mailto:x@acme.example"'], OURS, Truth.PASS),
        (['128 novel "x"', '0 issue "ca.example"'], OURS, Truth.FAIL),
        (['0 novel "x"'], OURS, Truth.PASS),
        (['0 issue "other.example"'], (), Truth.UNKNOWN),
        ([], (), Truth.PASS),
    ],
)
def test_caa_permits_whom_it_names(records: list[str], identities: tuple[str, ...], truth: Truth) -> None:
    assert caa_verdict("mail.acme.example", records, identities).truth is truth


def test_a_forbidding_caa_record_comes_with_the_line_that_permits_us() -> None:
    verdict = caa_verdict("mail.acme.example", ['0 issue "other.example"'], OURS, "acme.example")
    assert verdict.fix.endswith('add acme.example. CAA 0 issue "ca.example"')
    assert verdict.found == ('0 issue "other.example"',)
