"""A server is switched off and on by its provider: what we made of it comes back from its own files."""

import time

import pytest

from sandbox.hosts import NoSuchHost
from tests.support.world import DONE, FOR_OPERATOR, PATIENCE_SECONDS, Lab, Tenant

SERVICES = "postfix@- dovecot unbound nftables fail2ban penguin-caps.socket penguin-dkim@rsa penguin-dkim@ed25519"


# Early in a boot there is no bus yet to wait on: --wait then fails at once, and only its word tells a boot that ended.
BOOTED = (
    "systemctl is-system-running --wait | grep -qxE 'running|degraded' && systemctl show --value -p UserspaceTimestamp"
)


def boot_of(lab: Lab, tenant: Tenant) -> str:
    """When the server's userland came up; empty until its boot has ended."""
    try:
        code, out, _ = lab.world.exec(lab.host_of(tenant), BOOTED)
    except NoSuchHost:
        return ""
    return out.decode().strip() if code == 0 else ""


def rebooted(lab: Lab, tenant: Tenant) -> None:
    """Let the provider reboot the server and wait until it is up again."""
    before = boot_of(lab, tenant)
    token = lab.instance_of(tenant)["instance_id"]
    (server,) = [server for server in lab.admin.servers() if server["label"] == token]
    lab.admin.ask("reboot_in_panel", serviceid=server["serviceid"])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (now := boot_of(lab, tenant)) in {"", before}:
        assert time.monotonic() < deadline, f"still booted {now}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def grown(lab: Lab, acme: Tenant) -> list[str]:
    """The tenant's addresses after it wanted a second one, which a person bought in the panel; then a reboot."""
    lab.rows("UPDATE tenants SET settings = %s WHERE id = %s RETURNING id", '{"infrastructure": {"ips": 2}}', acme.id)
    ran = lab.onboard(acme)
    assert ran.code == FOR_OPERATOR, ran.said
    assert "buy 1 IPv4" in lab.run_of(acme)["wait_detail"]
    token = lab.instance_of(acme)["instance_id"]
    (server,) = [server for server in lab.admin.servers() if server["label"] == token]
    (second,) = lab.admin.buy_ip(server["serviceid"])
    ran = lab.onboard(acme)
    assert ran.code == DONE, ran.said
    rebooted(lab, acme)
    return [server["main_ip"], second]


def test_every_address_is_back(lab: Lab, acme: Tenant, grown: list[str]) -> None:
    shown = lab.on_host(acme, "ip -4 -o addr show dev eth0")
    for address in grown:
        assert f"inet {address}/" in shown


@pytest.mark.usefixtures("grown")
def test_services_and_firewall_are_back(lab: Lab, acme: Tenant) -> None:
    assert set(lab.on_host(acme, f"systemctl is-active {SERVICES}").split()) == {"active"}
    rules = lab.on_host(acme, "nft list table inet penguin")
    assert "policy drop" in rules
    assert "203.0.113.10" in rules


@pytest.mark.usefixtures("grown")
def test_the_pinned_key_holds_and_the_proof_passes_again(lab: Lab, acme: Tenant) -> None:
    before = lab.instance_of(acme)["ssh_host_key"]
    yesterday = (
        "UPDATE delivery_proofs SET received_at = received_at - interval '2 days' WHERE tenant_id = %s RETURNING id"
    )
    proofs = len(lab.rows(yesterday, acme.id))
    ran = lab.onboard(acme)
    assert ran.code == DONE, ran.said
    assert lab.instance_of(acme)["ssh_host_key"] == before
    found = lab.proofs_of(acme)
    assert len(found) == proofs + 1
    assert found[-1]["verdict"] == "pass"
    assert lab.bought_for(acme) == ["server"]
    rdns = lab.rows("SELECT rdns_verdict FROM smtp_ip_addresses WHERE tenant_id = %s", acme.id)
    assert {row["rdns_verdict"] for row in rdns} == {"pass"}
