"""Actions our product must never use: they answer as the vendor does, charge as it does, and count as violations."""

from collections.abc import Callable, Mapping

from sandbox.hostwinds.asking import Ask, Items, accepted
from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.reads import owned

CHANGES_BEFORE_COOLDOWN = 3  # after about so many the vendor went on answering success while nothing changed


def _swap_ip(emulator: Emulator, ask: Ask) -> Items:
    """A random new main address."""
    machine = owned(emulator, ask)
    changes = machine.quirks.setdefault("ip_changes", 0)
    fault = emulator.faults.take("ip_cooldown", ask.action, machine.label)
    limit = int(fault.number("changes", 0)) if fault else CHANGES_BEFORE_COOLDOWN
    if changes < limit:
        machine.quirks["ip_changes"] = changes + 1
        machine.main_ip = emulator.take_address()
        emulator.charge("ip_change", ask.action, machine)
    return accepted(ask.title, "Your IP is being changed!")


def _pay(kind: str) -> Callable[[Emulator, Ask], Items]:
    def act(emulator: Emulator, ask: Ask) -> Items:
        emulator.charge(kind, ask.action, owned(emulator, ask))
        return accepted(ask.title, "A valid serviceid is required.")  # an error sentence under success: seen

    return act


def _upset(emulator: Emulator, ask: Ask) -> Items:
    """Reboot, as these do at the least."""
    emulator.plan_deed("restart", owned(emulator, ask), 0)
    return accepted(ask.title, "Your request is being worked on.")


FORBIDDEN: Mapping[str, Callable[[Emulator, Ask], Items]] = {
    "change_main_ip": _swap_ip,
    "fix_isp_blocked": _swap_ip,
    "create_ip_cleanup_fee": _pay("cleanup"),
    "recreate": _upset,
    "reinstall_instance": _upset,
    "regenerate_networking": _upset,
    "change_password": _upset,
    "upgrade_instance": _pay("upgrade"),
    "change_billing_cycle": _pay("upgrade"),
    "upgrade_to_managed": _pay("upgrade"),
}
