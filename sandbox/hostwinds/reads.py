"""Actions that only look."""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.hostwinds.asking import Ask, is_seen, unknown_service
from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.model import Machine
from sandbox.hostwinds.rows import Row, address_of, bend_list, bend_row, full_row, shapes_for, wrap

BILLING_MONTHS = {"monthly": 1, "quarterly": 3, "semiannually": 6, "annually": 12, "biennially": 24, "triennially": 36}
MONTHLY_DOLLARS = 9.99
MANAGED_EXTRA_DOLLARS = 10.0


def owned(emulator: Emulator, ask: Ask) -> Machine:
    """The machine that a request names; missing, unknown and foreign ids get one and the same answer."""
    text = ask.one("serviceid")
    machine = emulator.books.machines.get(int(text)) if text.isdecimal() else None
    if machine is None or not is_seen(machine, ask.account, emulator.clock.now()):
        raise unknown_service(ask.title)
    return machine


def _get_instances(emulator: Emulator, ask: Ask) -> Any:
    shapes = shapes_for(emulator.faults, ask.action)
    stale = emulator.faults.take("stale_list", ask.action)
    now = emulator.clock.now() - (stale.number("seconds", 60) if stale else 0)
    machines = [machine for machine in emulator.books.machines.values() if is_seen(machine, ask.account, now)]
    machines = [m for m in machines if not emulator.faults.take("missing_from_list_once", ask.action, m.label)]
    rows = [full_row(machine, now, _seed(emulator, machine, ask)) for machine in machines]
    return wrap(bend_list(rows, shapes), shapes)


def _get_instance(emulator: Emulator, ask: Ask) -> Any:
    machine = owned(emulator, ask)
    shapes = shapes_for(emulator.faults, ask.action)
    row = full_row(machine, emulator.clock.now(), _seed(emulator, machine, ask))
    return wrap(bend_row(row, shapes), shapes)


def _seed(emulator: Emulator, machine: Machine, ask: Ask) -> str:
    return f"{emulator.config.seed} {machine.serviceid} {ask.action} {len(emulator.calls)}"


def _get_instance_ips(emulator: Emulator, ask: Ask) -> Any:
    machine = owned(emulator, ask)
    shapes = shapes_for(emulator.faults, ask.action)
    now = emulator.clock.now()
    ips = [address_of(machine, now), *(extra.ip for extra in machine.extra if now >= extra.visible_at)]
    rows: list[Row] = [{"ip": ip, "x_unheard_of": 0} for ip in ips if ip]
    payload = {str(number): row for number, row in enumerate(rows)} if "list_as_object" in shapes else rows
    return wrap({"IP Addresses": payload}, shapes)


def _get_smtp_filters(emulator: Emulator, ask: Ask) -> Any:
    shapes = shapes_for(emulator.faults, ask.action)
    machines = [owned(emulator, ask)] if ask.one("serviceid") else list(emulator.books.machines.values())
    filters = [row for m in machines if is_seen(m, ask.account, emulator.clock.now()) for row in m.filters]
    if "object_as_empty_list" in shapes and not filters:
        return wrap([], shapes)
    return wrap({"spam": filters}, shapes)


def _get_instance_firewall_profile(emulator: Emulator, ask: Ask) -> Any:
    machine = owned(emulator, ask)
    open_inwards = {"direction": "ingress", "ethertype": "IPv4", "description": ""}
    open_outwards = {"direction": "egress", "ethertype": "IPv4", "protocol": None, "description": ""}
    rules = [open_inwards, open_outwards]
    profile = {"id": 1, "name": machine.firewall, "description": "", "security_group_rules": rules}
    return wrap(profile, shapes_for(emulator.faults, ask.action))


def _get_price_list(emulator: Emulator, ask: Ask) -> Any:
    extra = 0.0 if ask.one("managed") == "0" else MANAGED_EXTRA_DOLLARS  # managed plans unless told otherwise
    plans = {str(number): _plan(rid, MONTHLY_DOLLARS + extra) for number, rid in enumerate(emulator.config.plans)}
    return wrap(plans, shapes_for(emulator.faults, ask.action))


def _plan(rid: str, dollars: float) -> Row:
    prices = {cycle: f"{dollars * months:.2f}" for cycle, months in BILLING_MONTHS.items()}
    size = {"ram": "2", "cpu": "1", "disk": "50", "bandwidth": "2"}
    return {"id": int(rid), "name": "1 CPU / 2 GB", **size, **prices, "rid": int(rid), "mtotal": f"{dollars:.2f}"}


def _get_locations(emulator: Emulator, ask: Ask) -> Any:
    rows = [{"id": location, "name": f"Place {location}"} for location in emulator.config.locations]
    return wrap(rows, shapes_for(emulator.faults, ask.action))


def _get_public_images(emulator: Emulator, ask: Ask) -> Any:
    rows = [{"uuid": template, "name": template.replace("-", " ").title()} for template in emulator.config.templates]
    return wrap(rows, shapes_for(emulator.faults, ask.action))


def _get_firewall_profiles(emulator: Emulator, ask: Ask) -> Any:
    return wrap([{"id": 1, "name": "default"}, {"id": 2, "name": "mail"}], shapes_for(emulator.faults, ask.action))


READS: Mapping[str, Callable[[Emulator, Ask], Any]] = {
    "get_instances": _get_instances,
    "get_instance": _get_instance,
    "get_instance_ips": _get_instance_ips,
    "get_smtp_filters": _get_smtp_filters,
    "get_instance_firewall_profile": _get_instance_firewall_profile,
    "get_price_list": _get_price_list,
    "get_locations": _get_locations,
    "get_public_images": _get_public_images,
    "get_firewall_profiles": _get_firewall_profiles,
}
