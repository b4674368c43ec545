import base64
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.records import (
    DkimRecord,
    DomainPlan,
    HostAddress,
    Observations,
    ObservedAnswer,
    Stray,
    expected_records,
    hint,
    judge,
    suspects,
)
from flows.policy.records.hints import differs_by_one
from flows.policy.verdict import Truth

IP = IPv4Address("198.51.100.11")
KEY = base64.b64encode(bytes(range(256)) + b"end").decode()
PLAN = DomainPlan(
    domain="acme.example",
    hosts=(HostAddress("mail.acme.example", IP),),
    sending_ip=IP,
    standby_ips=(),
    dkim=(DkimRecord("pm202611r", "rsa", KEY),),
    dmarc_rua=None,
    platform_zone=None,
    label=None,
    manage_mx=False,
    verification_token="0a" * 16,
)
SLOTS = replace(PLAN, platform_zone="penguin.example", label="abcdefghij", dkim=(DkimRecord("pm1", "rsa", KEY),))
RECORDS = {record.key: record for record in (*expected_records(SLOTS), *expected_records(PLAN))}
DKIM = "dkim-rsa:pm202611r"
AT = datetime(2026, 11, 22, 10, tzinfo=UTC)


def said(*values: str) -> ObservedAnswer:
    return ObservedAnswer("found" if values else "absent", values, 240, "ns1.dns.example", AT, 2026112201)


def seen(*values: str, recursive=(), elsewhere=()) -> Observations:
    return Observations((said(*values),), recursive or (said(*values),), elsewhere=tuple(elsewhere))


def right(key: str) -> tuple[str, ...]:
    return RECORDS[key].values


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (DKIM, ("pm202611r._domainkey.acme.example.acme.example", "acme.example", "pm202611r.acme.example")),
        ("dmarc", ("_dmarc.acme.example.acme.example", "acme.example")),
        ("spf", ("acme.example.acme.example",)),
        ("spf-bounce", ("bounce.acme.example.acme.example",)),
        ("mx-bounce", ("bounce.acme.example.acme.example",)),
    ],
)
def test_a_failure_is_looked_for_where_panels_put_it(key, names):
    assert suspects(RECORDS[key], "acme.example") == names


@pytest.mark.parametrize(
    ("key", "entered"),
    [
        (DKIM, "pm202611r._domainkey"),
        ("dmarc", "_dmarc"),
        ("own", "_pm-verify"),
        ("a", "mail"),
        ("mx-bounce", "bounce"),
        ("spf", "@"),
    ],
)
def test_a_panel_that_appends_the_zone_is_named(key, entered):
    stray = suspects(RECORDS[key], "acme.example")[0]
    found = hint(RECORDS[key], seen(elsewhere=[Stray(stray, right(key))]))
    assert found is not None
    assert (found.code, found.stray_name) == ("zone_appended", stray)
    assert found.advice.endswith(f'enter only "{entered}"')


def test_the_whole_line_says_where_it_was_found():
    stray = "pm202611r._domainkey.acme.example.acme.example"
    verdict = judge(RECORDS[DKIM], seen(elsewhere=[Stray(stray, right(DKIM))]))
    assert verdict.truth is Truth.FAIL
    assert verdict.fix == (
        f"{DKIM}: expected {verdict.expected} · found nothing at pm202611r._domainkey.acme.example"
        f" (ns1.dns.example, serial 2026112201), found it at {stray}"
        ' · the panel appends the zone: enter only "pm202611r._domainkey"'
    )


def test_a_value_at_the_bare_domain_is_sent_to_its_place():
    found = hint(RECORDS["dmarc"], seen(elsewhere=[Stray("acme.example", ("v=spf1 -all", *right("dmarc")))]))
    assert found is not None
    assert (found.code, found.advice) == (
        "wrong_name",
        "the value is at acme.example and must be at _dmarc.acme.example",
    )


def test_a_wrong_value_elsewhere_explains_nothing():
    assert hint(RECORDS["dmarc"], seen(elsewhere=[Stray("acme.example", ("v=spf1 -all",))])) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dkim-cname:pm1", "pm1.abcdefghij.dkim.penguin.example.acme.example."),
        ("mx-bounce", "10 mail.acme.example.acme.example."),
        ("ptr", "mail.acme.example.100.51.198.in-addr.arpa."),
    ],
)
def test_a_target_without_its_final_dot_is_named(key, value):
    found = hint(RECORDS[key], seen(value))
    assert found is not None
    assert found.code == "target_appended"


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, f'"{right(key)[0]}"') for key in (DKIM, "dmarc", "own", "spf")]
    + [(key, right(key)[0].replace(";", "\\;")) for key in (DKIM, "dmarc")]
    + [(key, f" {right(key)[0]}") for key in ("own", "spf")],
)
def test_quotes_and_backslashes_of_a_zone_file_are_named(key, value):
    found = hint(RECORDS[key], seen(value))
    assert found is not None
    assert found.code == "quoted"
    assert not judge(RECORDS[key], seen(value)).passed


@pytest.mark.parametrize(
    "value",
    [
        DkimRecord("x", "rsa", KEY[:100] + KEY[101:]).text,
        DkimRecord("x", "rsa", KEY[:100] + "A" + KEY[100:]).text,
        DkimRecord("x", "rsa", KEY[1:]).text,
        DkimRecord("x", "rsa", KEY[:-1]).text,
        DkimRecord("x", "rsa", KEY).text[:255],
    ],
)
def test_a_damaged_key_is_named(value):
    found = hint(RECORDS[DKIM], seen(value))
    assert found is not None
    assert found.code == "key_damaged"


def test_another_systems_key_is_not_called_damaged():
    other = DkimRecord("x", "rsa", base64.b64encode(bytes(259)).decode()).text
    assert hint(RECORDS[DKIM], seen(other)) is None
    assert "next selector" in judge(RECORDS[DKIM], seen(other)).fix


def test_a_cache_that_hides_an_undone_change_is_named():
    found = hint(RECORDS["dmarc"], seen(recursive=(said(*right("dmarc")),)))
    assert found is not None
    assert (found.code, "240 s" in found.advice) == ("undone", True)


@given(st.text("AB/+", max_size=12), st.integers(0, 12), st.sampled_from("AB"))
def test_one_sign_more_is_one_sign_more(text, at, sign):
    longer = text[:at] + sign + text[at:]
    assert differs_by_one(text, longer)
    assert differs_by_one(longer, text)
    assert not differs_by_one(text, text)
    assert not differs_by_one(text, longer + "AA")


@given(st.lists(st.text(max_size=50), max_size=3), st.sampled_from(sorted(RECORDS)))
def test_hostile_values_never_raise(values, key):
    judge(RECORDS[key], seen(*values, elsewhere=[Stray("acme.example", tuple(values))]))
