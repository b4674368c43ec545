"""What a human does in the provider's panel, and what a test may ask of the provider's books."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from sandbox.hostwinds.asking import Ask
from sandbox.hostwinds.changes import switch_power
from sandbox.hostwinds.config import PROFILES
from sandbox.hostwinds.emulator import Emulator
from sandbox.hostwinds.model import Account, Machine
from sandbox.hostwinds.orders import buy_ip, order_machine, place_filter
from sandbox.hostwinds.rows import address_of, status_of

Wish = Mapping[str, Any]
Hook = Callable[[Emulator, Wish], Any]


def machine_of(emulator: Emulator, wish: Wish) -> Machine:
    """The machine a wish names; ValueError when there is none."""
    machine = emulator.books.machines.get(int(wish["serviceid"]))
    if machine is None or machine.gone:
        raise ValueError(f"there is no service {wish['serviceid']}")
    return machine


def _account(emulator: Emulator, wish: Wish) -> Account:
    return emulator.books.accounts[wish.get("account", "ours")]


def _buy_ip(emulator: Emulator, wish: Wish) -> list[str]:
    machine = machine_of(emulator, wish)
    return [buy_ip(emulator, machine, "buy_ip", by_hook=True) for _ in range(int(wish.get("n", 1)))]


def _create(emulator: Emulator, wish: Wish) -> int:
    form = {"srvrname": [wish["label"]]} | {name: [str(wish[name])] for name in ("template", "rid") if name in wish}
    machine = order_machine(emulator, Ask(_account(emulator, wish), "create_in_panel", form), wish["label"])
    emulator.charge("server", "create_in_panel", machine, by_hook=True)
    return machine.serviceid


def _delete(emulator: Emulator, wish: Wish) -> None:
    machine = machine_of(emulator, wish)
    machine.gone = True
    emulator.plan_deed("destroy", machine, 0)


def _rename(emulator: Emulator, wish: Wish) -> None:
    machine_of(emulator, wish).label = str(wish["label"])


def _lock(emulator: Emulator, wish: Wish) -> None:
    machine_of(emulator, wish).locked = bool(wish.get("locked", True))


def _suspend(emulator: Emulator, wish: Wish) -> None:
    machine = machine_of(emulator, wish)
    machine.suspended = True
    emulator.plan_deed("route", machine, 0, ip=machine.main_ip, on=False)


def _unsuspend(emulator: Emulator, wish: Wish) -> None:
    machine = machine_of(emulator, wish)
    machine.suspended = False
    emulator.plan_deed("route", machine, 0, ip=machine.main_ip, on=True)


def _reboot(emulator: Emulator, wish: Wish) -> None:
    switch_power(emulator, machine_of(emulator, wish), restart=True, stopped=False)


def _place_filter(emulator: Emulator, wish: Wish) -> None:
    place_filter(emulator, machine_of(emulator, wish), wish.get("type", "spam"))


def _clear_filter(emulator: Emulator, wish: Wish) -> None:
    machine = machine_of(emulator, wish)
    machine.filters.clear()
    emulator.plan_deed("block", machine, 0, ip=machine.main_ip, direction="out", on=False)


def _port25(emulator: Emulator, wish: Wish) -> None:
    """Close or open SMTP from (`out`) or to (`in`) a machine's main address, without a word in its filters."""
    machine = machine_of(emulator, wish)
    details = {"direction": wish.get("direction", "out"), "on": not wish["open"]}
    emulator.plan_deed("block", machine, 0, ip=machine.main_ip, **details)


def _rotate_key(emulator: Emulator, wish: Wish) -> str:
    account = _account(emulator, wish)
    account.api_key = str(wish.get("key") or secrets.token_hex(16))
    return account.api_key


def _expire_key(emulator: Emulator, wish: Wish) -> None:
    after = wish.get("after_seconds", 0)
    _account(emulator, wish).expires_at = None if after is None else emulator.clock.now() + float(after)


def _set_allow_list(emulator: Emulator, wish: Wish) -> None:
    _account(emulator, wish).allow_list = wish["addresses"]


def _profile(emulator: Emulator, wish: Wish) -> None:
    """Take one of the named profiles, with single delays changed."""
    delays = PROFILES[wish["name"]] if "name" in wish else emulator.config.delays
    emulator.config = replace(emulator.config, delays=replace(delays, **wish.get("delays", {})))


def _refusal(emulator: Emulator, wish: Wish) -> None:
    """Choose the shape in which a wrong key is refused."""
    emulator.config = replace(emulator.config, refusal=wish["shape"])


def _charges(emulator: Emulator, wish: Wish) -> list[dict[str, Any]]:
    return [asdict(line) for line in emulator.books.charges if _fits(asdict(line), wish, ("label", "kind"))]


def _calls(emulator: Emulator, wish: Wish) -> list[dict[str, Any]]:
    return [asdict(call) for call in emulator.calls if _fits(asdict(call), wish, ("action", "label", "result"))]


def _violations(emulator: Emulator, wish: Wish) -> list[str]:
    """What no product run may do: a forbidden action, a second purchase for one label, an unexplained charge."""
    del wish
    found = [f"{call.action} was called" for call in emulator.calls if call.violation]
    bought = [line for line in emulator.books.charges if not line.by_hook]
    found += [f"a charge for {line.kind} by {line.action}" for line in bought if line.kind not in {"server", "ip"}]
    labels = [line.label for line in bought if line.kind == "server"]
    return found + [
        f"{labels.count(label)} servers charged for {label}" for label in sorted(set(labels)) if labels.count(label) > 1
    ]


def _servers(emulator: Emulator, wish: Wish) -> list[dict[str, Any]]:
    """The truth about our machines, delays and shapes aside, passwords left out."""
    now = emulator.clock.now()
    machines = [m for m in emulator.books.machines.values() if m.account == wish.get("account", "ours")]
    return [
        {
            "serviceid": machine.serviceid,
            "label": machine.label,
            "host": machine.host,
            "main_ip": machine.main_ip,
            "shown_ip": address_of(machine, now),
            "extra_ips": [extra.ip for extra in machine.extra],
            "status": status_of(machine, now)[0],
            "locked": machine.locked,
            "failure": machine.failure,
            "gone": machine.gone,
        }
        for machine in machines
        if not machine.gone or wish.get("gone")
    ]


def _fits(line: Wish, wish: Wish, names: tuple[str, ...]) -> bool:
    return all(wish.get(name) in {None, line[name]} for name in names)


HOOKS: Mapping[str, Hook] = {
    "buy_ip": _buy_ip,
    "create_in_panel": _create,
    "delete_in_panel": _delete,
    "rename_in_panel": _rename,
    "lock_in_panel": _lock,
    "reboot_in_panel": _reboot,
    "suspend": _suspend,
    "unsuspend": _unsuspend,
    "place_smtp_filter": _place_filter,
    "clear_smtp_filter": _clear_filter,
    "port25": _port25,
    "rotate_key": _rotate_key,
    "expire_key": _expire_key,
    "set_allow_list": _set_allow_list,
    "profile": _profile,
    "refusal": _refusal,
    "charges": _charges,
    "calls": _calls,
    "violations": _violations,
    "servers": _servers,
}
