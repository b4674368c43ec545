"""What no publication may do, however it was planned."""

import pytest

from flows.policy.records.publication import Change
from flows.policy.records.safety import refusal


def change(before: str | None, after: str | None, name: str = "_dmarc.acme.example", rtype: str = "TXT") -> Change:
    return Change(name, rtype, (after,) if after else (), 300, (before,) if before else (), "test")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("v=DMARC1; p=reject", "v=DMARC1; p=none"),
        ("v=DMARC1; p=quarantine; sp=reject", "v=DMARC1; p=quarantine"),
        ("v=DMARC1; p=none; np=reject", "v=DMARC1; p=none; np=none"),
        ("v=DMARC1; p=none; adkim=s", "v=DMARC1; p=none"),
        ("v=DMARC1; p=none; aspf=s", "v=DMARC1; p=none; aspf=r"),
        ("v=DMARC1; p=reject", "v=DMARC1; p=reject; t=y"),
        ("v=DMARC1; p=none", None),
        ("v=DMARC1; p=none", "v=DMARC1; p=perhaps"),
        ("v=spf1 include:a.example -all", "v=spf1 -all"),
        ("v=spf1 mx -all", "v=spf1 mx ~all"),
        ("v=spf1 mx ~all", "v=spf1 mx"),
        ("v=spf1 mx -all", None),
        ("v=spf1 redirect=_spf.big.example", "v=spf1 include:t.example ~all"),
        ("v=spf1 redirect=_spf.big.example", "v=spf1 redirect=_spf.small.example"),
        ("v=spf1 redirect=_spf.big.example", "v=spf1 redirect=_spf.big.example ~all"),
        ("v=spf1 a", "v=spf1 a +all"),
        ("v=spf1 a", "v=spf1 a redirect=x.example"),
        (" v=DMARC1; p=reject", "v=DMARC1; p=none"),
        ("v=DMARC1; p=none", " v=DMARC1; p=none"),
    ],
)
def test_what_would_be_weaker_is_refused_with_its_name(before, after) -> None:
    said = refusal([change(before, after)], 10)
    assert said is not None
    assert said.startswith("_dmarc.acme.example TXT: ")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "v=DMARC1; p=none"),
        ("v=DMARC1; p=none", "v=DMARC1; p=none; rua=mailto:r@x.example"),
        ("v=DMARC1; p=none", "v=DMARC1; p=reject; adkim=s"),
        ("v=DMARC1; p=perhaps", "v=DMARC1; p=none"),
        ("v=spf1 mx -all", "v=spf1 mx ip4:198.51.100.7 -all"),
        ("v=spf1 mx ?all", "v=spf1 mx ~all"),
        ("v=spf1 a", "v=spf1 a ip4:198.51.100.7"),
        ("v=spf1 a", "v=spf1 a ~all"),
        ("v=spf1 redirect=x.example", "v=spf1 ip4:198.51.100.7 redirect=x.example"),
        ("v=spf1 redirect=x.example -all", "v=spf1 -all"),
        (" v=DMARC1; p=none", "v=DMARC1; p=none"),
        ("anything", "else"),
    ],
)
def test_what_is_added_or_stricter_goes_out(before, after) -> None:
    assert refusal([change(before, after)], 10) is None


def test_a_second_spf_record_is_refused() -> None:
    doubled = Change("acme.example", "TXT", ("v=spf1 mx -all", "v=spf1 -all"), 300, ("v=spf1 mx -all",), "test")
    assert refusal([doubled], 10) == "acme.example TXT: the SPF record would be gone or doubled"


@pytest.mark.parametrize(
    ("replaced", "looked_at", "refused"),
    [(1, 2, False), (2, 2, True), (2, 3, True), (3, 10, False), (4, 10, True), (3, 9, True)],
)
def test_more_than_a_third_of_what_stands_is_not_replaced_unasked(replaced, looked_at, refused) -> None:
    changes = [change("192.0.2.1", "192.0.2.2", f"n{n}.acme.example", "A") for n in range(replaced)]
    changes += [change(None, "192.0.2.9", f"new{n}.acme.example", "A") for n in range(20)]
    assert (refusal(changes, looked_at) is not None) is refused


@pytest.mark.parametrize(("of_ours", "refused"), [(0, True), (1, True), (2, True), (3, False), (4, False)])
def test_what_we_put_there_ourselves_is_no_loss_of_the_tenants(of_ours, refused) -> None:
    changes = [change("192.0.2.1", "192.0.2.2", f"n{n}.acme.example", "A") for n in range(4)]
    ours = {(one.name, one.rtype): ("192.0.2.1",) for one in changes[:of_ours]}
    assert (refusal(changes, 5, ours) is not None) is refused


def test_one_value_of_the_tenants_among_ours_is_still_a_loss() -> None:
    mixed = [Change(f"n{n}.acme.example", "A", ("192.0.2.9",), 300, ("192.0.2.1", "192.0.2.7"), "test") for n in (1, 2)]
    assert refusal(mixed, 2, {(one.name, "A"): ("192.0.2.1",) for one in mixed}) is not None
    assert refusal(mixed, 2, {(one.name, "A"): one.before for one in mixed}) is None
    assert refusal(mixed, 2, {(one.name, "TXT"): one.before for one in mixed}) is not None


def test_a_name_of_ours_is_known_however_it_is_written() -> None:
    moved = [change("Mail.Acme.Example.", "mail.other.example", f"n{n}.acme.example", "CNAME") for n in (1, 2)]
    assert refusal(moved, 2, {(one.name, "CNAME"): ("mail.acme.example",) for one in moved}) is None


def test_a_weaker_policy_is_refused_though_it_was_ours() -> None:
    weaker = change("v=DMARC1; p=reject", "v=DMARC1; p=none")
    assert refusal([weaker], 10, {(weaker.name, "TXT"): weaker.before}) is not None


def test_what_only_gains_our_words_replaces_nothing() -> None:
    merged = [
        change("v=spf1 mx -all", "v=spf1 mx ip4:198.51.100.7 -all", "acme.example"),
        change("v=DMARC1; p=none", "v=DMARC1; p=none; rua=mailto:r@x.example"),
    ]
    assert refusal(merged, 2) is None
    assert refusal([*merged, change("old key", "new key", "k.acme.example")], 3) is None
