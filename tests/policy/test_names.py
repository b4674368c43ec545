import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.names import host_name, is_record_name, is_under, mailbox_address, same_form

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(lambda label: label[2:4] != "--")
NAME = st.lists(LABEL, min_size=2, max_size=5).map(".".join).filter(lambda name: not name.rpartition(".")[2].isdigit())


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("acme.example", "acme.example"),
        (" ACME.Example. ", "acme.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("xn--strae-oqa.example", "xn--strae-oqa.example"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
        ("1and1.example", "1and1.example"),
    ],
)
def test_a_domain_name_has_one_stored_form(written, stored):
    assert host_name(written) == stored


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("localhost", "has no dot"),
        ("a..example", "empty label"),
        (".example.net", "empty label"),
        ("acme.example..", "empty label"),
        ("192.0.2.1", "an address"),
        ("-a.example", "no host name"),
        ("a-.example", "no host name"),
        ("a_b.example", "no host name"),
        ("a b.example", "no host name"),
        ("a\x00.example", "no host name"),
        ("http://acme.example/", "no host name"),
        ("ab--c.example", "third place"),
        ("xn--a-.example", "no host name"),
        ("xn--99999999999.example", "third place"),
        (f"{'a' * 64}.example", "no host name"),
        (f"{'ü' * 64}.example", "cannot be written"),
        (".".join(["a" * 60] * 5), "longer than 253"),
        ("a." * 9000 + "example", "longer than a domain name"),
        ("stra\u00dfe.example", "old and new software"),
        ("a\u200db.example", "old and new software"),
    ],
)
def test_what_is_no_domain_name_is_refused_in_one_sentence(written, part):
    with pytest.raises(ValueError, match=part) as refusal:
        host_name(written)
    assert len(str(refusal.value)) < 250
    assert "\x00" not in str(refusal.value)


@given(NAME)
def test_a_stored_name_stays_as_it_is(name):
    assert host_name(name) == name
    assert host_name(name.upper() + ".") == name


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_a_refusal(text):
    try:
        name = host_name(text)
    except ValueError:
        return
    assert re.fullmatch(r"[a-z0-9.-]{3,253}", name)
    assert host_name(name) == name


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("Anna@ACME.example", ("anna", "acme.example")),
        ("anna.b+c@bücher.example", ("anna.b+c", "xn--bcher-kva.example")),
        (f"{'a' * 64}@acme.example", ("a" * 64, "acme.example")),
    ],
)
def test_a_mailbox_address_comes_apart_in_lower_case(written, parts):
    assert mailbox_address(written) == parts


@pytest.mark.parametrize(
    "written",
    ["anna", "@acme.example", "a b@acme.example", ".a@acme.example", "a..b@acme.example", "a@", "ü@acme.example",
     f"{'a' * 65}@acme.example", "a@b@acme.example", "a\n@acme.example",
     f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 12}"],
)  # fmt: skip
def test_what_is_no_mailbox_address_is_refused(written):
    with pytest.raises(ValueError, match=r"@|domain"):
        mailbox_address(written)


def test_a_record_name_may_have_underscores():
    assert is_record_name("pm202611r._domainkey.acme.example.")
    assert not is_record_name("a b.example")
    assert not is_record_name("")
    assert not is_record_name("a..example")
    assert not is_record_name("a." * 127 + "example")


@pytest.mark.parametrize(
    ("name", "zone", "under"),
    [
        ("mail.acme.example", "acme.example", True),
        ("ACME.example.", "acme.example", True),
        ("notacme.example", "acme.example", False),
        ("example", "acme.example", False),
    ],
)
def test_a_name_lies_under_a_zone_by_whole_labels(name, zone, under):
    assert is_under(name, zone) is under


def test_names_compare_without_case_and_final_dot():
    assert same_form(" Mail.Acme.example. ") == "mail.acme.example"
