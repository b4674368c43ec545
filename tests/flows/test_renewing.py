"""Certificates that are due and cannot be renewed: put off, told to staff, louder the nearer their end."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from click.testing import Result
from cryptography import x509
from typer.testing import CliRunner

from flows.__main__ import app
from flows.certificates.renewing import renew_certificates, severity, waiting_after
from flows.policy.certificates import due_at
from providers.errors import Rejected, Unavailable
from providers.keys import certificate_facts, issue_certificate
from sql.session import Contended
from tests.support.postgres import add_server
from tests.support.product import Customer, Product
from tests.support.smtp_tls import authority, request

NAME = "mail.acme.example"


def certificate(days: int) -> str:
    ca, key = authority(days=400)
    made = issue_certificate(
        request(x509.DNSName(NAME)), ca_certificate_pem=ca, ca_key_pem=key, names=[NAME], days=days
    )
    return made.decode()


def host(product: Product, customer: Customer, pem: str, number: int = 1) -> int:
    """A server that shows a certificate and cannot be reached."""
    server = add_server(product.dsn, customer, f"pm-test-{number}-01")  # pyright: ignore[reportArgumentType]  it has a pk too
    product.rows(
        "UPDATE vps_instances SET hostname = %s, configuration = jsonb_build_object('certificate_pem', %s::text)"
        " WHERE id = %s",
        NAME, pem, server,
    )  # fmt: skip
    product.rows(
        "INSERT INTO smtp_ip_addresses (tenant_id, vps_instance_id, ip_address, rdns_hostname) VALUES (%s, %s, %s, %s)",
        customer.pk, server, IPv4Address(f"198.51.100.{50 + number}"), NAME,
    )  # fmt: skip
    return server


async def renewed() -> str:
    state = await renew_certificates(return_state=True)
    assert state.is_completed()
    return str(state.message)


@pytest.mark.parametrize(("pem", "loud"), [(certificate(1), "critical"), ("not a certificate", "critical")])
async def test_what_cannot_be_renewed_is_put_off_and_told_once(product: Product, pem: str, loud: str) -> None:
    server = host(product, product.sign_up(), pem)
    assert "pm-test-1-01 waiting_for_operator" in await renewed()
    (row,) = product.rows("SELECT certificate_due_at FROM vps_instances WHERE id = %s", server)
    assert row["certificate_due_at"] > datetime.now(UTC) + timedelta(hours=5)
    assert await renewed() == "0 certificates: "
    product.rows("UPDATE vps_instances SET certificate_due_at = NULL")
    await renewed()
    (alert,) = product.rows("SELECT * FROM system_notifications WHERE dedupe_key = 'certificate:pm-test-1-01'")
    assert (alert["severity"], alert["occurrences"], alert["is_resolved"]) == (loud, 2, False)
    assert NAME in alert["title"]


async def test_one_hosts_trouble_keeps_no_other_from_its_turn(product: Product) -> None:
    customer = product.sign_up()
    for number in (1, 2, 3):
        host(product, customer, "broken", number)
    message = await renewed()
    assert message.startswith("3 certificates")
    assert all(f"pm-test-{number}-01 waiting" in message for number in (1, 2, 3))


async def test_a_server_without_a_certificate_or_at_its_end_is_left_alone(product: Product) -> None:
    customer = product.sign_up()
    add_server(product.dsn, customer, "pm-test-1-01")  # pyright: ignore[reportArgumentType]  it has a pk too
    product.rows("UPDATE vps_instances SET status = 'decommissioned' WHERE id = %s", host(product, customer, "x", 2))
    assert await renewed() == "0 certificates: "


@pytest.mark.parametrize(
    ("left", "loud"),
    [
        (timedelta(hours=1), "critical"),
        (timedelta(days=2), "high"),
        (timedelta(days=20), "low"),
        (-timedelta(1), "critical"),
    ],
)
def test_the_nearer_the_end_the_louder(left: timedelta, loud: str) -> None:
    assert severity(datetime.now(UTC) + left) == loud


@pytest.mark.parametrize(
    ("error", "reason", "hours"),
    [
        (Unavailable("acme", "look", "down"), "provider", 0.25), (Contended("busy"), "provider", 0.25),
        (Rejected("host", "apply", "disk-full"), "operator", 6), (LookupError("never reached"), "operator", 6),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_soon_and_the_rest_when_it_is_mended(
    error: Exception, reason: str, hours: float
) -> None:
    waiting = waiting_after(error)
    assert (waiting.reason, waiting.look_again_in) == (reason, timedelta(hours=hours))


def test_a_fresh_certificate_is_due_after_two_thirds_of_its_life() -> None:
    facts = certificate_facts(certificate(90).encode())
    assert timedelta(days=59) < due_at(facts.not_before, facts.not_after) - datetime.now(UTC) < timedelta(days=61)


def test_the_private_authority_needs_its_files(tmp_path: Path) -> None:
    from flows.certificates.issuing import read_authority  # noqa: PLC0415  beside its test alone

    with pytest.raises(Rejected, match="must be set"):
        read_authority(None)
    with pytest.raises(Rejected, match="No such file"):
        read_authority(tmp_path / "none")


def test_the_command_lists_what_is_shown_and_looks_at_the_host_that_is_named(product: Product) -> None:
    host(product, product.sign_up(), certificate(90))
    listed = flows("certificates", "list")
    assert (listed.exit_code, listed.stdout.split("\t")[:2]) == (0, [NAME, NAME])
    product.rows("UPDATE vps_instances SET certificate_due_at = now() + interval '30 days'")
    assert "0 certificates" in flows("certificates", "renew").stdout
    unknown = flows("certificates", "renew", "mail.beta.example")
    assert (unknown.exit_code, "no host mail.beta.example" in unknown.stderr) == (5, True)
    assert "pm-test-1-01 waiting_for" in flows("certificates", "renew", NAME).stdout


def flows(*words: str) -> Result:
    """Run `python -m flows …` in this process, piped."""
    return CliRunner().invoke(app, list(words))
