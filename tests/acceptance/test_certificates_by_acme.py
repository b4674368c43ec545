"""Certificates from the world's ACME authority: issued over every death, waited for, renewed under open sessions."""

import imaplib
import json
import ssl
import time
from collections.abc import Generator
from datetime import timedelta

import pytest

from tests.support.pebble import Wire, wire_between
from tests.support.world import DONE, PATIENCE_SECONDS, RECEIVER, REJECTED, WAITING, Lab, Tenant
from tests.support.world_leaks import places, stored
from tests.support.world_mail import line_to, refusal, written
from tests.support.world_secrets import leaks

ACME = {"PENGUINMAILS_MAIL_HOST__CERTIFICATE_ISSUER": "acme"}
CONTROL, CERTIFICATES = "203.0.113.10", "203.0.113.55"
SHORT_LIFE_SECONDS = 120
INVALID = json.dumps(
    {
        "status": "invalid", "finalize": "https://wire.lab.example", "authorizations": [],
        "error": {
            "type": "urn:ietf:params:acme:error:unauthorized", "detail": "Non-200 status code",
            "identifier": {"type": "dns", "value": "mail.limited.example"},
        },
    }
).encode()  # fmt: skip
EFFECTS = (
    ("before", "flows.certificates.ordering:placed"),
    ("after", "providers.acme.authority:Acme.place_order"),  # placed, and nobody knows its address
    ("after", "flows.certificates.ordering:placed"),
    ("after", "flows.certificates.ordering:answer"),
    ("after", "providers.acme.authority:Acme.finalize"),
    ("before", "flows.certificates.issuing:keep"),
    ("before", "flows.onboarding.certificates:converge"),
)


@pytest.fixture(scope="module")
def certified(quiet: Lab) -> Tenant:
    """A tenant that went live with a certificate by ACME, though its process died at each effect on the way."""
    tenant = quiet.add_tenant("certified")
    before = placed(quiet)
    for when, boundary in EFFECTS:
        quiet.dies(tenant, when, boundary, **ACME)
    ran = quiet.onboard(tenant, **ACME)
    assert ran.code == DONE, ran.said
    assert placed(quiet) - before == 2  # the one whose address died with the process, and the one that was gone on with
    return tenant


def placed(lab: Lab) -> int:
    """Orders the authority took since it began."""
    _, out, _ = lab.world.exec("dns", "journalctl -q -u pebble -o cat | grep -c 'Added order' || :")
    return int(out)


def shown(lab: Lab, tenant: Tenant) -> tuple[str, str]:
    """Serial number and issuer of what the host shows at submission, once it verifies for the host's name."""
    hostname = lab.instance_of(tenant)["hostname"]
    with line_to(lab, tenant, 587) as line:
        certificate = ssl.DER_cert_to_PEM_cert(line.sock.getpeercert(binary_form=True))  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]  it is over TLS
    _, out, _ = lab.world.exec(
        "dns",
        f"openssl x509 -noout -serial -issuer -checkhost {hostname}",
        certificate.encode(),
    )
    serial, issuer, verdict = out.decode().strip().splitlines()
    assert "does match" in verdict
    return serial, issuer


def orders_of(lab: Lab, tenant: Tenant) -> list[str]:
    return [
        row["state"] for row in lab.rows("SELECT state FROM acme_orders WHERE tenant_id = %s ORDER BY id", tenant.id)
    ]


def test_a_tenant_goes_live_on_a_certificate_of_the_authority(quiet: Lab, certified: Tenant) -> None:
    assert quiet.instance_of(certified)["status"] == "active"
    assert "Pebble" in shown(quiet, certified)[1]
    assert [proof["verdict"] for proof in quiet.proofs_of(certified)] == ["pass"]


def test_killed_at_every_effect_there_is_one_order_and_nothing_left_on_the_host(quiet: Lab, certified: Tenant) -> None:
    assert orders_of(quiet, certified) == ["issued"]
    left = quiet.on_host(
        certified, "systemctl list-units --all --plain --no-legend 'penguin-http01*'; ss -Hltn 'sport = :80'"
    )
    assert left == ""


def test_the_account_key_is_sealed_and_the_hosts_key_stays_there(quiet: Lab, certified: Tenant) -> None:
    (row,) = quiet.rows(
        "SELECT purpose, vault_key_path, ciphertext FROM platform_secrets WHERE purpose = 'acme_account_key'"
    )
    assert row["vault_key_path"] == "acme/ca.lab.example:14000/dir"
    assert b"PRIVATE" not in bytes(row["ciphertext"])
    key = quiet.on_host(certified, "stat -c %a /etc/ssl/penguin/mail.key; sed -n 2p /etc/ssl/penguin/mail.key").split()
    assert key[0] == "600"
    kept = quiet.rows("SELECT configuration::text FROM vps_instances WHERE tenant_id = %s", certified.id)
    assert key[1] not in str(kept)


