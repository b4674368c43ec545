import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import paramiko
import pytest

from sandbox import hosts
from sandbox.hosts import HostExists, NoSuchHost, hash_password
from sandbox.world import World

pytestmark = pytest.mark.sandbox
NAME, MAIN, EXTRA, BY_HAND = "boots", "198.51.100.220", "198.51.100.221", "198.51.100.222"
PASSWORD = "CANARY-a password with blanks"
DROP_IN = "/etc/systemd/network/10-eth0.network.d/extra.conf"


@pytest.fixture(scope="module")
def boots(world: World) -> Iterator[World]:
    world.create_host(NAME, [MAIN], hostname="boots.acme.example", root_password=PASSWORD)
    yield world
    world.destroy_host(NAME)


def said(world: World, script: str, host: str = NAME) -> str:
    code, out, err = world.exec(host, script)
    assert code == 0, err.decode()
    return out.decode().strip()


def booted(world: World) -> str:
    return said(world, "systemctl is-system-running --wait || :")


def reboot(world: World, act: Callable[[], object]) -> None:
    """Return once the host's next boot has come to its end."""
    before = world.hosts._first_process(NAME)
    act()
    deadline = time.monotonic() + 60
    while world.hosts._first_process(NAME) in {before, None}:
        assert time.monotonic() < deadline, "it did not boot again"
        time.sleep(0.05)
    world.network.await_banner(IPv4Address(MAIN), 22, b"SSH-2.0")
    assert booted(world) in {"running", "degraded"}


def addresses(world: World) -> set[str]:
    return set(said(world, "ip -o -4 addr show dev eth0 | awk '{print $4}'").split())


def await_addresses(world: World, expected: set[str]) -> None:
    deadline = time.monotonic() + 15
    while addresses(world) != expected:
        assert time.monotonic() < deadline, addresses(world)
        time.sleep(0.1)


def logged_in(world: World, password: str) -> str:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    with world.enter_control():
        client.connect(MAIN, username="root", password=password, look_for_keys=False, allow_agent=False, timeout=20)
    try:
        _, out, _ = client.exec_command("hostname -f", timeout=20)
        return out.read().decode().strip()
    finally:
        client.close()


def test_process_one_is_systemd_and_the_boot_comes_to_an_end(boots: World) -> None:
    assert said(boots, "cat /proc/1/comm") == "systemd"
    assert booted(boots) in {"running", "degraded"}


def test_root_logs_in_with_the_password_that_was_set_and_no_other(boots: World) -> None:
    """SB-A05."""
    assert logged_in(boots, PASSWORD) == "boots.acme.example"
    with pytest.raises(paramiko.AuthenticationException):
        logged_in(boots, PASSWORD + "x")


@pytest.mark.parametrize("way", ["from inside", "from outside"])
def test_only_addresses_in_the_hosts_own_files_survive_a_reboot(boots: World, way: str) -> None:
    """SB-A10."""
    said(boots, f"mkdir -p {DROP_IN.rpartition('/')[0]} && printf '[Network]\\nAddress={EXTRA}/32\\n' > {DROP_IN}")
    said(boots, f"ip addr add {BY_HAND}/32 dev eth0")
    assert f"{BY_HAND}/32" in addresses(boots)

    reboot(boots, lambda: boots.exec(NAME, "systemctl reboot") if way == "from inside" else boots.restart_host(NAME))
    await_addresses(boots, {f"{MAIN}/24", f"{EXTRA}/32"})


def test_what_was_written_survives_a_loss_of_power(boots: World) -> None:
    said(boots, "echo kept > /root/kept")
    reboot(boots, lambda: boots.restart_host(NAME))
    assert said(boots, "cat /root/kept") == "kept"


def test_a_host_that_switched_itself_off_is_switched_on(boots: World) -> None:
    boots.exec(NAME, "systemctl poweroff --force --force")
    deadline = time.monotonic() + 20
    while boots.hosts.running(NAME):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    boots.restart_host(NAME)
    boots.network.await_banner(IPv4Address(MAIN), 22, b"SSH-2.0")
    assert booted(boots) in {"running", "degraded"}


