from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.spf import (
    SpfOutcome,
    SpfSyntax,
    authorises,
    check_host,
    costly_terms,
    is_open,
    lookup_cost,
    own_terms,
    parse_spf,
    spf_texts,
)

IP = IPv4Address("198.51.100.11")


@dataclass(frozen=True)
class Said:
    outcome: str
    values: tuple[str, ...] = ()


def world(**records: str | list[str]):
    """A look-up over `TXT_acme_example="v=spf1 …"`; a value that is an outcome word is that outcome."""
    asked: list[tuple[str, str]] = []

    async def look(name: str, rtype: str) -> Said:
        asked.append((name, rtype))
        values = records.get(f"{rtype}_{name.lower().removesuffix('.').replace('.', '_').replace('-', '__')}", "absent")
        if isinstance(values, str):
            values = [values]
        if values[0] in {"absent", "servfail", "timeout", "refused", "broken"}:
            return Said(values[0])
        return Said("found", tuple(values))

    return look, asked


async def outcome_of(text: str, ip="198.51.100.11", **records):
    look, _ = world(TXT_acme_example=text, **records)
    return await check_host(ip_address(ip), "acme.example", look)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("v=spf1 ip4:198.51.100.0/24 -all", "pass"),
        ("v=spf1 ip4:198.51.100.11 -all", "pass"),
        ("v=spf1 -ip4:198.51.100.11 +all", "fail"),
        ("v=spf1 ip4:192.0.2.1 ~all", "softfail"),
        ("v=spf1 ip4:192.0.2.1 ?all", "neutral"),
        ("v=spf1 ip4:192.0.2.1", "neutral"),
        ("v=spf1 ip6:::ffff:198.51.100.11 -all", "fail"),
        ("v=spf1 ip4:192.0.2.1 foo=bar -all", "fail"),
        ("v=spf1 ip4:198.51.100.300 -all", "permerror"),
        ("v=spf1 allx", "permerror"),
        ("not spf", "none"),
    ],
)
async def test_the_text_alone_decides_where_it_can(text, outcome):
    result = await outcome_of(text)
    assert result.outcome == outcome
    assert result.lookups == 0
    if outcome not in {"permerror", "none"}:
        assert authorises(parse_spf(text), IP) == outcome


@pytest.mark.parametrize(
    "text", ["v=spf1 a -all", "v=spf1 include:x.example ip4:198.51.100.11 -all", "v=spf1 redirect=x.example"]
)
def test_a_text_that_needs_lookups_decides_nothing(text):
    assert authorises(parse_spf(text), IP) is None


async def test_an_include_only_passes_on_a_pass():
    for inner, outcome in (("ip4:198.51.100.11 -all", "pass"), ("-all", "softfail"), ("?all", "softfail")):
        result = await outcome_of("v=spf1 include:x.example ~all", TXT_x_example=f"v=spf1 {inner}")
        assert result.outcome == outcome


async def test_an_include_without_a_record_breaks_the_whole():
    result = await outcome_of("v=spf1 include:x.example ip4:198.51.100.11 -all", TXT_x_example="hello")
    assert result.outcome is SpfOutcome.PERMERROR
    assert "x.example" in result.problem


async def test_redirect_counts_only_without_all():
    redirected = {"TXT_x_example": "v=spf1 ip4:198.51.100.11 -all"}
    assert (await outcome_of("v=spf1 redirect=x.example", **redirected)).outcome == "pass"
    assert (await outcome_of("v=spf1 redirect=x.example ~all", **redirected)).outcome == "softfail"
    assert (await outcome_of("v=spf1 redirect=x.example", TXT_x_example="x")).outcome == "permerror"


@pytest.mark.parametrize("trouble", ["servfail", "timeout", "refused", "broken"])
async def test_dns_trouble_is_temporary_wherever_it_strikes(trouble):
    for text, record in (
        ("v=spf1 include:x.example -all", "TXT_x_example"),
        ("v=spf1 a:x.example -all", "A_x_example"),
        ("v=spf1 mx:x.example -all", "MX_x_example"),
        ("v=spf1 exists:x.example -all", "A_x_example"),
        ("v=spf1 redirect=x.example", "TXT_x_example"),
    ):
        assert (await outcome_of(text, **{record: trouble})).outcome == "temperror"
    assert (await outcome_of(trouble)).outcome == "temperror"


