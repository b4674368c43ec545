from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flows.policy.records import (
    DkimRecord,
    DomainPlan,
    HostAddress,
    Observations,
    ObservedAnswer,
    expected_records,
    judge,
    judge_dnssec,
    read,
)
from flows.policy.spf import SpfOutcome, SpfResult
from flows.policy.verdict import Truth

IP = IPv4Address("198.51.100.11")
STANDBY = IPv4Address("198.51.100.12")
AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
PLAN = DomainPlan(
    domain="acme.example",
    hosts=(HostAddress("mail.acme.example", IP), HostAddress("mail2.acme.example", STANDBY)),
    sending_ip=IP,
    standby_ips=(STANDBY,),
    dkim=(DkimRecord("pm202611r", "rsa", "MIIB"), DkimRecord("pm202611e", "ed25519", "AAAA")),
    dmarc_rua=None,
    platform_zone="penguin.example",
    label="abcdefghij",
    manage_mx=True,
    verification_token="0a" * 16,
)
RECORDS = {record.key: record for record in expected_records(PLAN)}
UNHELPFUL = ("servfail", "refused", "timeout", "broken")


def said(*values: str, outcome: str = "", server: str = "192.0.2.53", ttl: int = 300, serial: int | None = None):
    outcome = outcome or ("found" if values else "absent")
    return ObservedAnswer(outcome, values, ttl, server, AT, serial)  # type: ignore[arg-type]


def circle(*hops: str) -> ObservedAnswer:
    return replace(said(outcome="broken"), endless=hops)


def test_aliases_without_an_end_are_a_fail_that_names_the_hops():
    dmarc = RECORDS["dmarc"]
    verdict = judge(dmarc, Observations((circle("a.example.", "_dmarc.acme.example."),), (said(outcome="servfail"),)))
    assert (verdict.truth, verdict.reason) == (Truth.FAIL, "cname_chain")
    assert verdict.found == ("_dmarc.acme.example → a.example → _dmarc.acme.example",)
    assert "come to no end" in verdict.fix


def test_aliases_without_an_end_at_one_server_do_not_outvote_another():
    ends = judge(RECORDS["dmarc"], Observations((circle("a.example."), *[right("dmarc")] * 2), (right("dmarc"),)))
    assert ends.truth is Truth.PASS
    unsure = judge(RECORDS["dmarc"], Observations((*[circle("a.example.")] * 2, right("dmarc")), (right("dmarc"),)))
    assert unsure.truth is Truth.UNKNOWN


def passes(name: str, outcome: SpfOutcome = SpfOutcome.PASS, ips=(IP, STANDBY), **more):
    return tuple(SpfResult(outcome, name, ip, **more) for ip in ips)


def right(key: str) -> ObservedAnswer:
    return said(*RECORDS[key].values)


def verdict_on(key: str, authority, recursive, **more):
    return judge(RECORDS[key], Observations(tuple(authority), tuple(recursive), **more))


def everywhere(key: str, *values: str, **more):
    answer = said(*values)
    return verdict_on(key, [answer, answer], [answer], **more)


@pytest.mark.parametrize("key", RECORDS)
def test_a_record_that_stands_everywhere_passes(key):
    verdict = everywhere(key, *RECORDS[key].values, spf=passes(RECORDS[key].name))
    assert (verdict.truth, verdict.reason) == (Truth.PASS, "ok")
    assert len(verdict.evidence) == 3
    assert verdict.evidence[0].ttl_seconds == 300


@pytest.mark.parametrize("key", [key for key in RECORDS if key != "mx"])
def test_a_record_that_stands_nowhere_fails(key):
    verdict = everywhere(key, spf=passes(RECORDS[key].name, SpfOutcome.NONE))
    assert (verdict.truth, verdict.reason.endswith("missing")) == (Truth.FAIL, True)
    assert "expected" in verdict.fix
    assert "192.0.2.53" in verdict.fix


@pytest.mark.parametrize("key", RECORDS)
@pytest.mark.parametrize("outcome", UNHELPFUL)
def test_silence_is_never_missing(key, outcome):
    nothing = said(outcome=outcome)
    for authority in ([nothing], [nothing, nothing, right(key)], []):
        verdict = verdict_on(key, authority, [right(key)])
        assert (verdict.truth, verdict.reason) == (Truth.UNKNOWN, "authority_unreachable")
    seen = verdict_on(key, [right(key)], [nothing], spf=passes(RECORDS[key].name))
    assert (seen.truth, seen.reason) == (Truth.UNKNOWN, "resolver_unreachable")


