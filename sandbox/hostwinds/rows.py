"""How a server looks on the wire: about fifty fields of mixed types, and the odd shapes a fault may give them."""

import random
import time
from collections.abc import Mapping
from typing import Any

from sandbox.hostwinds.faults import SHAPES, Fault, Faults
from sandbox.hostwinds.model import Machine

Row = dict[str, Any]

STRINGY = ("ram", "cpu", "disk", "is_suspended", "locked", "power_state", "bandwidth_used", "location_id")

STRINGY_SHARE = 0.3


def stamp(at: float) -> str:
    """Write a time as the vendor does: without a zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def status_of(machine: Machine, now: float) -> tuple[str, str | None]:
    """Status word and task at a moment."""
    if machine.suspended:
        return "SUSPENDED", None
    being_slowed = machine.quirks.get("boot_slow", {}).get("armed", False)
    if now < machine.active_at or "stuck_build" in machine.quirks or being_slowed:
        return "BUILD", "spawning"
    if machine.failure or "build_error" in machine.quirks:
        return "ERROR", None
    if machine.stopped:
        return "SHUTOFF", None
    return "ACTIVE", "networking" if now < machine.settled_at else "rebooting" if now < machine.busy_until else None


def address_of(machine: Machine, now: float) -> str:
    """The main address as it is shown: empty while building, and another one first where that was armed."""
    if status_of(machine, now)[0] == "BUILD":
        return ""
    return machine.building_ip if machine.building_ip and now < machine.settled_at else machine.main_ip


def full_row(machine: Machine, now: float, seed: str) -> Row:
    """One instance object; numbers come as strings here and there, always the same for the same seed."""
    status, task = status_of(machine, now)
    building = status == "BUILD"
    row: Row = {
        "serviceid": machine.serviceid,
        "userid": 1 if machine.account == "ours" else 2,
        "location_id": int(machine.location_id) if machine.location_id.isdecimal() else machine.location_id,
        "server_uuid": machine.uuid,
        "volume_uuid": None,
        "password": machine.password,
        "port_uuid": machine.uuid[::-1],
        "main_ip": address_of(machine, now),
        "private_ip": "10.0.0.10",
        "ips": None,
        "upgrade_available": 0,
        "is_suspended": int(machine.suspended),
        "configkey": f"CANARY-configkey-{machine.serviceid}",
        "ssh_keys": [],
        "hourly": 0,
        "bandwidth": 2000,
        "pswd_changed": stamp(machine.created_at),
        "srvrname": machine.label,
        "template_uuid": machine.template,
        "app_id": None,
        "locked": int(machine.locked),
        "hostname": machine.hostname,
        "product_id": machine.rid,
        "billingcycle": machine.billingcycle,
        "product_name": "Unmanaged Linux",
        "disk_type": "ssd",
        "upgrade_ram": "",
        "upgrade_cpu": "",
        "upgrade_disk": "",
        "bandwidth_used": 12345,
        "mac_address": _mac(machine.main_ip),
        "status": status,
        "disp_status": "Building" if building else "Active",
        "image": {"name": "Debian 12"},
        "ip_v6": "",
        "flavor": {},
        "vm_state": "building" if building else status.lower(),
        "task_state": task,
        "image_ref": "",
        "ram": 2048,
        "cpu": 1,
        "disk": 50,
        "created_at": stamp(machine.created_at),
        "name": f"hwsrv-{machine.number}",
        "launched_at": None if building else stamp(machine.active_at),
        "updated_at": stamp(now),
        "power_state": 0 if building else 1,
        "host": "h1",
        "x_unheard_of": {"nested": [1, "2", None]},  # the vendor adds fields without notice
    }
    dice = random.Random(seed)  # noqa: S311 - a mixture of types, not a secret
    return row | {name: str(row[name]) for name in STRINGY if dice.random() < STRINGY_SHARE}


def _mac(ip: str) -> str:
    return "02:00:" + ":".join(f"{int(octet):02x}" for octet in ip.split("."))


def shapes_for(faults: Faults, action: str) -> Mapping[str, Fault]:
    """The shape faults that this reply uses up."""
    taken = ((name, faults.take(name, action)) for name in sorted(SHAPES))
    return {name: fault for name, fault in taken if fault}


def bend_row(row: Row, shapes: Mapping[str, Fault], *, first: bool = True) -> Row:
    """Give one row the odd shapes that were armed."""
    row = dict(row)
    if "missing_task_state" in shapes:
        del row["task_state"]
    if "numbers_as_strings" in shapes:
        row = {name: str(value) if type(value) is int else value for name, value in row.items()}
    if "object_as_empty_list" in shapes:
        row |= {"image": [], "flavor": []}
    if "null_bandwidth" in shapes:
        row |= {"bandwidth": None, "bandwidth_used": None}
    if "ips_string" in shapes:
        row["ips"] = row["main_ip"]
    if "ips_null" in shapes:
        row["ips"] = None
    if "lower_case_status" in shapes:
        row["status"] = str(row["status"]).lower()
    if "unknown_status" in shapes:
        row["status"] = shapes["unknown_status"].options.get("word", "SHELVED_OFFLOADED")
    if "row_without_serviceid" in shapes and first:
        del row["serviceid"]
    return row


def bend_list(rows: list[Row], shapes: Mapping[str, Fault]) -> Any:
    """A list, or the object keyed by number that PHP makes of one with gaps."""
    bent = [bend_row(row, shapes, first=number == 0) for number, row in enumerate(rows)]
    if "list_as_object" in shapes:
        return {str(row.pop("serviceid", number)): row for number, row in enumerate(bent)}
    return bent


def wrap(payload: Any, shapes: Mapping[str, Fault]) -> Any:
    """Put an answer into its `success` wrapper, unless that was taken away."""
    return payload if "no_success_wrapper" in shapes else {"success": payload}
