from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.records import (
    Change,
    Conflict,
    DkimRecord,
    DomainPlan,
    HostAddress,
    Keep,
    Need,
    expected_records,
    publication,
)
from flows.policy.spf import own_terms, parse_spf, spf_texts, with_terms

IP = IPv4Address("198.51.100.11")
PLAN = DomainPlan(
    domain="acme.example",
    hosts=(HostAddress("mail.acme.example", IP),),
    sending_ip=IP,
    standby_ips=(),
    dkim=(DkimRecord("pm202611r", "rsa", "MIIB"),),
    dmarc_rua="r@acme.example",
    platform_zone=None,
    label=None,
    manage_mx=False,
    verification_token="0a" * 16,
)
PLATFORM = replace(PLAN, platform_zone="penguin.example", label="abcdefghij")
RECORDS = {record.key: record for record in expected_records(PLAN)}
OURS = {record.key: record for record in expected_records(PLATFORM)}
INCLUDE = "include:abcdefghij._spf.penguin.example"


@dataclass(frozen=True)
class Standing:
    values: tuple[str, ...]
    ttl: int = 7200


def act(key: str, *values: str, records=RECORDS, **more):
    return publication(records[key], Standing(values) if values else None, **more)


@pytest.mark.parametrize("key", [key for key in RECORDS if key not in {"ptr", "mx"}])
def test_an_empty_name_gets_our_record(key):
    change = act(key)
    assert isinstance(change, Change)
    assert (change.values, change.before, change.ttl) == (RECORDS[key].values, (), 300)


@pytest.mark.parametrize("key", [*RECORDS, *OURS])
def test_what_stands_right_is_left_alone(key):
    record = RECORDS.get(key) or OURS[key]
    assert isinstance(publication(record, Standing(record.values)), Keep)


@pytest.mark.parametrize(
    ("existing", "after"),
    [
        ("v=spf1 include:_spf.other.example ~all", f"v=spf1 include:_spf.other.example {INCLUDE} ~all"),
        ("v=spf1 mx -all", f"v=spf1 mx {INCLUDE} -all"),
        ("V=SPF1  a  ?ALL  exp=x.acme.example", f"V=SPF1  a  {INCLUDE} ?ALL  exp=x.acme.example"),
        ("v=spf1 redirect=_spf.other.example", f"v=spf1 {INCLUDE} redirect=_spf.other.example"),
        ("v=spf1 ip4:192.0.2.1 ", f"v=spf1 ip4:192.0.2.1 {INCLUDE}"),
        ("v=spf1", f"v=spf1 {INCLUDE}"),
        ("v=spf1 include:all.example -all", f"v=spf1 include:all.example {INCLUDE} -all"),
    ],
)
def test_our_term_goes_before_all_and_nothing_else_changes(existing, after):
    change = act("spf", "other text", existing, "more", records=OURS)
    assert isinstance(change, Change)
    assert change.values == ("other text", after, "more")
    assert (change.before, change.ttl) == (("other text", existing, "more"), 7200)


@pytest.mark.parametrize("existing", [f"v=spf1 {INCLUDE} -all", f"v=spf1 a +{INCLUDE.upper()} ~all"])
def test_a_record_that_has_our_term_is_kept(existing):
    assert isinstance(act("spf", existing, records=OURS), Keep)


def test_a_record_that_covers_our_addresses_in_other_words_is_kept():
    assert isinstance(act("spf", "v=spf1 ip4:198.51.100.0/24 mx -all", records=OURS), Keep)
    assert isinstance(act("spf", "v=spf1 mx ip4:198.51.100.0/24 -all", records=OURS), Change)
    assert isinstance(act("spf", "v=spf1 mx -all", records=OURS, spf_passes=True), Keep)


@pytest.mark.parametrize(
    ("values", "reason", "part"),
    [
        (("v=spf1 -all", "v=spf1 mx ~all"), "spf_multiple", f"v=spf1 mx {INCLUDE} -all"),
        (("v=spf1 -all", "v=spf1 bogus"), "spf_multiple", f"v=spf1 {INCLUDE} ~all"),
        (("v=spf1 +all",), "spf_open", "whole world"),
        (("v=spf1 all",), "spf_open", "whole world"),
        (("v=spf1 ipv4:192.0.2.1 -all",), "spf_syntax", "ipv4:192.0.2.1"),
    ],
)
def test_a_broken_spf_record_is_for_a_person(values, reason, part):
    conflict = act("spf", *values, records=OURS)
    assert isinstance(conflict, Conflict)
    assert conflict.reason == reason
    assert part in conflict.fix


def test_the_tenth_lookup_may_be_ours():
    nine = "v=spf1 " + " ".join(f"include:i{number}.example" for number in range(9)) + " -all"
    for change in (act("spf", nine, records=OURS), act("spf", "v=spf1 a -all", records=OURS, spf_lookups=9)):
        assert isinstance(change, Change)
        assert INCLUDE in change.values[0]


def test_an_eleventh_lookup_is_avoided_by_naming_the_address():
    full = "v=spf1 " + " ".join(f"include:i{number}.example" for number in range(10)) + " -all"
    change = act("spf", full, records=OURS)
    assert isinstance(change, Change)
    assert change.values[0].endswith("include:i9.example ip4:198.51.100.11 -all")
    nested = act("spf", "v=spf1 include:deep.example -all", records=OURS, spf_lookups=10)
    assert isinstance(nested, Change)
    assert "ip4:198.51.100.11" in nested.values[0]