async def test_ptr_trouble_only_fails_to_match():
    result = await outcome_of("v=spf1 ptr ~all", PTR_11_100_51_198_in__addr_arpa="servfail")
    assert result.outcome == "softfail"


async def test_two_records_break():
    look, _ = world(TXT_acme_example=["v=spf1 -all", "v=spf1 ip4:198.51.100.11 -all"])
    assert (await check_host(IP, "acme.example", look)).outcome is SpfOutcome.PERMERROR


async def test_ten_lookups_are_allowed_and_the_eleventh_is_not():
    hosts = {f"A_h{number}_example": "192.0.2.1" for number in range(11)}
    ten = " ".join(f"a:h{number}.example" for number in range(10))
    within = await outcome_of(f"v=spf1 {ten} -all", **hosts)
    assert (within.outcome, within.lookups) == (SpfOutcome.FAIL, 10)
    beyond = await outcome_of(f"v=spf1 {ten} a:h10.example -all", **hosts)
    assert beyond.outcome is SpfOutcome.PERMERROR
    assert "a:h10.example" in beyond.problem


async def test_the_third_void_lookup_breaks():
    two = await outcome_of("v=spf1 a:x.example mx:y.example -all")
    assert (two.outcome, two.voids) == (SpfOutcome.FAIL, 2)
    three = await outcome_of("v=spf1 a:x.example mx:y.example exists:z.example -all")
    assert three.outcome is SpfOutcome.PERMERROR


async def test_more_than_ten_exchanges_break():
    hosts = [f"10 m{number}.example." for number in range(11)]
    assert (await outcome_of("v=spf1 mx -all", MX_acme_example=hosts)).outcome == "permerror"
    assert (await outcome_of("v=spf1 mx -all", MX_acme_example=hosts[:10])).outcome == "fail"


async def test_a_loop_of_includes_ends_at_the_limit():
    look, asked = world(
        TXT_acme_example="v=spf1 include:b.example include:b.example -all",
        TXT_b_example="v=spf1 include:acme.example include:acme.example -all",
    )
    result = await check_host(IP, "acme.example", look)
    assert result.outcome is SpfOutcome.PERMERROR
    assert len(asked) <= 12


async def test_only_the_first_ten_reverse_names_are_looked_at():
    names = [f"h{number}.x.example." for number in range(30)]
    look, asked = world(
        TXT_acme_example="v=spf1 ptr:acme.example ptr:acme.example -all", PTR_11_100_51_198_in__addr_arpa=names
    )
    await check_host(IP, "acme.example", look)
    assert len([name for name, rtype in asked if rtype == "A"]) == 10


@pytest.mark.parametrize(
    ("macro", "name"),
    [
        ("%{i}", "198.51.100.11"),
        ("%{ir}.%{v}._spf.%{d2}", "11.100.51.198.in-addr._spf.acme.example"),
        ("%{l}.%{o}", "anna-b.acme.example"),
        ("%{lr-}.x.example", "b.anna.x.example"),
        ("%{d1}.x.example", "example.x.example"),
        ("%{d9}", "acme.example"),
        ("%{h}", "mail.acme.example"),
        ("%%%_.x.example", "% .x.example"),
        ("%{S}.x.example", "anna-b%40acme.example.x.example"),
    ],
)
async def test_macros_name_what_is_asked(macro, name):
    look, asked = world(TXT_acme_example=f"v=spf1 exists:{macro} -all")
    await check_host(IP, "acme.example", look, sender="anna-b@acme.example", helo="mail.acme.example")
    assert asked[-1] == (name, "A")


async def test_an_ipv6_sender_is_spelled_in_nibbles():
    look, asked = world(
        TXT_acme_example="v=spf1 exists:%{ir}.x.example a:six.example -all", AAAA_six_example="2001:DB8::1"
    )
    result = await check_host(IPv6Address("2001:db8::1"), "acme.example", look)
    assert asked[1][0] == "1." + "0." * 23 + "8.B.D.0.1.0.0.2.x.example"
    assert result.outcome is SpfOutcome.PASS


