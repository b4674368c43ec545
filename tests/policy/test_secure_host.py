import re
from ipaddress import IPv4Network

import pytest

from flows.policy.convergence import Component, Desired, Facts, needs_confirmation, plan
from flows.policy.secure_host import HostSecurity, bootstrap_script, close_password_script, desired
from tests.support.hosts_as_wished import facts_as_wished

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample worker"
WORKERS = (IPv4Network("203.0.113.0/28"), IPv4Network("192.0.2.7/32"))
SECURITY = HostSecurity(WORKERS, (KEY,))


def component(name: str, wish: Desired | None = None) -> Component:
    return next(part for part in (wish or desired(SECURITY)).components if part.name == name)


def content(path: str, wish: Desired | None = None) -> str:
    return next(file.content.decode() for file in (wish or desired(SECURITY)).files if file.path == path)


def test_the_second_plan_is_empty() -> None:
    assert plan(desired(SECURITY), facts_as_wished(desired(SECURITY))) == ()


def test_everything_that_could_lock_us_out_is_armed_and_nothing_else() -> None:
    armed = {part.name for part in desired(SECURITY).components if part.armed}
    assert armed == {"firewall", "sshd"}
    assert needs_confirmation(plan(desired(SECURITY), Facts(state="running")))


def test_the_way_back_is_laid_before_anything_is_armed() -> None:
    names = [part.name for part in desired(SECURITY).components]
    assert names.index("way-back") < names.index("firewall")
    assert names.index("way-back") < names.index("sshd")


def test_the_password_is_closed_only_when_the_key_is_in() -> None:
    names = [part.name for part in desired(SECURITY).components]
    assert names.index("keys") < names.index("root-password")


@pytest.mark.parametrize(
    ("networks", "keys"),
    [((), (KEY,)), (WORKERS, ())],
)
def test_a_wish_after_which_nobody_could_come_in_is_refused(
    networks: tuple[IPv4Network, ...], keys: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="come in"):
        HostSecurity(networks, keys)


def test_the_port_of_sshd_is_never_open_to_everybody() -> None:
    with pytest.raises(ValueError, match="never open"):
        HostSecurity(WORKERS, (KEY,), ports=(22, 25))


def test_the_firewall_drops_by_default_and_lets_only_workers_reach_sshd() -> None:
    rules = content("/etc/nftables.conf")
    assert "type filter hook input priority filter; policy drop;" in rules
    assert "elements = { 192.0.2.7/32, 203.0.113.0/28 }" in rules
    accepts = [line.strip() for line in rules.splitlines() if line.strip().endswith("accept") and "dport" in line]
    assert accepts == [
        "tcp dport 22 ip saddr @workers accept",
        "tcp dport { 25, 80, 465, 587, 993 } accept",
    ]


def test_the_firewall_leaves_the_tables_of_fail2ban_alone() -> None:
    assert "flush ruleset" not in content("/etc/nftables.conf")


def test_other_rules_carry_another_stamp_so_that_the_kernel_can_be_asked() -> None:
    other = desired(HostSecurity(WORKERS, (KEY,), ports=(25,)))
    stamps = {re.search(r"rules_\w+", content("/etc/nftables.conf", wish)) for wish in (desired(SECURITY), other)}
    found = {stamp.group() for stamp in stamps if stamp}
    assert len(found) == 2
    (condition,) = component("firewall").after
    assert any(stamp in condition.test for stamp in found)


def test_fail2ban_spares_the_workers() -> None:
    jails = content("/etc/fail2ban/jail.d/penguin.local")
    assert "ignoreip = 127.0.0.1/8 192.0.2.7/32 203.0.113.0/28" in jails


def test_only_the_keys_of_the_wish_open_the_host() -> None:
    assert content("/root/.ssh/authorized_keys") == f"{KEY}\n"


@pytest.mark.parametrize("line", ["", "hello", f"{KEY}\nssh-ed25519 AAAA second", 'command="id" ssh-ed25519 AAAA'])
def test_what_is_not_one_public_key_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="public key"):
        bootstrap_script(line)


def test_a_key_cannot_break_out_of_its_quotes() -> None:
    script = bootstrap_script("ssh-ed25519 AAAA it's'; reboot; '")
    assert "it'\"'\"'s'\"'\"'; reboot; '\"'\"''" in script


def test_no_password_is_ever_written_down() -> None:
    script = close_password_script()
    assert "/dev/urandom" in script
    assert "chpasswd" in script
    assert "usermod -p '*' root" in script
