"""`dns check`: a table for any domain, against its plan where there is one, and an exit code that tells its colour."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.__main__ import app
from flows.commands.dns_check import EXITS, document, row, verdicts_on
from flows.policy.verdict import Truth, Verdict, overall
from flows.resources import resources
from tests.support.dns_zone import Internet, internet, picture
from tests.support.product import Product

DOMAIN = "acme.example"
STRANGER = """
    other.example. 300 SOA ns1.rev.example. hostmaster.example. 1 60 60 60 60
    other.example. 300 NS ns1.rev.example.
    other.example. 300 MX 10 mx.other.example.
    mx.other.example. 300 A 198.51.100.9
    9.100.51.198.in-addr.arpa. 300 PTR mx.other.example.
    other.example. 300 TXT "v=spf1 include:_spf.other.example ~all"
    _spf.other.example. 300 TXT "v=spf1 ip4:198.51.100.9 -all"
    _dmarc.other.example. 300 TXT "v=DMARC1; p=none; rua=mailto:d@other.example"
    six.example. 300 MX 10 mx.six.example.
    mx.six.example. 300 AAAA 2001:db8::25
    _dmarc.dept.other.example. 300 TXT "v=DMARC1; p=reject"
    s1._domainkey.other.example. 300 TXT "v=DKIM1; k=ed25519; p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
"""


@pytest.fixture
async def dns() -> AsyncIterator[Internet]:
    async with internet(DOMAIN, more=STRANGER) as made:
        yield made


@pytest.fixture
def installed(product: Product, dns: Internet) -> Product:
    product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(dns.port), DNS__TIMEOUT_SECONDS="1")
    product.sign_up()
    product.rows("UPDATE domains SET dns_records = %s", json.dumps(picture(DOMAIN)))
    return product


async def looked(name: str, *selectors: str) -> dict[str, Verdict]:
    async with resources() as r:
        return {verdict.subject: verdict for verdict in await verdicts_on(r, name, selectors)}


async def test_a_healthy_domain_is_right_in_every_record(installed: Product) -> None:
    seen = await looked(DOMAIN)
    assert overall(seen.values()) is Truth.PASS
    assert seen["dmarc"].evidence[0].source == "ns1.acme.example."
    assert row(seen["dmarc"])[:2] == ("dmarc", "ok")


async def test_a_broken_domain_names_what_was_expected_found_where_and_what_to_do(
    installed: Product, dns: Internet
) -> None:
    dns.change("_dmarc.acme.example. 300 TXT", "_dmarc.acme.example.acme.example. 300 TXT")
    verdict = (await looked(DOMAIN))["dmarc"]
    assert (verdict.truth, verdict.reason) == (Truth.FAIL, "missing")
    assert verdict.fix == (
        "dmarc: expected v=DMARC1; p=none · found nothing at _dmarc.acme.example (ns1.acme.example.), found it at"
        ' _dmarc.acme.example.acme.example · the panel appends the zone: enter only "_dmarc"'
    )


async def test_a_half_propagated_domain_is_unknown_and_says_until_when(installed: Product, dns: Internet) -> None:
    dns.change('"v=DMARC1; p=none"', '"v=DMARC1; p=bogus"', at="recursive")
    verdict = (await looked(DOMAIN))["dmarc"]
    assert (verdict.truth, verdict.reason) == (Truth.UNKNOWN, "propagating")
    assert EXITS[verdict.truth] == 3


async def test_servers_that_differ_show_their_serials(installed: Product, dns: Internet) -> None:
    dns.change('"v=DMARC1; p=none"', '"v=DMARC1; p=bogus"', at="second")
    dns.change("hostmaster.acme.example. 7 ", "hostmaster.acme.example. 6 ", at="second")
    verdict = (await looked(DOMAIN))["dmarc"]
    assert (verdict.truth, verdict.reason) == (Truth.UNKNOWN, "authorities_disagree")
    assert verdict.found == ("ns1.acme.example.: serial 7", "ns2.acme.example.: serial 6")


async def test_an_unreachable_domain_is_unknown_and_never_missing(installed: Product, dns: Internet) -> None:
    for server in dns.servers:
        server.faults |= {f"{name}acme.example.": "refused" for name in ("", "_dmarc.", "mail.", "bounce.")}
    seen = await looked(DOMAIN)
    assert {seen[key].truth for key in ("dmarc", "spf", "a")} == {Truth.UNKNOWN}


async def test_broken_dnssec_is_told_from_a_missing_record(installed: Product, dns: Internet) -> None:
    dns.recursive.faults |= dict.fromkeys(("_dmarc.acme.example.", "acme.example."), "servfail_unless_cd")
    for server in (dns.first, dns.second):
        server.faults["_dmarc.acme.example."] = "refused"
    seen = await looked(DOMAIN)
    assert (seen["dmarc"].truth, seen["dmarc"].reason) == (Truth.UNKNOWN, "dnssec_broken")
    assert (seen[f"dnssec:{DOMAIN}"].truth, seen[f"dnssec:{DOMAIN}"].reason) == (Truth.FAIL, "dnssec_broken")
    assert "DS record at the registrar" in seen[f"dnssec:{DOMAIN}"].fix


async def test_any_domain_can_be_surveyed(installed: Product) -> None:
    seen = await looked("other.example", "s1", "s2")
    assert {subject: (verdict.truth.value, verdict.reason) for subject, verdict in seen.items()} == {
        "mx": ("pass", "ok"), "mx-ptr:198.51.100.9": ("pass", "ok"), "spf": ("pass", "ok"), "dkim:s1": ("pass", "ok"),
        "dkim:s2": ("fail", "missing"), "dmarc": ("pass", "ok"), "mta-sts": ("pass", "absent"),
        "tls-rpt": ("pass", "absent"),
    }  # fmt: skip
    told: Any = document(seen["spf"])
    assert told["evidence"][0]["answer"] == "v=spf1 include:_spf.other.example ~all"


async def test_the_walk_for_a_policy_goes_on_to_the_organisation(installed: Product) -> None:
    seen = await looked("x.dept.other.example")
    assert seen["dmarc"].found[1] == "applied: none, from other.example"
    assert seen["dmarc"].evidence[0].answer == "v=DMARC1; p=none; rua=mailto:d@other.example"


async def test_an_exchange_may_have_an_address_of_the_new_kind_alone(installed: Product) -> None:
    seen = await looked("six.example")
    assert (seen["mx"].truth, [key for key in seen if key.startswith("mx-")]) == (Truth.PASS, [])


@pytest.mark.parametrize("command", ["dns check", "readiness"])
@pytest.mark.parametrize("selector", ["a..b", "x" * 64])
def test_what_is_no_selector_is_a_usage_error_before_anything_is_asked(command: str, selector: str) -> None:
    said = CliRunner().invoke(app, [*command.split(), "foo.example", "--selector", selector])
    assert said.exit_code == 2
    assert "is no DKIM selector of foo.example" in said.output
