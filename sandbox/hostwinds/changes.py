"""Actions that change a server, and are accepted at once."""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.hostwinds.asking import Ask, Refusal, accepted
from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.model import Machine
from sandbox.hostwinds.reads import owned

Change = Callable[[Emulator, Ask, Machine], Any]


def _power(restart: bool, stopped: bool, message: str) -> Change:
    def act(emulator: Emulator, ask: Ask, machine: Machine) -> Any:
        switch_power(emulator, machine, restart=restart, stopped=stopped)
        return accepted(ask.title, message)

    return act


def switch_power(emulator: Emulator, machine: Machine, *, restart: bool, stopped: bool) -> None:
    """Switch a machine; one that is off is a host that nobody reaches."""
    was_stopped, machine.stopped = machine.stopped, stopped
    if was_stopped != stopped:
        emulator.plan_deed("route", machine, 0, ip=machine.main_ip, on=not stopped)
    if restart:
        machine.busy_until = emulator.clock.now() + emulator.config.delays.task_clear_after
        emulator.plan_deed("restart", machine, 0)


def _terminate(emulator: Emulator, ask: Ask, machine: Machine) -> Any:
    delay = emulator.config.delays.terminate_after
    if delay == 0:
        machine.gone = True
    emulator.plan_deed("destroy", machine, delay)
    items = accepted(ask.title, "Instance deleted")
    del items[0]["action"]  # the vendor's reply has no title here
    return items


def _toggle_lock(emulator: Emulator, ask: Ask, machine: Machine) -> Any:
    del emulator
    machine.locked = not machine.locked
    return accepted(ask.title, f"Service has been {'locked' if machine.locked else 'unlocked'}.")


def _delete_ip(emulator: Emulator, ask: Ask, machine: Machine) -> Any:
    ip = ask.one("ip")
    extra = next((address for address in machine.extra if address.ip == ip), None)
    if extra is None:
        raise Refusal("The IP cannot be removed.")
    machine.extra.remove(extra)
    machine.pointers.pop(ip, None)
    emulator.plan_deed("route", machine, 0, ip=ip, on=False)
    return accepted(ask.title, "IP removed")


def _set_rdns(emulator: Emulator, ask: Ask, machine: Machine) -> Any:
    ip, name = ask.one("ip"), ask.one("rdns") or ask.one("rdata")
    if ip not in {machine.main_ip, *(extra.ip for extra in machine.extra)} or not name:
        raise Refusal("A valid IP and rDNS are required.")
    if not emulator.faults.take("ptr_never", ask.action, machine.label):
        machine.pointers[ip] = name
        emulator.plan_deed("point", machine, emulator.config.delays.ptr_delay, ip=ip, name=name)
    return accepted(ask.title, "rDNS record updated.")


def _set_firewall(emulator: Emulator, ask: Ask, machine: Machine) -> Any:
    del emulator
    machine.firewall = ask.one("name") or machine.firewall
    return accepted(ask.title, "Firewall profile set.")


def _guarded(change: Change, message: str) -> Callable[[Emulator, Ask], Any]:
    """Refuse on a locked machine where that is armed; accept without effect where that is."""

    def act(emulator: Emulator, ask: Ask) -> Any:
        machine = owned(emulator, ask)
        if machine.locked and ask.action != "toggle_lock" and _lock_refuses(emulator, ask, machine):
            raise Refusal("The service is locked.")
        if emulator.faults.take("accept_without_effect", ask.action, machine.label):
            return accepted(ask.title, message)
        return change(emulator, ask, machine)

    return act


def _lock_refuses(emulator: Emulator, ask: Ask, machine: Machine) -> bool:
    """A lock refuses nothing unless armed; what it forbids at the vendor's is not known."""
    armed = next((fault for fault in emulator.faults.armed() if fault.name == "locked_refuses"), None)
    if armed is None or (armed.options.get("scope", "terminate") == "terminate" and ask.action != "terminate"):
        return False
    return emulator.faults.take("locked_refuses", ask.action, machine.label) is not None


CHANGES: Mapping[str, Callable[[Emulator, Ask], Any]] = {
    "terminate": _guarded(_terminate, "Instance deleted"),
    "boot": _guarded(_power(restart=True, stopped=False, message="Instance booted"), "Instance booted"),
    "shutdown": _guarded(_power(restart=False, stopped=True, message="Instance stopped"), "Instance stopped"),
    "reboot": _guarded(_power(restart=True, stopped=False, message="Instance rebooted"), "Instance rebooted"),
    "toggle_lock": _guarded(_toggle_lock, "Service has been locked."),
    "delete_ip": _guarded(_delete_ip, "IP removed"),
    "set_rdns": _guarded(_set_rdns, "rDNS record updated."),
    "set_instance_firewall": _guarded(_set_firewall, "Firewall profile set."),
}
