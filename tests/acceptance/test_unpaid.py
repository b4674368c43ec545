"""A month without money, played on a real host: grace, refusal at the submission port, payment, and mail again."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.world import RECEIVER, Lab, Tenant
from tests.support.world_mail import delivered, line_to, refusal, written

STRANGER = f"erin@{RECEIVER}"


@pytest.fixture(scope="module")
def bert(lab: Lab, acme: Tenant) -> tuple[str, str]:
    """Address and password of a mailbox of the tenant that has sent nothing yet today, or little."""
    address = f"anna@{acme.domain}"
    ran = lab.python("tests.support.world_product", "secret", f"{acme.id}:mailbox/{address}")
    assert ran.code == 0, ran.said
    return address, json.loads(ran.out)[f"{acme.id}:mailbox/{address}"]


def subscription(lab: Lab, tenant: Tenant) -> dict[str, Any]:
    return lab.one("SELECT * FROM subscriptions WHERE tenant_id = %s", tenant.id)


def follow(lab: Lab, at: datetime) -> str:
    ran = lab.flows("subscriptions", "follow", "--as-of", at.isoformat())
    assert ran.code == 0, ran.said
    return ran.out


def submitted(lab: Lab, tenant: Tenant, login: tuple[str, str]) -> str:
    """The refusal of one message at the submission port; empty when it was taken, or only today's cap is used up."""
    with line_to(lab, tenant, 587, login) as line:
        return refusal(line, login[0], STRANGER)


def test_a_month_without_money(lab: Lab, acme: Tenant, bert: tuple[str, str]) -> None:
    # The day's figure of this mailbox may be spent by other stories: its ledger begins anew for this one.
    lab.on_host(acme, "rm -f /var/lib/penguin-caps/granted-*; systemctl restart penguin-caps.service")
    assert submitted(lab, acme, bert) == ""
    row = subscription(lab, acme)
    end: datetime = row["expires_at"]

    assert "past due" in follow(lab, end + timedelta(hours=1))
    assert subscription(lab, acme)["status"] == "past_due"
    assert submitted(lab, acme, bert) == "", "within the grace mail goes out"

    said = follow(lab, end + timedelta(days=8))
    assert "submission refused" in said
    unpaid = subscription(lab, acme)
    assert (unpaid["status"], unpaid["release_planned_for"] > end + timedelta(days=8)) == ("suspended", True)
    assert submitted(lab, acme, bert).startswith("450 4.7.1")
    with line_to(lab, acme, 587, postmaster(lab, acme)) as line:
        assert refusal(line, f"postmaster@{acme.domain}", STRANGER).startswith("450 4.7.1")
    with line_to(lab, acme) as line:  # what comes in still comes in
        assert refusal(line, STRANGER, bert[0], written(STRANGER, bert[0], "While unpaid")) == ""
    assert delivered(lab, acme, "While unpaid")

    assert follow(lab, end + timedelta(days=9)) == "nothing changed\n"
    ran = lab.python("tests.support.world_product", "converge", acme.uuid)
    assert (ran.code, ran.out) == (0, "[]"), "another converge must not open it again"
    assert submitted(lab, acme, bert).startswith("450 4.7.1")

    paid = lab.flows(
        "payments", "record", acme.uuid, f"pi_{acme.id}", "--amount", "49", "--at", datetime.now(UTC).isoformat()
    )
    assert paid.code == 0, paid.said
    assert "submission restored" in paid.out
    back = subscription(lab, acme)
    assert (back["status"], back["release_planned_for"], back["past_due_since"]) == ("active", None, None)
    assert submitted(lab, acme, bert) == ""
    told = lab.rows(
        "SELECT event FROM infrastructure_events WHERE tenant_id = %s AND subject_type IN ('subscription', 'vps')"
        " AND event <> 'server_ordered' ORDER BY id",
        acme.id,
    )
    assert [row["event"] for row in told][-6:] == [
        "past_due", "suspended", "release_planned", "submission_refused", "payment_succeeded", "submission_restored",
    ]  # fmt: skip


def postmaster(lab: Lab, tenant: Tenant) -> tuple[str, str]:
    address = f"postmaster@{tenant.domain}"
    ran = lab.python("tests.support.world_product", "secret", f"{tenant.id}:mailbox/{address}")
    return address, json.loads(ran.out)[f"{tenant.id}:mailbox/{address}"]