@pytest.mark.parametrize("key", ["a", "ptr", "mx-bounce", "own", "dkim-rsa:pm202611r", "dmarc"])
class TestTheTableOfVantagePoints:
    def test_half_of_the_authority_is_enough(self, key):
        verdict = verdict_on(key, [right(key), said(outcome="timeout")], [right(key)])
        assert verdict.truth is Truth.PASS

    def test_a_resolver_that_lags_behind_means_wait(self, key):
        verdict = verdict_on(key, [right(key)], [said()])
        assert (verdict.truth, verdict.reason) == (Truth.UNKNOWN, "propagating")

    def test_one_resolver_that_has_seen_it_is_enough(self, key):
        verdict = verdict_on(key, [right(key)], [said(), right(key)])
        assert verdict.truth is Truth.PASS

    def test_a_cache_that_is_still_right_does_not_save_a_wrong_authority(self, key):
        assert verdict_on(key, [said(), said()], [right(key)]).truth is Truth.FAIL

    def test_servers_that_differ_are_looked_at_again_for_a_day(self, key):
        answers = [replace(right(key), soa_serial=2), replace(said(), soa_serial=1, server="192.0.2.54")]
        young = verdict_on(key, answers, [right(key)], disagreeing_since=AT - timedelta(hours=23))
        assert (young.truth, young.reason) == (Truth.UNKNOWN, "authorities_disagree")
        assert young.found == ("192.0.2.53: serial 2", "192.0.2.54: serial 1")
        old = verdict_on(key, answers, [right(key)], disagreeing_since=AT - timedelta(hours=24))
        assert (old.truth, old.reason) == (Truth.FAIL, "authorities_disagree")

    def test_an_answer_that_only_comes_unchecked_means_broken_dnssec(self, key):
        observed = Observations((right(key),), (said(outcome="servfail"),), unvalidated=(right(key),))
        assert judge(RECORDS[key], observed).reason == "dnssec_broken"
        zone = judge_dnssec("acme.example", observed)
        assert (zone.truth, zone.reason) == (Truth.FAIL, "dnssec_broken")
        healthy = judge_dnssec("acme.example", Observations((), (right(key),)))
        assert healthy.truth is Truth.PASS
        silent = judge_dnssec("acme.example", Observations((), (said(outcome="timeout"),)))
        assert silent.truth is Truth.UNKNOWN


@pytest.mark.parametrize(
    ("key", "values", "reason"),
    [
        ("a", ("192.0.2.1",), "mismatch"),
        ("own", ("pm-verify=" + "0b" * 16,), "mismatch"),
        ("own", ('"pm-verify=' + "0a" * 16 + '"',), "mismatch"),
        ("own", ("PM-VERIFY=" + "0a" * 16,), "mismatch"),
        ("mx-bounce", ("0 .",), "mx_null"),
        ("mx-bounce", ("10 mail.acme.example.", "5 other.example."), "mx_foreign"),
        ("mx-bounce", ("10 other.example.",), "mismatch"),
        ("ptr", ("hwsrv-1.provider.example.",), "ptr_default"),
        ("dkim-rsa:pm202611r", ("v=DKIM1; p=",), "revoked"),
        ("dmarc", ("v=DMARC1; p=none", "v=DMARC1; p=none"), "dmarc_multiple"),
        ("spf", ("v=spf1 -all", "v=spf1 ~all"), "spf_multiple"),
        ("spf", ("v=spf1 +all",), "spf_open"),
        ("spf", ("v=spf1 ipv4:192.0.2.1 -all",), "spf_syntax"),
        ("dmarc-ext", ("v=DMARC2;",), "missing"),
        ("spf-ours", ("v=spf1 ip4:198.51.100.11 -all",), "mismatch"),
        ("spf-host", ("v=spf1 ip4:192.0.2.0/24 -all",), "spf_not_authorised"),
    ],
)
def test_what_contradicts_fails_by_its_own_reason(key, values, reason):
    verdict = everywhere(key, *values)
    assert (verdict.truth, verdict.reason) == (Truth.FAIL, reason)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("a", ("192.0.2.1", "198.51.100.11")),
        ("mx-bounce", ("0 MAIL.acme.example",)),
        ("own", ("hello", "pm-verify=" + "0a" * 16)),
        ("ptr", ("MAIL.acme.example",)),
        ("srv-imaps", ("0 1 993 Mail.acme.example",)),
        ("dmarc", ("v=DMARC1; p=reject",)),
        ("dmarc-ext", ("v=DMARC1",)),
        ("dmarc-ext", ("hello", "v=DMARC1; rua=mailto:x@dmarc.penguin.example")),
        ("spf-host", ("hello", "v=spf1 ip4:198.51.100.0/24 ~all")),
    ],
)
def test_other_words_for_the_same_pass(key, values):
    assert everywhere(key, *values).truth is Truth.PASS


