"""Servers of the emulated provider are real hosts: what its API promises is true in the world."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import paramiko
import pytest

from sandbox import prerequisites
from sandbox.emulation import start_emulator
from sandbox.hostwinds.admin import Admin
from sandbox.state import process
from sandbox.world import World

pytestmark = pytest.mark.sandbox

REQUIRED = os.environ.get("PENGUINMAILS_SANDBOX__REQUIRED") == "1"
BANNER = "timeout 3 bash -c 'exec 3<>/dev/tcp/203.0.113.25/25; head -c 3 <&3' || echo none"


class Panel:
    """The provider of one world, used from its control room."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.facts = world.info
        self.admin = Admin(self.facts["admin_socket"])

    def call(self, action: str, **form: Any) -> Any:
        with self.world.enter_control():
            fields = {"action": action, "API": self.facts["api_key"], **form}
            return httpx.post(self.facts["api_url"], data=fields, verify=False, timeout=30).json()

    def order(self, label: str) -> dict[str, Any]:
        """Order a server; its row once it is ready by the API's word."""
        place = {name: self.facts[name] for name in ("template", "rid", "location_id")}
        assert (
            self.call("add_instance", **place, qty=1, srvrname=label, billingcycle="monthly")[1]["result"] == "success"
        )
        return until(lambda: next((row for row in self.active() if row["srvrname"] == label), None))

    def active(self) -> list[dict[str, Any]]:
        """Servers that are built, by the API's word."""
        return [row for row in self.call("get_instances")["success"] if row["status"] == "ACTIVE"]

    def login(self, row: dict[str, Any]) -> paramiko.SSHClient | None:
        """Log in with the password of the API; None while nobody answers."""
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        with self.world.enter_control(), suppress(OSError, EOFError, paramiko.SSHException):
            address, password = row["main_ip"], row["password"]
            client.connect(
                address, username="root", password=password, timeout=3, allow_agent=False, look_for_keys=False
            )
            return client
        client.close()
        return None

    def run(self, row: dict[str, Any], command: str) -> str:
        """Run one command on a server over SSH, as soon as that is possible."""
        client = until(lambda: self.login(row))
        try:
            return client.exec_command(command, timeout=60)[1].read().decode().strip()
        finally:
            client.close()


def until(look: Callable[[], Any]) -> Any:
    """Look again and again for a minute."""
    deadline = time.monotonic() + 60
    while not (seen := look()):
        assert time.monotonic() < deadline, "it did not come true within a minute"
        time.sleep(0.05)
    return seen


@pytest.fixture(scope="module")
def panel() -> Iterator[Panel]:
    if lacks := prerequisites.lacks():
        said = "; ".join(f"{lack.what}: {lack.cure}" for lack in lacks)
        pytest.fail(said) if REQUIRED else pytest.skip(said)
    World.down_named("hosts", say=lambda _: None)
    world = World.up("hosts", say=lambda _: None)
    try:
        yield Panel(world)
    finally:
        world.down(say=lambda _: None)


@pytest.fixture(scope="module")
def row(panel: Panel) -> dict[str, Any]:
    """A server that several tests use one after the other; each leaves it as it was."""
    return panel.order("pm-shared")


@pytest.fixture
def fresh(panel: Panel) -> Iterator[dict[str, Any]]:
    """A server of one's own."""
    made = panel.order("pm-fresh")
    yield made
    panel.call("terminate", serviceid=made["serviceid"])
    assert panel.admin.settle()


def pointer(panel: Panel, ip: str) -> str:
    reverse = ".".join(reversed(ip.split("."))) + ".in-addr.arpa"
    return panel.world.exec("dns", f"kdig +short @203.0.113.54 {reverse} PTR")[1].decode().strip()


def test_the_root_password_of_the_api_opens_the_host(panel: Panel, fresh: dict[str, Any]) -> None:
    assert panel.run(fresh, "hostname; ip -4 -br addr show eth0").split()[0] == fresh["hostname"]
    assert fresh["password"].startswith("CANARY-")
    assert fresh["main_ip"] in panel.run(fresh, "ip -4 -br addr show eth0")
    assert pointer(panel, fresh["main_ip"]) == f"{fresh['hostname']}."


def test_a_changed_password_is_not_shown_by_the_api(panel: Panel, fresh: dict[str, Any]) -> None:
    panel.run(fresh, "echo root:another | chpasswd")
    shown = panel.call("get_instance", serviceid=fresh["serviceid"])["success"]["password"]
    assert shown == fresh["password"]
    assert panel.login(fresh) is None
    assert panel.login({**fresh, "password": "another"})


