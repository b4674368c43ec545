"""A tenant row goes in; a server, DNS, mailboxes and a message that a receiver authenticated come out."""

from email import message_from_bytes, policy

from tests.support.world import RECEIVER, Lab, Tenant

STEPS = 15


def test_every_status_in_the_tables_says_what_is_true(lab: Lab, acme: Tenant) -> None:
    run = lab.run_of(acme)
    assert (run["status"], run["wait_reason"], run["last_error_message"]) == ("succeeded", None, None)
    steps = lab.rows("SELECT step_key, status FROM provisioning_steps WHERE run_id = %s", run["id"])
    assert len(steps) == STEPS
    assert {step["status"] for step in steps} == {"succeeded"}
    attempts = lab.rows(
        "SELECT outcome FROM provisioning_attempts a JOIN provisioning_steps s ON s.id = a.step_id WHERE run_id = %s",
        run["id"],
    )
    assert {attempt["outcome"] for attempt in attempts} == {"succeeded"}
    assert lab.instance_of(acme)["status"] == "active"
    assert lab.one("SELECT status FROM smtp_ip_addresses WHERE tenant_id = %s", acme.id)["status"] == "assigned"
    domain = lab.one("SELECT * FROM domains WHERE tenant_id = %s", acme.id)
    assert domain["verification_status"] == "verified"
    records = domain["dns_records"]["records"]
    assert {record["verification_status"] for record in records} == {"verified"}
    boxes = lab.rows("SELECT status, password_hash FROM email_accounts WHERE tenant_id = %s", acme.id)
    assert [box["status"] for box in boxes] == ["active", "active"]
    assert all(box["password_hash"].startswith("{") for box in boxes)
    keys = lab.rows("SELECT algorithm, status FROM dkim_keys WHERE tenant_id = %s ORDER BY algorithm", acme.id)
    assert [(key["algorithm"], key["status"]) for key in keys] == [
        ("ed25519-sha256", "active"), ("rsa-sha256", "active"),
    ]  # fmt: skip


def test_a_first_day_ramp_is_planned_for_each_mailbox_and_address(lab: Lab, acme: Tenant) -> None:
    planned = lab.rows("SELECT * FROM warmup_schedules WHERE tenant_id = %s", acme.id)
    assert len(planned) == 3


def test_the_stored_message_proves_itself(lab: Lab, acme: Tenant) -> None:
    (proof,) = lab.proofs_of(acme)
    assert proof["verdict"] == "pass"
    passed = {name for name, check in proof["checks"].items() if check["truth"] == "pass"}
    assert {"spf", "dkim-rsa", "dmarc", "signature-rsa", "signature-ed25519", "tls", "helo", "fcrdns"} <= passed
    message = message_from_bytes(bytes(proof["raw_message"]), policy=policy.default)
    assert message["Message-ID"] == proof["message_id"]
    topmost = str(message.get_all("Authentication-Results", [])[0])
    assert topmost.startswith(f"mx.{RECEIVER}")
    for word in ("spf=pass", "dkim=pass", "dmarc=pass"):
        assert word in topmost
    assert len(message.get_all("DKIM-Signature", [])) == 2


def test_the_receiver_saw_helo_ptr_and_a_agree_over_tls(lab: Lab, acme: Tenant) -> None:
    (proof,) = lab.proofs_of(acme)
    address = lab.instance_of(acme)["ip"]
    message = message_from_bytes(bytes(proof["raw_message"]), policy=policy.default)
    hop = next(str(value) for value in message.get_all("Received", []) if f"by mx.{RECEIVER}" in str(value))
    assert f"from mail.{acme.domain} (mail.{acme.domain} [{address}])" in hop
    assert "TLSv1.3" in hop


def test_the_provider_charged_once_and_was_asked_nothing_forbidden(lab: Lab, acme: Tenant) -> None:
    assert lab.bought_for(acme) == ["server"]
    assert lab.admin.violations() == []
    orders = lab.rows("SELECT kind, state FROM provider_orders WHERE tenant_id = %s", acme.id)
    assert [(order["kind"], order["state"]) for order in orders] == [("server", "fulfilled")]
