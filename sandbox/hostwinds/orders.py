"""Actions that cost money: a server, and an address where the vendor's call for it is configured."""

from sandbox.hostwinds.asking import Ask, Items, Refusal, accepted
from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.faults import LABEL, LIFE, MONEY, NETWORK, Fault
from sandbox.hostwinds.model import Address, Machine
from sandbox.hostwinds.reads import owned
from sandbox.hostwinds.rows import stamp

MOST_AT_ONCE = 10


def add_instance(emulator: Emulator, ask: Ask) -> Items:
    """Charge and build; the reply names no server."""
    quantity = _check(emulator, ask)
    fault = emulator.faults.take_first(MONEY, ask.action, ask.label)
    spoilt = fault.name if fault else ""
    if spoilt == "payment_declined":
        raise Refusal("The payment was declined.", title="Invoice Paid")
    if spoilt == "hourly_disabled":
        raise Refusal("Hourly products are disabled! Please choose another billing cycle.")
    made = fault.effect if fault and spoilt in {"partial_paid", "paid_only"} else True
    _buy(emulator, ask, quantity, made=made, doubled=spoilt == "double_create")
    return _answer(spoilt)


def _answer(spoilt: str) -> Items:
    paid = accepted("Invoice Paid", "The invoice was paid.<br>")
    if spoilt == "paid_only":
        return paid
    if spoilt == "partial_paid":
        return [*paid, {"result": "error", "action": "Add Instance", "message": "Something went wrong."}]
    return [*paid, *accepted("Add Instance", "Server is being Created!")]


def _check(emulator: Emulator, ask: Ask) -> int:
    config = emulator.config
    if ask.one("location_id") not in config.locations:
        raise Refusal("Location Id is invalid.", "342432")
    if ask.one("template") not in config.templates:
        raise Refusal("Template is invalid.", "342433")
    if ask.one("rid") not in config.plans:
        raise Refusal("Product is invalid.", "342434")
    if ask.one("billingcycle") == "hourly":
        raise Refusal("Hourly products are disabled! Please choose another billing cycle.")
    quantity = ask.one("qty") or "1"
    if not (quantity.isdecimal() and 1 <= int(quantity) <= MOST_AT_ONCE):
        raise Refusal("Quantity is invalid.", "342435")
    return int(quantity)


def _buy(emulator: Emulator, ask: Ask, quantity: int, *, made: bool, doubled: bool) -> None:
    label, twin = _label(emulator, ask)
    for _ in range(quantity):
        machine = order_machine(emulator, ask, label) if made else None
        emulator.charge("server", ask.action, machine, label=ask.label)
    if doubled and made:
        order_machine(emulator, ask, label)  # the vendor's mistake: one payment, two servers
    if twin:
        order_machine(emulator, ask, label)


def _label(emulator: Emulator, ask: Ask) -> tuple[str, bool]:
    """The label that the server really gets, and whether another one bears it too."""
    fault = emulator.faults.take_first(LABEL, ask.action, ask.label)
    if fault is None:
        return ask.label, False
    labels = {
        "label_dropped": "",
        "label_truncated": ask.label[: int(fault.number("length", len(ask.label) // 2))],
        "label_changed_case": ask.label.upper(),
    }
    return labels.get(fault.name, ask.label), fault.name == "duplicate_label"


def order_machine(emulator: Emulator, ask: Ask, label: str) -> Machine:
    """Enter a machine with the troubles that were armed for it, and let its host boot."""
    names = ("template", "rid", "location_id", "billingcycle")
    machine = emulator.new_machine(ask.account, label, {name: ask.one(name) for name in names if ask.one(name)})
    for name in sorted(LIFE | NETWORK):
        if fault := emulator.faults.take(name, ask.action, ask.label):
            trouble(emulator, machine, fault)
    boot_after = emulator.config.delays.ssh_after
    emulator.plan_deed("make", machine, boot_after or 0)
    return machine


def trouble(emulator: Emulator, machine: Machine, fault: Fault) -> None:
    """Burden a machine with one fault of its life or its network."""
    machine.quirks[fault.name] = {**fault.options, "armed": True}
    if fault.name == "suspend":
        machine.suspended = True
    elif fault.name == "smtp_filter":
        place_filter(emulator, machine, str(fault.options.get("type", "spam")))
    elif fault.name == "ip_changes_during_build":
        machine.building_ip = emulator.take_address()


def place_filter(emulator: Emulator, machine: Machine, kind: str) -> None:
    """Block outgoing mail as the vendor does after abuse, and say so in `get_smtp_filters`."""
    row = {"type": kind, "created": stamp(emulator.clock.now()), "invoice_id": emulator.books.take_seq()}
    machine.filters.append(row)
    emulator.plan_deed("block", machine, 0, ip=machine.main_ip, direction="out", on=True)


def buy_ip_by_api(emulator: Emulator, ask: Ask) -> Items:
    """The call nobody has seen yet, under the name the configuration gives it."""
    buy_ip(emulator, owned(emulator, ask), ask.action, by_hook=False)
    return accepted(ask.title, "IP added")


def buy_ip(emulator: Emulator, machine: Machine, action: str, *, by_hook: bool) -> str:
    """Charge an address and route it to the machine; nothing configures it inside."""
    ip = emulator.take_address()
    machine.extra.append(Address(ip, emulator.clock.now() + emulator.config.delays.ip_visible_after))
    for name in sorted(NETWORK):
        if fault := emulator.faults.take(name, action, machine.label):
            machine.quirks[name] = fault.options
    emulator.charge("ip", action, machine, by_hook=by_hook)
    emulator.plan_deed("give", machine, 0, ip=ip)
    return ip
