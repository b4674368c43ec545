import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.dmarc import (
    DmarcPolicy,
    DmarcSyntax,
    applied_policy,
    authorisation_name,
    beginning,
    discovery_names,
    dmarc_texts,
    inherited,
    is_aligned,
    judge_dmarc,
    merged,
    organisational_domain,
    parse_dmarc,
    report_addresses,
    stricter,
    weaker,
)
from flows.policy.verdict import Truth

OURS = "v=DMARC1; p=none; rua=mailto:r-abc@dmarc.penguin.example"


def test_a_record_is_read_with_its_defaults():
    record = parse_dmarc("v=DMARC1; p=Reject")
    assert (record.policy, record.subdomains, record.nonexistent, record.reports_to) == (
        DmarcPolicy.REJECT,
        None,
        None,
        (),
    )
    assert (record.strict_dkim, record.strict_spf, record.testing) == (False, False, False)
    assert record.public_suffix is None


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("v=DMARC1;p=quarantine;pct=10", DmarcPolicy.QUARANTINE),
        (" V = DMARC1 ; rua=mailto:a@b.example ; p = none", DmarcPolicy.NONE),
        ("v=DMARC1; rua=mailto:a@b.example", DmarcPolicy.NONE),
        ("v=DMARC1; p=bogus; rua=mailto:a@b.example", DmarcPolicy.NONE),
        ("v=DMARC1; nonsense; p=reject; p=none", DmarcPolicy.REJECT),
    ],
)
def test_a_record_means_what_receivers_of_today_make_of_it(text, policy):
    assert parse_dmarc(text).policy is policy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=DMARC1",
        "v=DMARC1; rua=https://b.example",
        "v=DMARC12; p=none",
        "v=dmarc1; p=none",
        "p=none; v=DMARC1",
        "v=spf1 -all",
    ],
)
def test_what_receivers_ignore_is_no_record(text):
    with pytest.raises(DmarcSyntax):
        parse_dmarc(text)


def test_other_text_at_the_name_is_passed_over():
    assert dmarc_texts(("hello", OURS, "v=DMARC12")) == (OURS,)


def test_report_addresses_keep_what_can_be_used():
    assert report_addresses("mailto:a@b.example!10m, https://x.example, mailto:c@d.example,") == (
        "mailto:a@b.example!10m", "mailto:c@d.example",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "truth", "reason"),
    [
        ((OURS,), Truth.PASS, "ok"),
        (("other", OURS), Truth.PASS, "ok"),
        (("v=DMARC1; p=reject; rua=mailto:r-abc@dmarc.penguin.example!5m",), Truth.PASS, "ok"),
        ((), Truth.FAIL, "missing"),
        (("p=none",), Truth.FAIL, "missing"),
        ((OURS, "v=DMARC1; p=reject"), Truth.FAIL, "dmarc_multiple"),
        (("v=DMARC1; p=banana",), Truth.FAIL, "dmarc_syntax"),
        ((f" {OURS}",), Truth.FAIL, "dmarc_syntax"),
        ((f"\t{OURS}",), Truth.FAIL, "dmarc_syntax"),
    ],
)
def test_the_record_is_judged_by_what_it_asks_for(values, truth, reason):
    verdict = judge_dmarc("dmarc", OURS, values)
    assert (verdict.truth, verdict.reason) == (truth, reason)
    assert verdict.passed or verdict.fix


@pytest.mark.parametrize(
    ("found", "truth"),
    [
        ("v=DMARC1; p=none", Truth.FAIL),
        ("v=DMARC1; p=quarantine", Truth.PASS),
        ("v=DMARC1; p=quarantine; t=y", Truth.FAIL),
        ("v=DMARC1; p=reject; t=y", Truth.PASS),
        ("v=DMARC1; p=quarantine; pct=1", Truth.PASS),
    ],
)
def test_a_weaker_policy_than_the_step_asks_for_fails(found, truth):
    assert judge_dmarc("dmarc", "v=DMARC1; p=quarantine", (found,)).truth is truth