def test_a_record_beyond_ten_lookups_is_not_ours_to_flatten():
    full = "v=spf1 " + " ".join(f"include:i{number}.example" for number in range(11)) + " -all"
    conflict = act("spf", full, records=OURS)
    assert isinstance(conflict, Conflict)
    assert "include:i10.example" in conflict.fix


@pytest.mark.parametrize(("size", "warned"), [(450, False), (451, True)])
def test_an_answer_too_large_for_one_packet_is_a_warning(size, warned):
    beside = "x" * (size - len(RECORDS["spf"].values[0]))
    change = act("spf", beside)
    assert isinstance(change, Change)
    assert bool(change.warnings) is warned


def test_the_tenants_stricter_dmarc_record_only_gains_our_address():
    change = act("dmarc", "v=DMARC1; p=reject; adkim=s")
    assert isinstance(change, Change)
    assert change.values == ("v=DMARC1; p=reject; adkim=s; rua=mailto:r@acme.example",)


def test_a_first_dmarc_record_says_why_it_is_strict():
    strict = {record.key: record for record in expected_records(replace(PLAN, dmarc_start="v=DMARC1; p=reject"))}
    change = act("dmarc", records=strict)
    assert isinstance(change, Change)
    assert change.reason == "no DMARC record stands there, and a domain above asks for reject already"


def test_two_dmarc_records_are_for_a_person():
    conflict = act("dmarc", "v=DMARC1; p=none", "v=DMARC1; p=reject")
    assert isinstance(conflict, Conflict)
    broken = act("dmarc", "v=DMARC1; p=oops")
    assert isinstance(broken, Conflict)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a", "192.0.2.80"),
        ("mx-bounce", "10 feedback-smtp.other.example."),
        ("dkim-rsa:pm202611r", "v=DKIM1; p=QUJD"),
        ("srv-imaps", "0 1 993 imap.other.example."),
    ],
)
def test_what_is_not_ours_is_never_overwritten(key, value):
    conflict = act(key, value)
    assert isinstance(conflict, Conflict)
    assert value in conflict.fix
    replaced = act(key, value, ours_before=(value,))
    assert isinstance(replaced, Change)
    assert (replaced.values, replaced.before) == (RECORDS[key].values, (value,))


def test_a_proof_of_ownership_stands_beside_others():
    change = act("own", "pm-verify=" + "0b" * 16, "hello", ours_before=("pm-verify=" + "0b" * 16,))
    assert isinstance(change, Change)
    assert change.values == ("hello", "pm-verify=" + "0a" * 16)


def test_the_apex_mx_is_touched_only_with_consent_and_kept_for_the_undo():
    assert isinstance(act("mx", "10 mx.other.example."), Keep)
    assert isinstance(act("mx"), Keep)
    consented = {record.key: record for record in expected_records(replace(PLAN, manage_mx=True))}
    change = act("mx", "10 mx.other.example.", records=consented)
    assert isinstance(change, Change)
    assert (change.values, change.before) == (("10 mail.acme.example.",), ("10 mx.other.example.",))


def test_a_cname_in_the_way_is_for_a_person():
    conflict = act("mx-bounce", alias="bounces.other.example.")
    assert isinstance(conflict, Conflict)
    assert "bounces.other.example." in conflict.fix


def test_our_own_zone_is_ours_to_set():
    change = act("spf-ours", "v=spf1 ip4:192.0.2.1 -all", records=OURS)
    assert isinstance(change, Change)
    assert change.values == OURS["spf-ours"].values
    assert isinstance(act("ptr", "anything."), Keep)


@pytest.mark.parametrize("key", ["a", "mx-bounce", "spf", "dmarc", "own"])
def test_publishing_twice_changes_once(key):
    record = replace(RECORDS[key], need=Need.REQUIRED)
    change = publication(record, None)
    assert isinstance(change, Change)
    assert isinstance(publication(record, Standing(change.values)), Keep)


TERM = st.sampled_from(
    [
        "a",
        "mx",
        "-ip4:192.0.2.0/24",
        "?include:x.example",
        "ip6:2001:db8::/32",
        "exists:%{i}.x.example",
        "unknown=x",
        "ptr",
    ]
)
END = st.sampled_from([[], ["-all"], ["~all"], ["?all"], ["redirect=y.example"], ["-all", "exp=e.example"]])


@given(st.lists(TERM, max_size=6), END, st.sampled_from([" ", "  "]))
def test_merging_never_drops_or_moves_a_term(terms, end, gap):
    text = gap.join(["v=spf1", *terms, *end])
    merged = with_terms(text, [INCLUDE])
    before, after = text.split(), merged.split()
    assert [term for term in after if term != INCLUDE] == before
    assert after.count(INCLUDE) == 1
    directives = [term.text for term in parse_spf(merged).directives]
    if "all" in {term.name for term in parse_spf(merged).directives}:
        assert directives.index(INCLUDE) == len(directives) - 2
    assert with_terms(merged, [INCLUDE]) == merged
    assert spf_texts([merged]) == (merged,)


def test_our_terms_are_all_but_the_end():
    assert own_terms("v=spf1 ip4:192.0.2.1 include:x.example -all") == ("ip4:192.0.2.1", "include:x.example")


@given(st.lists(st.text(max_size=40), max_size=4), st.sampled_from(sorted(RECORDS)))
def test_hostile_sets_are_decided_without_an_exception_and_nothing_foreign_is_lost(values, key):
    decision = publication(RECORDS[key], Standing(tuple(values)))
    if isinstance(decision, Change) and RECORDS[key].rtype == "TXT":
        assert set(values) - set(spf_texts(values)) <= set(decision.values) or key.startswith("dmarc")
