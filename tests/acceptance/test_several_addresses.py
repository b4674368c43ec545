"""Two domains, four mailboxes, two addresses on one server: each domain by its own, proven, and so after a reboot."""

import json
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from tests.acceptance.test_7_rebooted import rebooted
from tests.support.world import DONE, FOR_OPERATOR, PATIENCE_SECONDS, RECEIVER, Lab, Tenant
from tests.support.world_mail import delivered, line_to, refusal, written
from tests.support.world_prefect import ended, start

FIRST, SECOND = "fir.example", "larch.example"
CAROL = f"carol@{RECEIVER}"


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Tenant:
    """Ordered with two addresses, parked for the second, which a person buys in the panel; nobody says another word."""
    tenant = lab.add_tenant("fir", ips=2, by_hand=True)
    lab.world.add_zone(SECOND)
    lab.tables.execute("INSERT INTO domains (tenant_id, domain_name) VALUES (%s, %s)", [tenant.id, SECOND])
    for local in ("anna", "bert"):
        lab.tables.execute(
            "INSERT INTO email_accounts (tenant_id, email_address, status) VALUES (%s, %s, 'pending')",
            [tenant.id, f"{local}@{SECOND}"],
        )
    lab.hand_over_dns(tenant)
    ran = lab.onboard(tenant)
    assert ran.code == FOR_OPERATOR, ran.said
    token = lab.instance_of(tenant)["instance_id"]
    (server,) = [server for server in lab.admin.servers() if server["label"] == token]
    run = lab.run_of(tenant)
    assert f"buy 1 IPv4 for service {server['serviceid']} (label {token}) in the panel" in run["wait_detail"]
    assert run["resume_at"] is not None
    lab.admin.buy_ip(server["serviceid"])
    lab.rows("UPDATE provisioning_runs SET resume_at = now() WHERE id = %s RETURNING id", run["id"])
    assert ended(lab, start(lab, "resume_waiting/on-event"))["type"] == "COMPLETED"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (run := lab.run_of(tenant))["status"] != "succeeded":
        assert time.monotonic() < deadline, f"{run['status']}: {run['wait_detail'] or run['last_error_message']}"
        time.sleep(0.5)
    return tenant


def addresses(lab: Lab, tenant: Tenant) -> dict[str, dict[str, Any]]:
    """By domain: its address and that address's name."""
    rows = lab.rows(
        "SELECT domain_name, host(ip_address) AS ip, rdns_hostname AS name, rdns_verdict, egress_verdict"
        " FROM domain_ip_assignments a JOIN domains d ON d.id = a.domain_id"
        " JOIN smtp_ip_addresses i ON i.id = a.smtp_ip_address_id WHERE a.tenant_id = %s",
        tenant.id,
    )
    return {row["domain_name"]: row for row in rows}


def proofs(lab: Lab, tenant: Tenant) -> list[tuple[str, str, EmailMessage]]:
    """Domain, receiver and message of every passed proof, oldest first."""
    rows = lab.rows(
        "SELECT domain_name, receiver, raw_message FROM delivery_proofs p JOIN domains d ON d.id = p.domain_id"
        " WHERE p.tenant_id = %s AND verdict = 'pass' ORDER BY p.id",
        tenant.id,
    )
    parsed = [message_from_bytes(bytes(row["raw_message"]), policy=policy.default) for row in rows]
    return [(row["domain_name"], row["receiver"], message) for row, message in zip(rows, parsed, strict=True)]


def hop(message: EmailMessage, receiver: str) -> str:
    return next(str(line) for line in message.get_all("Received", []) if f"by mx.{receiver}" in str(line))


def test_each_domain_has_an_address_of_its_own_that_the_world_finds_and_hears(lab: Lab, pair: Tenant) -> None:
    dealt = addresses(lab, pair)
    assert set(dealt) == {FIRST, SECOND}
    assert len({row["ip"] for row in dealt.values()}) == 2
    assert dealt[FIRST]["ip"] == lab.instance_of(pair)["ip"]
    assert {domain: row["name"] for domain, row in dealt.items()} == {name: f"mail.{name}" for name in (FIRST, SECOND)}
    assert {(row["rdns_verdict"], row["egress_verdict"]) for row in dealt.values()} == {("pass", "pass")}