def test_packages_come_from_the_repository_of_the_world(boots: World) -> None:
    listed = said(boots, "apt-get update -q >&2 && apt-cache policy postfix opendkim unbound | grep -c labrepo")
    assert listed == "3"


def test_a_script_gets_its_input_and_its_status_is_told(boots: World) -> None:
    assert boots.exec(NAME, "cat; exit 7", b"bytes \xff in") == (7, b"bytes \xff in", b"")


def test_nothing_of_our_environment_reaches_a_host(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENGUINMAILS_PLANTED", "secret")
    world.create_host("plain", ["198.51.100.228"], hostname="plain.acme.example", root_password="s")
    keeper = world.hosts._keeper("plain")
    assert keeper
    kept = Path(f"/proc/{keeper.pid}/environ").read_text()
    inside = said(world, "env; tr '\\0' '\\n' < /proc/1/environ", "plain")
    world.destroy_host("plain")
    assert "PLANTED" not in kept + inside


def test_networkd_agrees_with_what_the_provider_made(boots: World) -> None:
    said(boots, "/lib/systemd/systemd-networkd-wait-online --timeout=15 --interface=eth0")
    assert said(boots, "networkctl --no-legend list eth0").split()[-1] == "configured"


def test_a_host_that_never_greets_is_told_with_its_last_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "BANNER_LIMIT_SECONDS", 2.0)

    def broken(tree: Path) -> None:
        (tree / "usr/lib/systemd/systemd").unlink()

    plan = hosts.HostPlan("mute", (IPv4Address("198.51.100.229"),), "bare", "mute.acme.example", prepare=broken)
    try:
        with pytest.raises(TimeoutError, match="process 1 ended"):
            world.hosts.create(plan)
    finally:
        world.destroy_host("mute")


def test_a_name_that_is_taken_is_refused_and_the_host_lives_on(boots: World) -> None:
    with pytest.raises(HostExists):
        boots.create_host(NAME, ["198.51.100.229"], hostname="x.acme.example", root_password="s")
    assert boots.hosts.running(NAME)


def test_a_missing_host_is_named(world: World) -> None:
    for act in (lambda: world.exec("ghost", "true"), lambda: world.restart_host("ghost")):
        with pytest.raises(NoSuchHost, match="ghost"):
            act()
    world.destroy_host("ghost")


def test_a_rebuilt_host_answers_on_its_old_address_with_a_new_key(world: World) -> None:
    def key() -> str:
        return said(world, "cat /etc/ssh/ssh_host_ed25519_key.pub", "again")

    world.create_host("again", ["198.51.100.225"], hostname="again.acme.example", root_password="s")
    first = key()
    world.destroy_host("again")
    world.create_host("again", ["198.51.100.225"], hostname="again.acme.example", root_password="s")
    assert key() != first
    world.destroy_host("again")


def test_a_small_disk_fills_up(world: World) -> None:
    world.create_host("small", ["198.51.100.226"], hostname="small.acme.example", root_password="s", disk_mb=64)
    code, _, err = world.exec("small", "head -c 200M /dev/zero > /root/big")
    world.destroy_host("small")
    assert code != 0
    assert b"No space left" in err


def test_a_prepared_mail_host_has_the_packages(world: World) -> None:
    world.create_host("ready", ["198.51.100.227"], image="mail", hostname="ready.acme.example", root_password="s")
    installed = said(
        world,
        "dpkg-query -W -f '${Package} ${Status}\\n' postfix dovecot-core opendkim | grep -c 'ok installed'",
        "ready",
    )
    world.destroy_host("ready")
    assert installed == "3"


def test_logs_show_console_and_journal(boots: World) -> None:
    text = boots.logs(NAME)
    assert "--- console" in text
    assert "systemd-journald" in text


def test_a_password_travels_to_its_hash_by_pipe() -> None:
    assert hash_password("secret").startswith("$6$")
    assert hash_password("secret") != hash_password("secret")