def test_mail_that_the_tenant_keeps_elsewhere_is_right_as_it_is():
    record = {record.key: record for record in expected_records(replace(PLAN, manage_mx=False))}["mx"]
    elsewhere = said("10 mx.other.example.")
    verdict = judge(record, Observations((elsewhere,), (elsewhere,)))
    assert (verdict.truth, verdict.reason) == (Truth.PASS, "mx_external")


class TestSpf:
    NAME = "acme.example"
    TEXT = "v=spf1 include:_spf.other.example include:abcdefghij._spf.penguin.example ~all"

    def test_every_address_must_pass(self):
        assert everywhere("spf", self.TEXT, spf=passes(self.NAME)).truth is Truth.PASS
        one = (*passes(self.NAME, ips=(IP,)), *passes(self.NAME, SpfOutcome.SOFTFAIL, ips=(STANDBY,), term="~all"))
        verdict = everywhere("spf", self.TEXT, spf=one)
        assert (verdict.truth, verdict.reason) == (Truth.FAIL, "spf_not_authorised")
        assert "198.51.100.12: softfail (~all)" in verdict.fix

    def test_a_text_that_needs_lookups_is_unknown_until_they_were_made(self):
        assert everywhere("spf", self.TEXT).reason == "spf_not_evaluated"
        assert everywhere("spf", self.TEXT, spf=passes(self.NAME, ips=(IP,))).reason == "spf_not_evaluated"
        assert everywhere("spf", self.TEXT, spf=passes("other.example")).reason == "spf_not_evaluated"

    def test_trouble_on_the_way_is_unknown(self):
        mixed = (*passes(self.NAME, ips=(IP,)), *passes(self.NAME, SpfOutcome.TEMPERROR, ips=(STANDBY,)))
        verdict = everywhere("spf", self.TEXT, spf=mixed)
        assert (verdict.truth, verdict.reason) == (Truth.UNKNOWN, "spf_temperror")

    def test_a_refusal_outweighs_trouble_on_the_way(self):
        trouble = passes(self.NAME, SpfOutcome.TEMPERROR, ips=(IP,))
        refusal = passes(self.NAME, SpfOutcome.FAIL, ips=(STANDBY,), term="-all")
        verdict = everywhere("spf", self.TEXT, spf=(*trouble, *refusal))
        assert (verdict.truth, verdict.reason) == (Truth.FAIL, "spf_not_authorised")

    def test_what_stands_instead_is_shown(self):
        assert everywhere("spf", "hello").found == ("hello",)
        assert everywhere("spf", "hello", "v=spf1 +all").found == ("v=spf1 +all",)

    def test_a_record_that_breaks_evaluation_fails(self):
        broken = passes(self.NAME, SpfOutcome.PERMERROR, problem="more than 10 look-ups, at a:x.example")
        verdict = everywhere("spf", self.TEXT, spf=broken)
        assert (verdict.truth, verdict.reason) == (Truth.FAIL, "spf_permerror")
        assert "more than 10 look-ups" in verdict.fix

    def test_many_lookups_are_a_warning(self):
        assert "8 of 10" in everywhere("spf", self.TEXT, spf=passes(self.NAME, lookups=8)).warnings[0]
        assert everywhere("spf", self.TEXT, spf=passes(self.NAME, lookups=7)).warnings == ()

    def test_no_qualified_end_is_a_warning(self):
        for end in ("?all", ""):
            verdict = everywhere("spf-host", f"v=spf1 ip4:198.51.100.11 {end}")
            assert verdict.passed
            assert "~all" in verdict.warnings[0]
        assert everywhere("spf-host", "v=spf1 ip4:198.51.100.11 redirect=x.example").warnings == ()

    def test_an_obsolete_mechanism_is_a_warning(self):
        verdict = everywhere("spf", f"v=spf1 ptr {self.TEXT[7:]}", spf=passes(self.NAME))
        assert verdict.passed
        assert "ptr" in verdict.warnings[0]

    def test_a_stale_resolver_does_not_make_a_right_record_wrong(self):
        stale = said("v=spf1 include:_spf.other.example ~all")
        failing = passes(self.NAME, SpfOutcome.SOFTFAIL)
        verdict = verdict_on("spf", [said(self.TEXT)], [stale], spf=failing)
        assert (verdict.truth, verdict.reason) == (Truth.UNKNOWN, "propagating")

    def test_a_stale_resolver_does_not_excuse_a_broken_record(self):
        stale = said("v=spf1 include:_spf.other.example ~all")
        verdict = verdict_on("spf", [said(self.TEXT, "v=spf1 -all")], [stale])
        assert (verdict.truth, verdict.reason) == (Truth.FAIL, "spf_multiple")

    def test_an_evaluation_does_not_save_two_records(self):
        assert everywhere("spf", self.TEXT, "v=spf1 -all", spf=passes(self.NAME)).reason == "spf_multiple"

    def test_a_passing_record_in_other_words_needs_none_of_our_terms(self):
        assert everywhere("spf", "v=spf1 a:mail.acme.example -all", spf=passes(self.NAME)).truth is Truth.PASS