def test_a_reverse_name_reaches_the_zone(panel: Panel, row: dict[str, Any]) -> None:
    panel.call("set_rdns", serviceid=row["serviceid"], ip=row["main_ip"], rdns="mail.acme.example")
    assert panel.admin.settle()
    assert pointer(panel, row["main_ip"]) == "mail.acme.example."


def test_a_reboot_boots_the_host_anew(panel: Panel, row: dict[str, Any]) -> None:
    stamp = "systemctl is-system-running --wait >/dev/null; systemctl show -p UserspaceTimestampMonotonic --value"
    before = panel.run(row, stamp)
    panel.run(row, "touch /run/only-in-memory")
    panel.call("reboot", serviceid=row["serviceid"])
    assert panel.admin.settle()
    assert panel.run(row, stamp) != before
    assert panel.run(row, "ls /run/only-in-memory 2>&1 || true").endswith("No such file or directory")


def test_a_bought_address_belongs_to_the_host_once_it_configures_it(panel: Panel, row: dict[str, Any]) -> None:
    (ip,) = panel.admin.buy_ip(row["serviceid"])
    assert panel.admin.settle()
    assert ip not in panel.run(row, "ip -4 -br addr show eth0")
    panel.run(row, f"ip addr add {ip}/32 dev eth0")
    assert panel.run({**row, "main_ip": ip}, "hostname") == row["hostname"]


def test_a_filter_closes_port_25_outwards_and_its_end_opens_it(panel: Panel, row: dict[str, Any]) -> None:
    assert panel.run(row, BANNER) == "220"
    panel.admin.ask("place_smtp_filter", serviceid=row["serviceid"])
    assert panel.admin.settle()
    assert panel.run(row, BANNER) == "none"
    panel.admin.ask("clear_smtp_filter", serviceid=row["serviceid"])
    assert panel.admin.settle()
    assert panel.run(row, BANNER) == "220"


def test_a_suspended_server_is_cut_off(panel: Panel, row: dict[str, Any]) -> None:
    assert panel.run(row, "echo here") == "here"
    panel.admin.ask("suspend", serviceid=row["serviceid"])
    assert panel.admin.settle()
    assert panel.login(row) is None
    panel.admin.ask("unsuspend", serviceid=row["serviceid"])
    assert panel.admin.settle()
    assert panel.run(row, "echo here") == "here"


def test_a_slow_boot_goes_on_after_ssh_answers(panel: Panel) -> None:
    panel.admin.fault("boot_slow", seconds=8)
    row = panel.order("pm-slow-boot")
    assert panel.run(row, "systemctl is-system-running || true") in {"starting", "initializing"}
    assert panel.run(row, "systemctl is-system-running --wait || true") in {"running", "degraded"}
    panel.call("terminate", serviceid=row["serviceid"])


def test_a_degraded_boot_names_its_failed_unit(panel: Panel) -> None:
    panel.admin.fault("boot_degraded")
    row = panel.order("pm-degraded")
    assert panel.admin.settle()
    assert panel.run(row, "systemctl is-system-running --wait || true") == "degraded"
    assert "sandbox-broken" in panel.run(row, "systemctl --failed --plain --no-legend")
    panel.call("terminate", serviceid=row["serviceid"])


def test_a_terminated_server_leaves_nothing(panel: Panel) -> None:
    row = panel.order("pm-short-lived")
    assert panel.run(row, "echo here") == "here"
    panel.call("terminate", serviceid=row["serviceid"])
    assert panel.admin.settle()
    host = f"s{row['serviceid']}"
    assert host not in {note["name"] for note in panel.world.state.noted("host")}
    assert pointer(panel, row["main_ip"]) == ""
    assert panel.login(row) is None


def test_an_emulator_that_was_killed_comes_back_with_its_servers(panel: Panel, row: dict[str, Any]) -> None:
    note = panel.world.state.find("process", "emulator")
    assert note
    running = process(note["pid"])
    assert running
    assert running.started == note["started"]
    os.kill(note["pid"], 9)
    until(lambda: not running.alive())
    Path(panel.facts["admin_socket"]).unlink(missing_ok=True)
    start_emulator(panel.world.state, panel.facts["api_key"])
    again = panel.call("get_instance", serviceid=row["serviceid"])["success"]
    assert (again["srvrname"], again["password"]) == (row["srvrname"], row["password"])
    assert len(panel.admin.charges(label=row["srvrname"], kind="server")) == 1
    assert panel.run(row, "echo here") == "here"