def test_the_order_of_the_second_address_tells_its_whole_story(lab: Lab, pair: Tenant) -> None:
    (order,) = lab.rows("SELECT * FROM provider_orders WHERE tenant_id = %s AND kind = 'address'", pair.id)
    assert (order["state"], order["external_ref"]) == ("fulfilled", addresses(lab, pair)[SECOND]["ip"])
    assert lab.bought_for(pair) == ["server"], "a person bought the address"
    verdicts = lab.rows("SELECT verdict FROM address_screenings WHERE tenant_id = %s", pair.id)
    assert [row["verdict"] for row in verdicts] == ["pass", "pass"]


def test_every_domain_is_proven_through_its_own_address(lab: Lab, pair: Tenant) -> None:
    proven = [(domain, receiver) for domain, receiver, _ in proofs(lab, pair)]
    receivers = {receiver for _, receiver in proven}
    assert set(proven) == {(domain, receiver) for domain in (FIRST, SECOND) for receiver in receivers}
    for domain, receiver, message in proofs(lab, pair):
        row = addresses(lab, pair)[domain]
        assert f"from {row['name']} ({row['name']} [{row['ip']}])" in hop(message, receiver.partition("@")[2])


def test_all_four_mailboxes_send_as_themselves_and_as_nobody_else(lab: Lab, pair: Tenant) -> None:
    boxes = [f"{local}@{domain}" for domain in (FIRST, SECOND) for local in ("anna", "bert")]
    passwords = mailbox_passwords(lab, pair, boxes)
    for box in boxes:
        other = next(domain for domain in (FIRST, SECOND) if not box.endswith(f"@{domain}"))
        with line_to(lab, pair, 587, (box, passwords[box])) as line:
            assert refusal(line, box, f"anna@{FIRST}", written(box, f"anna@{FIRST}", f"from {box}")) == ""
            forged = written(f"anna@{other}", CAROL)
            assert "From must be an address at" in refusal(line, box, CAROL, forged)
        delivered(lab, pair, f"from {box}")


def mailbox_passwords(lab: Lab, tenant: Tenant, boxes: list[str]) -> dict[str, str]:
    """As the back end shows them to the tenant."""
    keys = {f"{tenant.id}:mailbox/{box}": box for box in boxes}
    ran = lab.python("tests.support.world_product", "secret", *keys)
    return {keys[key]: secret for key, secret in json.loads(ran.out).items()}


def test_a_bounce_finds_its_message_by_the_return_path_that_the_product_made(lab: Lab, pair: Tenant) -> None:
    sender = f"bert@{SECOND}"
    made = lab.flows("return-path", pair.uuid, SECOND, "4711")
    path = made.out.strip()
    assert (made.code, path.endswith(f"@bounce.{SECOND}")) == (0, True), made.said
    password = mailbox_passwords(lab, pair, [sender])[sender]
    receiver = lab.world.receiver(RECEIVER)
    receiver.rules([{"match": {"sender": path}, "action": "550 5.1.1 nobody of that name"}])
    try:
        with line_to(lab, pair, 587, (sender, password)) as line:
            assert refusal(line, path, CAROL, written(sender, CAROL)) == ""
            assert "553" in refusal(line, lab.flows("return-path", pair.uuid, FIRST, "1").out.strip(), CAROL)
            assert "not made by us" in refusal(line, f"b+4711@bounce.{SECOND}", CAROL, written(sender, CAROL))
        file = delivered(lab, pair, "Undelivered Mail Returned to Sender")
    finally:
        receiver.clear()
    message = lab.on_host(pair, f"cat {file}")
    assert "/feedback/" in file
    assert f"To: {path}" in message
    assert "5.1.1" in message


def test_addresses_names_and_proofs_come_back_after_a_reboot(lab: Lab, pair: Tenant) -> None:
    before = addresses(lab, pair)
    rebooted(lab, pair)
    shown = lab.on_host(pair, "ip -4 -o addr show dev eth0")
    assert all(f"inet {row['ip']}/" in shown for row in before.values())
    count = len(proofs(lab, pair))
    lab.rows(
        "UPDATE delivery_proofs SET received_at = received_at - interval '2 days' WHERE tenant_id = %s RETURNING id",
        pair.id,
    )
    ran = lab.onboard(pair)
    assert ran.code == DONE, ran.said
    again = proofs(lab, pair)[count:]
    assert len(again) == count
    for domain, receiver, message in again:
        row = before[domain]
        assert f"from {row['name']} ({row['name']} [{row['ip']}])" in hop(message, receiver.partition("@")[2])
        assert "spf=pass" in " ".join(map(str, message.get_all("Authentication-Results", [])))
    assert addresses(lab, pair) == before