def test_the_fix_says_expected_found_where_and_what_to_do():
    answer = said("192.0.2.1", server="ns1.dns.example", serial=2026112201)
    verdict = judge(RECORDS["a"], Observations((answer,), (answer,)))
    assert verdict.fix == (
        "a: expected 198.51.100.11 · found 192.0.2.1 at mail.acme.example (ns1.dns.example, serial 2026112201)"
        " · publish A 198.51.100.11"
    )


def test_evidence_says_who_said_what_and_when():
    answers = (said("192.0.2.1", "192.0.2.2", serial=7), said(server="192.0.2.54"), said(outcome="timeout"))
    first, second, third, recursive = judge(RECORDS["a"], Observations(answers, (right("a"),))).evidence
    assert (first.source, first.question, first.answer) == (
        "192.0.2.53 (serial 7)",
        "mail.acme.example A",
        "192.0.2.1 | 192.0.2.2",
    )
    assert (second.source, second.answer, third.answer) == ("192.0.2.54", "absent", "timeout")
    assert (recursive.answer, recursive.asked_at, recursive.ttl_seconds) == ("198.51.100.11", AT, 300)


def test_the_line_stays_readable_whatever_was_published():
    verdict = everywhere("own", *("x" * 5000 for _ in range(50)))
    assert verdict.fix.count("|") == 3
    assert len(verdict.fix) < 4 * 300 + 250


OUTCOMES = st.sampled_from(["found", "absent", *UNHELPFUL])
ANSWERS = st.lists(
    st.tuples(OUTCOMES, st.lists(st.sampled_from(["198.51.100.11", "192.0.2.1", "junk"]), max_size=2)), max_size=5
)


@given(ANSWERS, ANSWERS, st.sampled_from(sorted(RECORDS)))
def test_green_needs_the_authority_and_red_is_never_made_of_silence(authority, recursive, key):
    seen = [
        [said(*(values if outcome == "found" else ()), outcome=outcome) for outcome, values in answers]
        for answers in (authority, recursive)
    ]
    verdict = verdict_on(key, *seen)
    conclusive = [answer for answer in seen[0] if answer.outcome in {"found", "absent"}]
    if 2 * len(conclusive) < len(seen[0]) or not conclusive:
        assert verdict.truth is Truth.UNKNOWN
    if verdict.truth is Truth.PASS:
        assert all(read(RECORDS[key], answer.values).truth is not Truth.FAIL for answer in conclusive)
    if verdict.truth is Truth.FAIL:
        assert any(read(RECORDS[key], answer.values).truth is Truth.FAIL for answer in conclusive)


@given(st.lists(st.text(max_size=60), max_size=4), st.sampled_from(sorted(RECORDS)))
@example(values=["."], key="srv-imaps")  # a target that is nothing but its final dot
def test_hostile_values_are_a_verdict_never_an_exception(values, key):
    assert everywhere(key, *values).truth in Truth
