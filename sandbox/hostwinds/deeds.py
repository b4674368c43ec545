"""Carries out what an accepted request promised: boots, ends and restarts hosts, sets reverse names."""

from collections.abc import Callable, Mapping

from sandbox.hostwinds.api import perform
from sandbox.hostwinds.asking import Ask
from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.model import Deed, Machine

# What holds a boot up has to be there before it starts, hence a boot of its own before the one that is shown.
SLOW_BOOT = """cat > /etc/systemd/system/sandbox-slow.service <<'UNIT'
[Service]
Type=oneshot
ExecStart=/bin/sleep {seconds}
ExecStart=/bin/rm -f /etc/systemd/system/multi-user.target.wants/sandbox-slow.service
UNIT
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sf ../sandbox-slow.service /etc/systemd/system/multi-user.target.wants/sandbox-slow.service
"""

# Run in a host right after its SSH answers.
BROKEN_UNIT = "systemd-run --quiet --unit=sandbox-broken /bin/false || true"
FLAPPING_SSH = (
    "systemd-run --quiet --unit=sandbox-flap /bin/sh -c 'systemctl stop ssh; sleep {seconds}; systemctl start ssh'"
)


def carry_out(emulator: Emulator, deed: Deed, again: bool) -> None:
    """Do one deed. `again`: an earlier emulator died while doing it, so its traces are removed first."""
    if deed.what == "late_request":
        if again:
            return  # it may have been carried out; a second purchase would be our mistake, not the vendor's
        account = emulator.books.accounts[deed.details["account"]]
        perform(emulator, Ask(account, deed.details["action"], deed.details["form"]))
        return
    machine = emulator.books.machines.get(deed.serviceid or 0)
    if machine:
        DEEDS[deed.what](emulator, machine, deed, again)


def _make(emulator: Emulator, machine: Machine, deed: Deed, again: bool) -> None:
    if machine.gone or "ssh_never" in machine.quirks or "build_error" in machine.quirks:
        return
    hosts = emulator.hosts
    if again:
        hosts.destroy_host(machine.host)
    hosts.set_ptr(machine.main_ip, machine.hostname)
    _trouble_network(emulator, machine, machine.main_ip)
    image = emulator.config.templates[machine.template]
    hosts.create_host(
        machine.host, [machine.main_ip], image=image, hostname=machine.hostname, root_password=machine.password
    )
    _trouble_boot(emulator, machine)
    del deed


def _trouble_network(emulator: Emulator, machine: Machine, ip: str) -> None:
    hosts, quirks = emulator.hosts, machine.quirks
    if "ip_prelisted" in quirks:
        hosts.list_address(ip, quirks["ip_prelisted"].get("zone", "dnsbl.example"))
    for fault, direction in (("port25_blocked", "out"), ("port25_in_blocked", "in")):
        if fault in quirks:
            hosts.block_port25(ip, direction, on=True)
    if "ip_not_routed" in quirks:
        hosts.route_address(machine.host, ip, on=False)


def _trouble_boot(emulator: Emulator, machine: Machine) -> None:
    quirks = machine.quirks
    if "boot_slow" in quirks:
        emulator.hosts.exec(machine.host, SLOW_BOOT.format(seconds=quirks["boot_slow"].get("seconds", 5)))
        emulator.hosts.restart_host(machine.host)
        quirks["boot_slow"] = {}  # from here on the API says that it is built
    if "boot_degraded" in quirks:
        emulator.hosts.exec(machine.host, BROKEN_UNIT)
    if "ssh_flap" in quirks:
        emulator.hosts.exec(machine.host, FLAPPING_SSH.format(seconds=quirks["ssh_flap"].get("seconds", 3)))


def _destroy(emulator: Emulator, machine: Machine, deed: Deed, again: bool) -> None:
    del deed, again
    with emulator.lock:
        machine.gone = True
    emulator.hosts.destroy_host(machine.host)
    for ip in (machine.main_ip, *(extra.ip for extra in machine.extra)):
        emulator.hosts.set_ptr(ip, None)
        emulator.hosts.route_address(machine.host, ip, on=True)  # whoever gets the address next is not cut off


def _restart(emulator: Emulator, machine: Machine, deed: Deed, again: bool) -> None:
    del deed, again
    if not machine.gone:
        emulator.hosts.restart_host(machine.host)


def _point(emulator: Emulator, machine: Machine, deed: Deed, again: bool) -> None:
    """Set a reverse name, unless a later request has asked for another one meanwhile."""
    del again
    ip, name = deed.details["ip"], deed.details["name"]
    if not machine.gone and machine.pointers.get(ip) == name:
        emulator.hosts.set_ptr(ip, name)


def _route(emulator: Emulator, machine: Machine, deed: Deed, again: bool) -> None:
    del again
    if not machine.gone:
        emulator.hosts.route_address(machine.host, deed.details["ip"], deed.details["on"])


def _give(emulator: Emulator, machine: Machine, deed: Deed, again: bool) -> None:
    """A bought address begins its life at this machine, with the provider's own reverse name."""
    del again
    ip = deed.details["ip"]
    emulator.hosts.set_ptr(ip, f"hwsrv-{machine.number}-{ip.rpartition('.')[2]}.hostwindsdns.com")
    emulator.hosts.route_address(machine.host, ip, on=True)
    _trouble_network(emulator, machine, ip)


def _block(emulator: Emulator, machine: Machine, deed: Deed, again: bool) -> None:
    del again, machine
    emulator.hosts.block_port25(deed.details["ip"], deed.details["direction"], deed.details["on"])


DEEDS: Mapping[str, Callable[[Emulator, Machine, Deed, bool], None]] = {
    "make": _make,
    "destroy": _destroy,
    "restart": _restart,
    "point": _point,
    "route": _route,
    "give": _give,
    "block": _block,
}