async def test_a_mapped_sender_is_its_ipv4_address():
    look, _ = world(TXT_acme_example="v=spf1 ip4:198.51.100.11 -all")
    assert (await check_host(IPv6Address("::ffff:198.51.100.11"), "acme.example", look)).outcome is SpfOutcome.PASS


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1 a/33 -all",
        "v=spf1 a//129 -all",
        "v=spf1 a/08 -all",
        "v=spf1 ip4:1.2.3 -all",
        "v=spf1 ip4 -all",
        "v=spf1 ip6:1.2.3.4 -all",
        "v=spf1 include -all",
        "v=spf1 include: -all",
        "v=spf1 include:museum -all",
        "v=spf1 include:x.123 -all",
        "v=spf1 a:x..y -all",
        "v=spf1 exists:%{x}.y.example -all",
        "v=spf1 exists:%{d0}.y.example -all",
        "v=spf1 exists:%{c}.y.example -all",
        "v=spf1 exists:%x.y.example -all",
        "v=spf1 redirect=a.example redirect=b.example",
        "v=spf1 exp= -all",
        "v=spf1 all: ",
        "v=spf1 -a\tll",
        "v=spf1 ipv4:192.0.2.1",
        "v=spf1 a:\u00fc.example",
        "v=spf1x",
        "v=spf10 -all",
        " v=spf1 -all",
    ],
)
def test_what_the_grammar_forbids_is_named(text):
    if text == "v=spf1 a:x..y -all":
        assert parse_spf(text).directives[0].domain == "x..y"  # a question no DNS message can carry, not a fault
        return
    with pytest.raises(SpfSyntax):
        parse_spf(text)


@pytest.mark.parametrize(
    "text", ["v=spf1", "V=SPF1 -ALL", "v=spf1   a:A.b-c.example/24//64  ", "v=spf1 x.y-z_1=%{d}%% a"]
)
def test_what_the_grammar_allows_is_read(text):
    assert parse_spf(text).text == text


def test_the_record_is_chosen_by_its_version():
    values = ("v=spf1 -all", "V=spf1", "v=spf10", "v=spf1-all", " v=spf1", "spf2.0/pra")
    assert spf_texts(values) == ("v=spf1 -all", "V=spf1")


def test_an_open_record_is_known():
    assert is_open(parse_spf("v=spf1 a all"))
    assert not is_open(parse_spf("v=spf1 a ~all"))
    assert not is_open(parse_spf("v=spf1 a"))


def test_lookup_terms_are_counted():
    assert parse_spf("v=spf1 a mx include:x.example ptr exists:x.example ip4:192.0.2.1 redirect=y.example").lookups == 6
    assert parse_spf("v=spf1 ip4:192.0.2.1 redirect=y.example -all exp=z.example").lookups == 0


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("v=spf1 ip4:192.0.2.1 -all", 0),
        ("v=spf1 a mx include:b.example -all", 6),
        ("v=spf1 redirect=b.example", 4),
        ("v=spf1 redirect=b.example -all", 0),
        ("v=spf1 include:%{d2}.x.example -all", 1),
        ("v=spf1 include:nowhere.example -all", 1),
        ("v=spf1 include:broken.example -all", 1),
        ("v=spf1 include:loop.example -all", 40),
        ("nonsense", 0),
    ],
)
async def test_the_cost_counts_everything_that_is_included(text, cost):
    look, _ = world(
        TXT_b_example="v=spf1 a mx include:c.example ip4:192.0.2.1 -all",
        TXT_c_example=["hello", "v=spf1 ip4:192.0.2.2 -all"],
        TXT_broken_example="v=spf1 ipv4:192.0.2.1",
        TXT_loop_example="v=spf1 include:loop.example include:loop.example",
    )
    assert await lookup_cost(text, look) == cost


async def test_the_cost_is_unknown_when_a_name_is_silent():
    look, _ = world(TXT_b_example="servfail")
    assert await lookup_cost("v=spf1 include:b.example -all", look) is None


