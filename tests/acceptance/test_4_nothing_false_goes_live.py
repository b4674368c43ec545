"""Negative controls: what is not true keeps a tenant from going live, and is said."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import Any

import pytest

from providers.keys import new_dkim_ed25519, new_dkim_rsa
from tests.support.world import (
    DONE,
    FOR_OPERATOR,
    PATIENCE_SECONDS,
    RECEIVER,
    WAITING,
    Lab,
    Ran,
    Tenant,
    at_once,
)
from tests.support.world_prefect import ended, start

IMPATIENT = {"PENGUINMAILS_DNS__PUBLISH_WAIT_SECONDS": "8"}
FORGED = f"mx.{RECEIVER}; spf=pass smtp.mailfrom={{0}}; dkim=pass header.d={{0}}; dmarc=pass header.from={{0}}"


@dataclass(frozen=True, slots=True)
class Held:
    """What the command and the tables said of a tenant that was kept back."""

    tenant: Tenant
    ran: Ran
    run: Mapping[str, Any]
    server: str
    domain: str
    mailboxes: set[str]
    proofs: list[Mapping[str, Any]]

    @property
    def is_kept_back(self) -> bool:
        return self.run["status"] == "waiting" and self.server == "provisioning" and self.mailboxes == {"pending"}


def held(lab: Lab, tenant: Tenant, **settings: str) -> Held:
    """Onboard, and see where it was held."""
    ran = lab.onboard(tenant, **IMPATIENT, **settings)
    boxes = lab.rows("SELECT status FROM email_accounts WHERE tenant_id = %s", tenant.id)
    domain = lab.one("SELECT verification_status FROM domains WHERE tenant_id = %s", tenant.id)
    return Held(
        tenant, ran, lab.run_of(tenant), lab.instance_of(tenant)["status"], domain["verification_status"],
        {box["status"] for box in boxes}, list(lab.proofs_of(tenant)),
    )  # fmt: skip


def forge(lab: Lab, tenant: Tenant) -> None:
    """Publish keys that are not the signers', and let the host write the receiver's verdict into its own mail."""
    keys = {"r": new_dkim_rsa(), "e": new_dkim_ed25519()}
    rows = lab.rows("SELECT selector FROM dkim_keys WHERE tenant_id = %s", tenant.id)
    sets = [(row["selector"], keys[row["selector"][-1]]) for row in rows]
    lab.world.dns_update(
        tenant.domain,
        replace=[
            (f"{selector}._domainkey", "TXT", [f"v=DKIM1; k={key.algorithm}; p={key.public_b64}"])
            for selector, key in sets
        ],
    )
    lab.world.zones.flush(tenant.domain)
    header = FORGED.format(tenant.domain)
    lab.on_host(
        tenant,
        f"echo '/^Subject:/ PREPEND Authentication-Results: {header}' > /etc/postfix/forged"
        " && postconf -e smtp_header_checks=pcre:/etc/postfix/forged && postfix reload",
    )


@pytest.fixture(scope="module")
def controls(lab: Lab, quiet: Lab) -> dict[str, Held]:
    """Four tenants, each with one thing untrue, taken as far as they come."""
    found: dict[str, Held] = {}
    withheld = lab.add_tenant("withheld", by_hand=True)
    without_spf = quiet.add_tenant("without-spf", by_hand=True)
    default_ptr, forged = quiet.add_tenant("default-ptr"), quiet.add_tenant("forged")

    def keep(name: str, where: Lab, tenant: Tenant) -> None:
        found[name] = held(where, tenant)

    quiet.admin.fault("ptr_never", action="set_rdns")  # the two by hand do not come as far before they publish
    at_once(
        lambda: keep("unpublished", lab, withheld),
        lambda: keep("unpublished too", quiet, without_spf),
        lambda: keep("default ptr", quiet, default_ptr),
    )
    lab.publish_by_hand(withheld, without="dkim")
    quiet.publish_by_hand(without_spf, spf=["v=spf1 ip4:192.0.2.1 -all"])
    at_once(
        lambda: keep("dkim withheld", lab, withheld),
        lambda: keep("spf without us", quiet, without_spf),
        lambda: quiet.dies(forged, "before", "providers.mail:Submission.send"),
    )
    forge(quiet, forged)
    at_once(lambda: keep("forged", quiet, forged), lambda: keep("ptr set", quiet, default_ptr))
    return found


def test_a_domain_that_publishes_nothing_is_told_what_to_publish_first(controls: dict[str, Held]) -> None:
    case = controls["unpublished"]
    assert case.is_kept_back, case.ran.said
    assert (case.ran.code, case.run["wait_reason"]) == (WAITING, "dns")
    assert f"_pm-verify.{case.tenant.domain}" in case.run["wait_detail"]
    assert f"python -m flows dns records {case.tenant.domain}" in case.run["wait_detail"]


def test_without_a_dkim_record_a_domain_waits_and_is_told_which(controls: dict[str, Held]) -> None:
    case = controls["dkim withheld"]
    assert case.is_kept_back, case.ran.said
    assert (case.ran.code, case.run["wait_reason"]) == (WAITING, "dns")
    assert f"_domainkey.{case.tenant.domain}" in case.run["wait_detail"]
    assert case.domain == "partially_verified"
    assert case.proofs == []


def test_with_an_spf_record_that_omits_us_a_domain_waits_and_is_told_our_address(controls: dict[str, Held]) -> None:
    case = controls["spf without us"]
    assert case.is_kept_back, case.ran.said
    assert (case.ran.code, case.run["wait_reason"]) == (WAITING, "dns")
    assert "spf" in case.run["wait_detail"].lower()
    assert "ip4:198.51.100." in case.run["wait_detail"]
    assert case.proofs == []


def test_with_the_providers_own_ptr_nothing_is_sent_until_it_is_ours(controls: dict[str, Held]) -> None:
    case = controls["default ptr"]
    assert case.is_kept_back, case.ran.said
    assert (case.ran.code, case.run["wait_reason"]) == (WAITING, "provider")
    assert f"expected mail.{case.tenant.domain}, found hwsrv-" in case.run["wait_detail"]
    assert case.proofs == []
    assert controls["ptr set"].ran.code == DONE, controls["ptr set"].ran.said


def test_a_forged_verdict_in_the_message_convinces_nobody(controls: dict[str, Held]) -> None:
    case = controls["forged"]
    assert case.is_kept_back, case.ran.said
    assert (case.ran.code, case.run["wait_reason"]) == (FOR_OPERATOR, "operator")
    assert "does not prove" in case.run["wait_detail"]
    (proof,) = case.proofs
    assert proof["verdict"] == "fail"
    failed = {name for name, check in proof["checks"].items() if check["truth"] == "fail"}
    assert {"dkim-rsa", "signature-rsa", "signature-ed25519"} <= failed
    results = message_from_bytes(bytes(proof["raw_message"]), policy=policy.default).get_all(
        "Authentication-Results", []
    )
    assert "dkim=fail" in str(results[0])
    assert FORGED.format(case.tenant.domain) in [" ".join(str(result).split()) for result in results[1:]]


def test_a_tenant_that_publishes_later_is_taken_up_by_the_sweep(controls: dict[str, Held], lab: Lab) -> None:
    tenant = controls["dkim withheld"].tenant
    lab.publish_by_hand(tenant)
    lab.rows("UPDATE provisioning_runs SET resume_at = now() WHERE tenant_id = %s RETURNING id", tenant.id)
    assert ended(lab, start(lab, "resume_waiting/on-event"))["type"] == "COMPLETED"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while lab.run_of(tenant)["status"] != "succeeded" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert lab.run_of(tenant)["status"] == "succeeded"
    assert lab.instance_of(tenant)["status"] == "active"
    assert lab.bought_for(tenant) == ["server"]