def test_a_second_run_asks_the_authority_for_nothing(quiet: Lab, certified: Tenant) -> None:
    before = shown(quiet, certified)
    ran = quiet.onboard(certified, **ACME)
    assert ran.code == DONE, ran.said
    assert shown(quiet, certified) == before
    assert orders_of(quiet, certified) == ["issued"]


def waits(lab: Lab, tenant: Tenant, reason: str, words: str, **settings: str) -> str:
    ran = lab.onboard(tenant, **ACME, **settings)
    assert ran.code == WAITING, ran.said
    run = lab.run_of(tenant)
    assert run["wait_reason"] == reason
    assert words in run["wait_detail"]
    assert run["resume_at"] is not None
    return str(run["wait_detail"])


def test_an_authority_that_is_down_and_a_name_that_leads_elsewhere_are_waited_for(
    quiet: Lab, certified: Tenant
) -> None:
    tenant = quiet.add_tenant("patient")
    quiet.world.pebble.stop()
    try:
        waits(quiet, tenant, "provider", "https://ca.lab.example:14000/dir does not answer")
    finally:
        quiet.world.pebble.restart()
    assert orders_of(quiet, tenant) == []
    name, address = f"mail.{tenant.domain}", quiet.instance_of(tenant)["ip"]
    point(quiet, tenant, "203.0.113.25")
    told = waits(quiet, tenant, "dns", f"the A record of {name} is right: expected {address}, found 203.0.113.25")
    assert "retry" not in told  # it comes back by itself
    assert orders_of(quiet, tenant) == []  # the authority was not asked: nothing counts against us
    point(quiet, tenant, address)
    ran = quiet.onboard(tenant, **ACME)
    assert ran.code == DONE, ran.said
    assert orders_of(quiet, tenant) == ["issued"]