@pytest.mark.parametrize(
    ("found", "part"),
    [
        ("v=DMARC1; p=none", "reports do not reach"),
        (f"{OURS}; pct=50", "pct="),
        (f"{OURS}; P=reject", "p= stands twice"),
        (f"{OURS}; ri=3600", "ri="),
        (f"{OURS}; aspf=s", "aspf=s"),
        ("v=DMARC1; p=none; t=y; rua=mailto:r-abc@dmarc.penguin.example", "t=y"),
        ("v=DMARC1; p=none; rua=mailto:r-abc@dmarc.penguin.example!1m", "size limit"),
    ],
)
def test_what_is_odd_but_right_is_a_warning(found, part):
    verdict = judge_dmarc("dmarc", OURS, (found,))
    assert verdict.passed
    assert any(part in warning for warning in verdict.warnings)


@pytest.mark.parametrize(
    ("existing", "after"),
    [
        (OURS, OURS),
        (f" {OURS}", OURS),
        ("v=DMARC1; p=reject; adkim=s", "v=DMARC1; p=reject; adkim=s; rua=mailto:r-abc@dmarc.penguin.example"),
        (
            "v=DMARC1;p=none;rua=mailto:x@y.example;fo=1;",
            "v=DMARC1;p=none;rua=mailto:x@y.example,mailto:r-abc@dmarc.penguin.example;fo=1;",
        ),
        (
            "v=DMARC1; p=none; rua=mailto:R-ABC@dmarc.penguin.example!10m",
            "v=DMARC1; p=none; rua=mailto:R-ABC@dmarc.penguin.example!10m",
        ),
        (
            "v=DMARC1; rua=mailto:x@y.example",
            "v=DMARC1; p=none; rua=mailto:x@y.example,mailto:r-abc@dmarc.penguin.example",
        ),
    ],
)
def test_only_what_lacks_is_added(existing, after):
    assert merged(existing, OURS) == after


def test_a_later_step_raises_the_policy_in_its_place():
    assert merged("v=DMARC1; p=none; sp=reject; fo=1", "v=DMARC1; p=quarantine; np=reject") == (
        "v=DMARC1; p=quarantine; sp=reject; fo=1"
    )
    assert merged("v=DMARC1; p=none", "v=DMARC1; p=quarantine; np=reject") == "v=DMARC1; p=quarantine; np=reject"


POLICY = st.sampled_from(list(DmarcPolicy))
MAYBE = st.none() | POLICY
URIS = st.lists(st.sampled_from(["mailto:a@b.example", "mailto:c@d.example!9m", "mailto:r@e.example"]), unique=True)


@st.composite
def records(draw) -> str:
    tags = [
        ("p", draw(POLICY)),
        ("sp", draw(MAYBE)),
        ("np", draw(MAYBE)),
        ("adkim", draw(st.sampled_from([None, "r", "s"]))),
    ]
    tags += [
        ("aspf", draw(st.sampled_from([None, "r", "s"]))),
        ("rua", ",".join(draw(URIS)) or None),
        ("fo", draw(st.sampled_from([None, "1"]))),
    ]
    shuffled = draw(st.permutations([f"{name}={value}" for name, value in tags if value is not None]))
    return draw(st.sampled_from(["; ", ";", " ; "])).join(["v=DMARC1", *shuffled]) + draw(st.sampled_from(["", ";"]))


@given(records(), records())
def test_merging_never_weakens_a_word_of_the_owner(existing, wanted):
    before, want, after = parse_dmarc(existing), parse_dmarc(wanted), parse_dmarc(merged(existing, wanted))
    assert after.policy.rank == stricter(before.policy, want.policy).rank
    for tag in ("sp", "np"):
        was = {"sp": before.subdomains, "np": before.nonexistent}[tag] or inherited(before, tag)
        now = {"sp": after.subdomains, "np": after.nonexistent}[tag] or inherited(after, tag)
        assert now.rank >= was.rank
    assert (after.strict_dkim, after.strict_spf, after.testing) == (
        before.strict_dkim,
        before.strict_spf,
        before.testing,
    )
    assert set(before.reports_to) <= set(after.reports_to)
    assert after.tags.get("fo") == before.tags.get("fo")


