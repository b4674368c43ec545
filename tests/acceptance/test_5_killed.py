"""SIGKILL just before and just after each outside effect: the next start converges, and nothing is done twice."""

from collections import Counter

import pytest

from tests.support.world import DONE, FOR_OPERATOR, Lab, Tenant, at_once

CREATE = "providers.hostwinds.client:Hostwinds.create_server"
# Each outside effect: the call that has it, and which call of its process that is.
EFFECTS = (
    (CREATE, 1),
    ("flows.onboarding.hosts:install_key", 1),
    ("flows.hosts:apply", 1),  # the hardening, armed and not yet confirmed
    ("flows.onboarding.hosts:converge", 2),  # the mail stack; the first makes sure of the hardening
    ("providers.dns_host:Rfc2136.publish", 1),
    ("providers.hostwinds.client:Hostwinds.set_ptr", 1),
    ("flows.certificates.issuing:issue_by_private_authority", 1),
    ("flows.onboarding.mailboxes:converge", 1),
    ("providers.mail:Submission.send", 1),
)
# Between the claim of an order and its call nobody can tell whether it went out: that moment has a test of its own.
BEFORE_THE_CLAIM = ("flows.onboarding.servers:order_once", 1)


def killed_everywhere(lab: Lab, tenant: Tenant, when: str) -> None:
    """Onboard in processes that die at each effect in turn, then in one that lives."""
    first = EFFECTS[0] if when == "after" else BEFORE_THE_CLAIM
    for boundary, nth in (first, *EFFECTS[1:]):
        lab.dies(tenant, when, boundary, nth)
    ran = lab.onboard(tenant)
    assert ran.code == DONE, ran.said


def answer_lost(lab: Lab, tenant: Tenant) -> None:
    """An order that was carried out and never answered."""
    lab.admin.fault("lost_reply", action="add_instance")
    ran = lab.onboard(tenant)
    assert ran.code == DONE, ran.said


def never_arrived(lab: Lab, tenant: Tenant, *, killed: bool) -> None:
    """An order of which nobody can tell that it never went out, until a person has looked."""
    if killed:
        lab.dies(tenant, "before", CREATE)
    else:
        lab.admin.fault("drop_before", action="add_instance")
    ran = lab.onboard(tenant, PENGUINMAILS_HOSTWINDS__LISTED_WINDOW_MINUTES="0.1")
    token = lab.instance_of(tenant)["instance_id"]
    assert ran.code == FOR_OPERATOR, ran.said
    assert f"orders decide {token} adopt --server ID | not_created | abandon" in lab.run_of(tenant)["wait_detail"]
    assert lab.bought_for(tenant) == []
    decided = lab.flows("orders", "decide", token, "not_created", "--confirm", token)
    assert decided.code == 0, decided.said
    ran = lab.onboard(tenant)
    assert ran.code == DONE, ran.said
    assert lab.instance_of(tenant)["instance_id"] == token


@pytest.fixture(scope="module")
def survivors(quiet: Lab) -> dict[str, Tenant]:
    """Tenants whose processes were killed before each effect, after each, and whose order met the worst moments."""
    made = {name: quiet.add_tenant(f"order-{name}") for name in ("answer-lost", "not-sent", "killed")}
    # A fault is for the next order that comes, so these orders come one by one.
    answer_lost(quiet, made["answer-lost"])
    made |= {when: quiet.add_tenant(f"killed-{when}") for when in ("before", "after")}
    at_once(
        *(lambda when=when: killed_everywhere(quiet, made[when], when) for when in ("before", "after")),
        lambda: never_arrived(quiet, made["killed"], killed=True),
    )
    never_arrived(quiet, made["not-sent"], killed=False)
    return made


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_effect_a_tenant_still_goes_live_on_one_server(
    quiet: Lab, survivors: dict[str, Tenant], when: str
) -> None:
    tenant = survivors[when]
    assert quiet.run_of(tenant)["status"] == "succeeded"
    assert quiet.instance_of(tenant)["status"] == "active"
    assert quiet.bought_for(tenant) == ["server"]
    token = quiet.instance_of(tenant)["instance_id"]
    assert [server["label"] for server in quiet.admin.servers(gone=True)].count(token) == 1
    assert len(quiet.admin.calls(action="add_instance", label=token)) == 1
    assert quiet.admin.violations() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_row_is_written_twice(quiet: Lab, survivors: dict[str, Tenant], when: str) -> None:
    tenant = survivors[when].id
    counts = quiet.one(
        """
        SELECT (SELECT count(*) FROM provisioning_runs WHERE tenant_id = %(t)s) AS runs,
               (SELECT count(*) FROM provisioning_steps WHERE tenant_id = %(t)s) AS steps,
               (SELECT count(*) FROM provider_orders WHERE tenant_id = %(t)s) AS orders,
               (SELECT count(*) FROM vps_instances WHERE tenant_id = %(t)s) AS servers,
               (SELECT count(*) FROM smtp_ip_addresses WHERE tenant_id = %(t)s) AS addresses,
               (SELECT count(*) FROM dkim_keys WHERE tenant_id = %(t)s) AS keys,
               (SELECT count(*) FROM warmup_schedules WHERE tenant_id = %(t)s) AS ramps,
               (SELECT count(*) FROM secrets WHERE tenant_id = %(t)s) AS secrets,
               (SELECT count(*) FROM provisioning_attempts WHERE tenant_id = %(t)s AND outcome = 'crashed') AS crashed
        """,
        t=tenant,
    )
    # Secrets: SSH key, two DKIM keys, two mailboxes, postmaster's password and hash, TSIG key, return paths' key.
    assert counts == {
        "runs": 1, "steps": 15, "orders": 1, "servers": 1, "addresses": 1, "keys": 2, "ramps": 3, "secrets": 9,
        "crashed": len(EFFECTS),
    }  # fmt: skip
    events = quiet.rows("SELECT event, subject_id FROM infrastructure_events WHERE tenant_id = %s", tenant)
    once = Counter(row["event"] for row in events if row["event"] in {"server_ordered", "tenant_active"})
    assert once == {"server_ordered": 1, "tenant_active": 1}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_canary_that_is_unanswered_is_waited_for_and_not_sent_anew(
    quiet: Lab, survivors: dict[str, Tenant], when: str
) -> None:
    (proof,) = quiet.proofs_of(survivors[when])
    assert proof["verdict"] == "pass"
    assert set(quiet.received_from(survivors[when])) == {proof["message_id"]}


@pytest.mark.parametrize("order", ["answer-lost", "not-sent", "killed"])
def test_an_order_in_doubt_buys_one_server_in_the_end(quiet: Lab, survivors: dict[str, Tenant], order: str) -> None:
    tenant = survivors[order]
    assert quiet.bought_for(tenant) == ["server"]
    orders = quiet.rows("SELECT state, arming FROM provider_orders WHERE tenant_id = %s", tenant.id)
    assert [(row["state"], row["arming"]) for row in orders] == [("fulfilled", 1 if order == "answer-lost" else 2)]
    assert quiet.instance_of(tenant)["status"] == "active"
    assert quiet.admin.violations() == []