@pytest.fixture(scope="module")
def wire(quiet: Lab, certified: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Generator[Wire]:
    """A line to the authority that lies on command; it stands in the control room under a name of its own."""
    world, folder = quiet.world, tmp_path_factory.mktemp("wire")
    issued = world.authority.issue(["wire.lab.example"])
    (folder / "crt").write_text(issued.certificate)
    (folder / "key").write_text(issued.key)
    world.dns_update("example", replace=[("wire.lab", "A", [CONTROL])])
    with wire_between(
        (CERTIFICATES, 14000), world.authority.certificate_file, (folder / "crt", folder / "key"),
        name="wire.lab.example", listen=CONTROL, room=world.enter_control, known_as="ca.lab.example",
    ) as made:  # fmt: skip
        yield made


def test_limits_and_refusals_of_the_authority_are_waited_for_as_it_says(quiet: Lab, wire: Wire) -> None:
    tenant = quiet.add_tenant("limited")
    by_wire = {"PENGUINMAILS_MAIL_HOST__ACME_DIRECTORY": wire.directory}
    wire.refuse("/order-plz", "rateLimited", "too many orders", status=429, Retry_After="1800")
    waits(quiet, tenant, "provider", "rateLimited: too many orders", **by_wire)
    pause = quiet.one("SELECT resume_at - updated_at AS pause FROM provisioning_runs WHERE tenant_id = %s", tenant.id)
    assert timedelta(minutes=29) < pause["pause"] <= timedelta(minutes=31)
    assert wire.calls("/order-plz") == 1  # a limit is not tried again within the step

    quiet.world.dns_update(tenant.domain, replace=[("@", "CAA", ['0 issue "other.example"'])])
    quiet.world.zones.flush(tenant.domain)
    wire.rename(caaIdentities=["pebble.example"])
    waits(quiet, tenant, "dns", f'add {tenant.domain}. CAA 0 issue "pebble.example"', **by_wire)
    assert wire.calls("/order-plz") == 1  # nothing was asked, nothing counts
    quiet.world.dns_update(tenant.domain, delete=[("@", "CAA")])
    quiet.world.zones.flush(tenant.domain)

    wire.fail("/my-order/", 200, INVALID, times=1, Content_Type="application/json")
    waits(quiet, tenant, "dns", f"mail.{tenant.domain}: the authority met another host", **by_wire)
    assert orders_of(quiet, tenant) == ["failed"]
    ran = quiet.onboard(tenant, **ACME, **by_wire)
    assert ran.code == DONE, ran.said
    assert orders_of(quiet, tenant) == ["failed", "issued"]


def test_the_third_failed_validation_of_an_hour_is_the_last(quiet: Lab, wire: Wire) -> None:
    tenant = quiet.add_tenant("stubborn")
    by_wire = {"PENGUINMAILS_MAIL_HOST__ACME_DIRECTORY": wire.directory}
    wire.fail("/my-order/", 200, INVALID.replace(b"limited", b"stubborn"), times=9, Content_Type="application/json")
    for _ in range(3):
        waits(quiet, tenant, "dns", "the authority met another host", **by_wire)
    asked = wire.calls("/order-plz")
    waits(quiet, tenant, "dns", "no more than 3 failed validations of one name in an hour", **by_wire)
    assert wire.calls("/order-plz") == asked
    assert orders_of(quiet, tenant) == ["failed"] * 3


def point(lab: Lab, tenant: Tenant, address: str) -> None:
    """Let the tenant's host name lead to an address."""
    lab.world.dns_update(tenant.domain, replace=[("mail", "A", [address])])
    lab.world.zones.flush(tenant.domain)


@pytest.fixture(scope="module")
def login(quiet: Lab, certified: Tenant) -> tuple[str, str]:
    """Anna's address and password."""
    address = f"anna@{certified.domain}"
    key = f"{certified.id}:mailbox/{address}"
    ran = quiet.python("tests.support.world_product", "secret", key)
    return address, json.loads(ran.out)[key]


@pytest.fixture(scope="module")
def short_lived(quiet: Lab, certified: Tenant, login: tuple[str, str]) -> Generator[tuple[str, str]]:
    """What we know of the certificate was lost, and the next one lives two minutes; another authority afterwards."""
    quiet.world.pebble.restart(SHORT_LIFE_SECONDS)
    quiet.tables.execute(
        "UPDATE vps_instances SET certificate_due_at = NULL, configuration = configuration || %s::jsonb"
        " WHERE tenant_id = %s",
        [json.dumps({"certificate_pem": "lost"}), certified.id],
    )
    assert "renewed, ends" in renew(quiet)
    try:
        yield shown(quiet, certified)
    finally:
        quiet.world.pebble.restart()


def renew(lab: Lab) -> str:
    ran = lab.flows("certificates", "renew", **ACME)
    assert ran.code == DONE, ran.said
    return ran.out


def test_a_certificate_is_renewed_in_its_last_third_and_open_sessions_stay_open(
    quiet: Lab, certified: Tenant, short_lived: tuple[str, str], login: tuple[str, str]
) -> None:
    with line_to(quiet, certified, 587, login) as line, mailbox(quiet, certified, login) as box:
        text = until(quiet, "renewed")
        assert "renewed, ends" in text
        assert (
            refusal(line, login[0], f"dave@{RECEIVER}", written(login[0], f"dave@{RECEIVER}", "over the renewal")) == ""
        )
        assert box.noop()[0] == "OK"
    assert shown(quiet, certified)[0] != short_lived[0]
    (row,) = quiet.rows("SELECT * FROM vps_instances WHERE tenant_id = %s", certified.id)
    assert row["certificate_due_at"] < row["certificate_ends_at"]


def until(lab: Lab, word: str) -> str:
    """Ask again and again: before its last third nothing is done."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while word not in (text := renew(lab)):
        assert time.monotonic() < deadline, text
        time.sleep(2)
    return text


class mailbox:  # noqa: N801  used like a function
    """An open IMAP session."""

    def __init__(self, lab: Lab, tenant: Tenant, login: tuple[str, str]) -> None:
        trust = ssl.create_default_context(cafile=lab.world.info["trust_file"])
        trust.check_hostname = False
        with lab.world.enter_control():
            self.line = imaplib.IMAP4_SSL(lab.instance_of(tenant)["ip"], ssl_context=trust, timeout=60)
        self.line.login(*login)

    def __enter__(self) -> imaplib.IMAP4_SSL:
        return self.line

    def __exit__(self, *_: object) -> None:
        self.line.logout()


def test_a_renewal_that_cannot_be_is_told_to_staff_until_it_can(
    quiet: Lab, certified: Tenant, short_lived: tuple[str, str]
) -> None:
    quiet.world.pebble.stop()
    try:
        assert "waiting_for_provider" in until(quiet, "waiting_for")
        token = quiet.instance_of(certified)["instance_id"]
        alert = quiet.one("SELECT * FROM system_notifications WHERE dedupe_key = %s", f"certificate:{token}")
        assert (alert["severity"], alert["is_resolved"]) == ("critical", False)
        assert "does not answer" in alert["message"]
        assert "0 certificates" in renew(quiet)  # put off: nobody hammers an authority that is down
    finally:
        quiet.world.pebble.restart()
    assert quiet.flows("certificates", "renew", "nowhere.example", **ACME).code == REJECTED
    ran = quiet.flows("certificates", "renew", str(quiet.instance_of(certified)["hostname"]), **ACME)
    assert "renewed" in ran.out, ran.said
    assert quiet.one("SELECT is_resolved FROM system_notifications WHERE id = %s", alert["id"])["is_resolved"]
    assert quiet.instance_of(certified)["hostname"] in quiet.flows("certificates", "list").out


@pytest.mark.usefixtures("certified")
def test_the_platforms_own_keys_lie_open_nowhere(lab: Lab, quiet: Lab) -> None:
    """The account at the authority; with the stories of this world the key that signs proof bundles too."""
    kept = {**stored(lab), **stored(quiet)}
    own = {name: secret for name, secret in kept.items() if name.split(" ", 1)[1].startswith(":")}
    assert any(":acme/" in name for name in own)
    assert leaks(own, places(lab, quiet)) == []