@given(records(), records())
def test_merging_twice_is_merging_once(existing, wanted):
    once = merged(existing, wanted)
    assert merged(once, wanted) == once


@given(st.text(max_size=200))
def test_hostile_text_is_a_verdict_never_an_exception(text):
    assert not judge_dmarc("dmarc", "v=DMARC1; p=reject", (f"v=DMARC1; {text}", f"v=DMARC1;{text}")).passed
    try:
        record = parse_dmarc(f"v=DMARC1; {text}")
    except DmarcSyntax:
        return
    assert record.policy in DmarcPolicy


@pytest.mark.parametrize(
    ("domain", "names"),
    [
        ("acme.example", ("acme.example", "example")),
        ("A.b.acme.example.", ("a.b.acme.example", "b.acme.example", "acme.example", "example")),
        ("1.2.3.4.5.6.7", ("1.2.3.4.5.6.7", "2.3.4.5.6.7", "3.4.5.6.7", "4.5.6.7", "5.6.7", "6.7", "7")),
        (
            "a.1.2.3.4.5.6.7",
            ("a.1.2.3.4.5.6.7", "1.2.3.4.5.6.7", "2.3.4.5.6.7", "3.4.5.6.7", "4.5.6.7", "5.6.7", "6.7", "7"),
        ),
        (
            "x.y.a.1.2.3.4.5.6.7",
            ("x.y.a.1.2.3.4.5.6.7", "1.2.3.4.5.6.7", "2.3.4.5.6.7", "3.4.5.6.7", "4.5.6.7", "5.6.7", "6.7", "7"),
        ),
    ],
)
def test_discovery_walks_up_in_eight_questions_at_most(domain, names):
    assert discovery_names(domain) == names
    assert len(names) <= 8


@given(st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), min_size=1, max_size=40).map(".".join))
def test_discovery_never_asks_more_than_eight_and_ends_at_the_top(domain):
    names = discovery_names(domain)
    assert len(names) <= 8
    assert names[0] == domain
    assert names[-1] == domain.rpartition(".")[2]


def found(**records_by_name):
    return {name.replace("_", "."): parse_dmarc(text) for name, text in records_by_name.items()}


@pytest.mark.parametrize(
    ("domain", "records_by_name", "organisation"),
    [
        ("a.b.acme.example", {}, "a.b.acme.example"),
        ("a.b.acme.example", {"acme_example": "v=DMARC1; p=none"}, "acme.example"),
        (
            "a.b.acme.example",
            {"b_acme_example": "v=DMARC1; p=none", "acme_example": "v=DMARC1; p=none"},
            "acme.example",
        ),
        (
            "a.b.acme.example",
            {"b_acme_example": "v=DMARC1; p=none; psd=n", "acme_example": "v=DMARC1; p=none"},
            "b.acme.example",
        ),
        ("a.b.acme.example", {"acme_example": "v=DMARC1; p=none; psd=y"}, "b.acme.example"),
        ("a.b.acme.example", {"example": "v=DMARC1; p=none; psd=y"}, "acme.example"),
        ("acme.example", {"acme_example": "v=DMARC1; p=none; psd=y", "example": "v=DMARC1; p=none"}, "example"),
    ],
)
def test_the_organisation_is_found_by_the_walk(domain, records_by_name, organisation):
    assert organisational_domain(domain, found(**records_by_name)) == organisation