async def test_counting_asks_no_more_than_it_counts():
    look, asked = world(TXT_many_example="v=spf1 " + " ".join(f"include:i{number}.example" for number in range(500)))
    assert await lookup_cost("v=spf1 include:many.example", look) == 40
    assert len(asked) == 1


def test_costly_terms_are_named_for_a_person():
    record = parse_spf("v=spf1 a ip4:192.0.2.1 ~include:x.example redirect=y.example")
    assert costly_terms(record) == ("a", "~include:x.example", "redirect=y.example")


ADDRESS = st.ip_addresses(v=4).map(str)
TERM = st.one_of(
    ADDRESS.map("ip4:{}".format),
    st.tuples(ADDRESS, st.integers(0, 32)).map(lambda pair: f"ip4:{pair[0]}/{pair[1]}"),
    st.sampled_from(
        ["a", "mx", "ptr", "a/24", "mx//64", "include:x.example", "exists:%{i}.x.example", "ip6:2001:db8::/32"]
    ),
)
QUALIFIED = st.tuples(st.sampled_from(["", "+", "-", "~", "?"]), TERM).map("".join)


@given(st.lists(QUALIFIED, max_size=8))
def test_terms_written_are_terms_read(terms):
    record = parse_spf(" ".join(["v=spf1", *terms]))
    assert [term.text for term in record.directives] == terms
    assert own_terms(record.text) == tuple(terms)


@given(st.text(max_size=300))
def test_hostile_text_is_a_record_or_a_fault(text):
    try:
        record = parse_spf(f"v=spf1 {text}")
    except SpfSyntax:
        return
    assert text.isascii()
    assert record.lookups >= 0


@given(st.lists(st.text(max_size=60), max_size=3), st.lists(st.text(max_size=60), max_size=3))
async def test_hostile_answers_never_raise(texts, values):
    async def look(name: str, rtype: str) -> Said:
        return Said(
            "found",
            tuple(f"v=spf1 a mx ptr exists:%{{i}}.x.example {text}" for text in texts)
            if rtype == "TXT"
            else tuple(values),
        )

    result = await check_host(IP, "acme.example", look)
    assert result.outcome in SpfOutcome


@pytest.mark.parametrize(
    "terms",
    ["a" * 60000, f"a:{'x' * 60000}!", "%{d}" * 15000, f"a:{'%{d}.' * 12000}", "a " * 30000, f"exists:{'.a' * 30000}!"],
    ids=["word", "label", "macros", "domain", "terms", "labels"],
)
async def test_a_text_of_64_kilobytes_is_no_trouble(terms):
    result = await outcome_of(f"v=spf1 {terms}")
    assert result.outcome in SpfOutcome
    assert len(result.problem) < 250


@pytest.mark.parametrize(
    "domain", ["example", "", "a..example", "x" * 64 + ".example", "ü.example", "a." * 130 + "example"]
)
async def test_a_name_no_question_can_carry_has_no_record(domain):
    look, asked = world()
    assert (await check_host(IP, domain, look)).outcome is SpfOutcome.NONE
    assert asked == []


@pytest.mark.parametrize(
    "spec", ["%%{c}.example", "%%{d0}.example", "%%%%{t}.example", "%{d}.%%{r}.example", "a.%%%{d}"]
)
def test_a_literal_percent_sign_begins_no_macro(spec):
    assert parse_spf(f"v=spf1 exists:{spec} -all").directives[0].domain == spec


@pytest.mark.parametrize("spec", ["%%%{c}.example", "%%%{d0}.example", "a.%%{d}", "%{c}.example"])
def test_a_macro_behind_a_literal_percent_sign_is_one(spec):
    with pytest.raises(SpfSyntax):
        parse_spf(f"v=spf1 exists:{spec} -all")


async def test_a_sender_without_a_reverse_name_is_a_void_look_up():
    result = await outcome_of("v=spf1 ptr ip4:198.51.100.11 -all")
    assert (result.outcome, result.voids) == (SpfOutcome.PASS, 1)
    assert (await outcome_of("v=spf1 ptr ptr:a.example ptr:b.example -all")).outcome is SpfOutcome.PERMERROR
