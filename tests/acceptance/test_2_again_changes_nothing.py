"""Onboarding a finished tenant again is a look: nothing is published, restarted, written, sent or bought."""

import json
from typing import Any

import pytest

from tests.support.world import DONE, Lab, Tenant

VERBOSE = "/etc/ssh/sshd_config.d/00-verbose.conf"
SERVICES = "ssh postfix@- dovecot unbound nftables fail2ban penguin-caps.socket penguin-dkim@rsa penguin-dkim@ed25519"


def picture(lab: Lab, tenant: Tenant) -> dict[str, Any]:
    """Everything that a second onboarding must leave as it was."""
    reverse = ".".join(reversed(lab.instance_of(tenant)["ip"].split(".")[:3])) + ".in-addr.arpa"
    return {
        "serials": [lab.zone_serial(zone) for zone in (tenant.domain, reverse)],
        "starts": lab.on_host(
            tenant, f"systemctl show -p Id -p ActiveEnterTimestampMonotonic -p ExecMainStartTimestamp {SERVICES}"
        ),
        "files": lab.on_host(
            tenant, "find /etc /usr/local /root /var/lib/penguin* -type f -printf '%p %T@ %C@\\n' | sort"
        ),
        "received": lab.received_from(tenant),
        "sent": lab.on_host(tenant, "journalctl -t postfix/qmgr --no-pager | grep -c 'from=<' || :"),
        "ledger": lab.admin.charges(),
        "proofs": [proof["id"] for proof in lab.proofs_of(tenant)],
        "servers": len(lab.admin.servers(gone=True)),
    }


def commands_and_connections(lab: Lab, tenant: Tenant, since: str) -> tuple[int, int]:
    """What the host's own sshd counted since a cursor of its journal."""
    log = lab.on_host(tenant, f"journalctl -u ssh --no-pager -o cat --after-cursor='{since}'")
    return log.count("Starting session: command"), log.count("Accepted publickey")


def cursor(lab: Lab, tenant: Tenant) -> str:
    return lab.on_host(tenant, "journalctl -u ssh -n 1 -o json").strip().partition('"__CURSOR":"')[2].partition('"')[0]


@pytest.fixture
def talkative(lab: Lab, acme: Tenant) -> Any:
    """A sshd that tells of every command, for as long as a test counts them."""
    lab.on_host(acme, f"echo LogLevel VERBOSE > {VERBOSE} && systemctl reload ssh")
    yield
    lab.on_host(acme, f"rm {VERBOSE} && systemctl reload ssh")


def test_onboarding_again_leaves_everything_as_it_was(lab: Lab, acme: Tenant) -> None:
    before = picture(lab, acme)
    ran = lab.onboard(acme)
    assert ran.code == DONE, ran.said
    assert picture(lab, acme) == before
    assert lab.run_of(acme)["status"] == "succeeded"


@pytest.mark.usefixtures("talkative")
def test_a_converge_with_nothing_to_change_is_one_connection_and_one_command(lab: Lab, acme: Tenant) -> None:
    since = cursor(lab, acme)
    ran = lab.python("tests.support.world_product", "converge", acme.uuid)
    assert ran.code == 0, ran.said
    assert json.loads(ran.out) == []
    assert commands_and_connections(lab, acme, since) == (1, 1)