@pytest.mark.parametrize(
    ("record", "exists", "policy"),
    [
        ("v=DMARC1; p=reject", True, "reject"),
        ("v=DMARC1; p=reject; sp=none", True, "none"),
        ("v=DMARC1; p=reject; sp=none; np=quarantine", False, "quarantine"),
        ("v=DMARC1; p=reject; sp=none", False, "none"),
        ("v=DMARC1; p=reject; t=y", True, "quarantine"),
        ("v=DMARC1; p=none; t=y", True, "none"),
    ],
)
def test_a_subdomain_gets_the_policy_of_its_organisation(record, exists, policy):
    assert applied_policy("news.acme.example", found(acme_example=record), exists=exists) == policy


def test_a_record_of_its_own_comes_first():
    records_found = found(news_acme_example="v=DMARC1; p=none; sp=reject", acme_example="v=DMARC1; p=reject")
    assert applied_policy("news.acme.example", records_found, exists=True) is DmarcPolicy.NONE
    assert applied_policy("other.example", {}, exists=True) is None


def test_without_an_organisations_record_that_of_the_public_suffix_holds():
    suffix = found(example="v=DMARC1; p=quarantine; sp=reject; psd=y")
    assert applied_policy("acme.example", suffix, exists=True) is DmarcPolicy.REJECT
    assert applied_policy("acme.example", suffix | found(acme_example="v=DMARC1; p=none"), exists=True) == "none"


@pytest.mark.parametrize(
    ("above", "begins"),
    [
        (None, "v=DMARC1; p=none"),
        ("v=DMARC1; p=reject; rua=mailto:them@other.example", "v=DMARC1; p=reject"),
        ("v=DMARC1; p=reject; sp=none", "v=DMARC1; p=none"),
        ("v=DMARC1; p=none; sp=quarantine; np=reject; adkim=s", "v=DMARC1; p=quarantine; adkim=s"),
        ("v=DMARC1; p=reject; aspf=s; t=y", "v=DMARC1; p=reject; aspf=s; t=y"),
    ],
)
def test_a_first_record_begins_as_strict_as_what_holds_without_it(above, begins):
    assert beginning(parse_dmarc(above) if above else None) == begins


@given(
    st.sampled_from(["none", "quarantine", "reject"]),
    st.sampled_from(["", "; sp=none", "; sp=quarantine", "; sp=reject"]),
    st.sampled_from(["", "; t=y"]),
    st.sampled_from(["", "; adkim=s; aspf=s"]),
)
def test_no_first_record_weakens_what_a_receiver_does(policy, below, testing, strict):
    records = found(acme_example=f"v=DMARC1; p={policy}{below}{testing}{strict}")
    before = applied_policy("news.acme.example", records, exists=True)
    own = parse_dmarc(beginning(records["acme.example"]))
    after = applied_policy("news.acme.example", records | {"news.acme.example": own}, exists=True)
    assert after == before
    assert (own.strict_dkim, own.strict_spf) == (bool(strict), bool(strict))
    assert judge_dmarc("dmarc", own.text, [own.text]).passed


def test_alignment_is_by_organisation_unless_strict():
    def organisation_of(name: str) -> str:
        return ".".join(name.split(".")[-2:])

    assert is_aligned("acme.example", "Acme.example.", organisation_of, strict=True)
    assert is_aligned("acme.example", "bounce.acme.example", organisation_of, strict=False)
    assert not is_aligned("acme.example", "bounce.acme.example", organisation_of, strict=True)
    assert not is_aligned("acme.example", "other.example", lambda name: name, strict=False)


def test_a_stranger_must_consent_to_reports():
    assert (
        authorisation_name("acme.example", "mailto:r@dmarc.penguin.example")
        == "acme.example._report._dmarc.dmarc.penguin.example"
    )
    assert authorisation_name("acme.example", "mailto:r@mail.acme.example") is None
    assert authorisation_name("acme.example", "https://x.example") is None


def test_one_step_weaker_ends_at_none():
    assert [weaker(policy) for policy in DmarcPolicy] == [DmarcPolicy.NONE, DmarcPolicy.NONE, DmarcPolicy.QUARANTINE]
