"""Reads every shape in which Hostwinds answers; pure, and the only place that sees a raw row.

Rows of servers carry the root password in clear, so a row is reduced here to an allow-list of fields
before anything leaves, and `root_password` is the single exception.
"""

import json
from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Any, cast

from pydantic import SecretStr

from providers.hostwinds.assumptions import STATES
from providers.hostwinds.types import FirewallProfile, FirewallRule, Item, Kind, Reply, ServerRows
from providers.vps import Server, ServerState, SmtpFilter

# Kept beside the fields that have a place of their own in `Server`; nothing else of a row survives.
DETAIL_TEXTS = ("status", "vm_state", "task_state", "hostname", "server_uuid", "billingcycle", "product_name", "ip_v6")
DETAIL_NUMBERS = ("ram", "cpu", "disk", "bandwidth", "bandwidth_used")

Usable = Callable[[IPv4Address], bool]


def parse(body: bytes, *, changes_state: bool) -> Reply:
    """Sort a body into one of five kinds; never raises, never looks at success texts."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return _unrecognised("no JSON")
    rows = cast("list[Any]", document) if isinstance(document, list) else [document]
    verdicts = [_mapping(row) for row in rows if "result" in _mapping(row)]
    if verdicts:
        return _items(verdicts) if len(verdicts) == len(rows) else _unrecognised("items and others")
    return _unrecognised("no items") if changes_state else _payload(document)


def servers(reply: Reply, usable: Usable) -> ServerRows | None:
    """The rows of a server list, or None when this is no list."""
    rows = _rows(reply.payload)
    if rows is None:
        return None
    found: list[Server] = []
    skipped_tokens: list[str] = []
    for row in rows:
        if server := server_of(row, usable):
            found.append(server)
        else:
            skipped_tokens.append(_text(row.get("srvrname")))
    return ServerRows(tuple(found), len(skipped_tokens), frozenset(filter(None, skipped_tokens)))


def server(reply: Reply, provider_id: str, usable: Usable) -> Server | None:
    """The one server that was asked for; None when the reply names another, or none."""
    found = server_of(_mapping(reply.payload), usable)
    return found if found and found.provider_id == provider_id else None


def server_of(row: Mapping[str, Any], usable: Usable) -> Server | None:
    """A row without its secrets; None without a usable `serviceid`."""
    if not (provider_id := _identifier(row.get("serviceid"))):
        return None
    return Server(
        provider="hostwinds",
        provider_id=provider_id,
        token=_text(row.get("srvrname")),
        state=_state(row),
        busy=bool(_text(row.get("task_state"))),
        locked=_flag(row.get("locked")),
        ipv4_main=_address(row.get("main_ip"), usable),
        image=_text(row.get("template_uuid")) or None,
        region=_text(row.get("location_id")) or None,
        created_at=_text(row.get("created_at")) or None,
        details=_details(row),
    )


def root_password(reply: Reply) -> SecretStr | None:
    """The only door through which a secret of a row leaves."""
    password = _mapping(reply.payload).get("password")
    return SecretStr(password) if isinstance(password, str) and password else None


def addresses(reply: Reply, usable: Usable) -> list[IPv4Address] | None:
    """All usable addresses of `get_instance_ips`; the key of its list has a space in it."""
    payload: Any = reply.payload
    if isinstance(payload, dict) and "IP Addresses" in payload:
        payload = cast("Mapping[str, Any]", payload)["IP Addresses"]
    rows = _values(payload)
    if rows is None:
        return None
    texts = [cast("Mapping[str, Any]", row).get("ip") if isinstance(row, dict) else row for row in rows]
    return [address for text in texts if (address := _address(text, usable))]


def smtp_filters(reply: Reply) -> list[SmtpFilter] | None:
    """Outgoing mail blocks; an empty list may stand for an empty object here (PHP arrays)."""
    if reply.payload == []:
        return []
    if not isinstance(reply.payload, dict):
        return None
    rows = _rows(cast("Mapping[str, Any]", reply.payload).get("spam", []))
    if rows is None:
        return None
    return [
        SmtpFilter(_text(row.get("type")), _text(row.get("created")), _text(row.get("invoice_id")) or None)
        for row in rows
    ]


def firewall(reply: Reply) -> FirewallProfile | None:
    """The profile in front of a server; None when the reply is no profile."""
    profile = _mapping(reply.payload)
    rows = _rows(profile.get("security_group_rules"))
    if rows is None:
        return None
    return FirewallProfile(_text(profile.get("name")), tuple(_rule(row) for row in rows))


def _unrecognised(reason: str) -> Reply:
    return Reply(Kind.UNRECOGNISED, reason=reason)


def _items(rows: list[Mapping[str, Any]]) -> Reply:
    results = [_text(row["result"]).lower() for row in rows]
    if not set(results) <= {"success", "error"}:
        return _unrecognised("unknown result word")
    items = tuple(_item(row, succeeded=result == "success") for row, result in zip(rows, results, strict=True))
    if all(item.succeeded for item in items):
        return Reply(Kind.ACCEPTED, items)
    return Reply(Kind.PARTIAL if any(item.succeeded for item in items) else Kind.REFUSED, items)


def _item(row: Mapping[str, Any], *, succeeded: bool) -> Item:
    return Item(succeeded, _text(row.get("action")), _text(row.get("message")), _text(row.get("ERROR")))


def _payload(document: Any) -> Reply:
    if isinstance(document, dict) and "success" in document:
        return Reply(Kind.PAYLOAD, payload=cast("Mapping[str, Any]", document)["success"])
    if isinstance(document, list) or (isinstance(document, dict) and document):
        return Reply(Kind.PAYLOAD, payload=document, bare=True)
    return _unrecognised("unknown shape")


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _values(value: Any) -> list[Any] | None:
    """A list, which PHP may also write as an object keyed by numbers."""
    if isinstance(value, list):
        return cast("list[Any]", value)
    if isinstance(value, dict) and all(str(key).isdecimal() for key in cast("Mapping[str, Any]", value)):
        return list(cast("Mapping[str, Any]", value).values())
    return None


def _rows(value: Any) -> list[Mapping[str, Any]] | None:
    """Objects of a list; the key of a keyed object becomes the id of a row that has none."""
    if (values := _values(value)) is None:
        return None
    if isinstance(value, dict):
        keyed = cast("Mapping[str, Any]", value).items()
        return [{"serviceid": key, **_mapping(row)} for key, row in keyed]
    return [_mapping(row) for row in values]


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _number(value: Any) -> int | None:
    text = _text(value)
    return int(text) if text.isdecimal() and len(text) < len(str(2**63)) else None


def _flag(value: Any) -> bool:
    return value is True or _text(value) == "1"


def _identifier(value: Any) -> str:
    """A positive number as text; the empty string otherwise."""
    return str(number) if (number := _number(value)) else ""


def _address(value: Any, usable: Usable) -> IPv4Address | None:
    try:
        address = IPv4Address(_text(value))
    except AddressValueError:
        return None
    return address if usable(address) else None


def _state(row: Mapping[str, Any]) -> ServerState:
    if _flag(row.get("is_suspended")):
        return ServerState.SUSPENDED  # wins over any status word
    return STATES.get(_text(row.get("status")).upper(), ServerState.UNKNOWN)


def _details(row: Mapping[str, Any]) -> dict[str, Any]:
    """Allow-listed leftovers. A missing `task_state` stays missing: a list row without it proves nothing."""
    texts = {name: _text(row[name]) for name in DETAIL_TEXTS if name in row}
    return texts | {name: _number(row[name]) for name in DETAIL_NUMBERS if name in row}


def _rule(row: Mapping[str, Any]) -> FirewallRule:
    return FirewallRule(
        _text(row.get("direction")),
        _text(row.get("protocol")) or None,
        _number(row.get("port_range_min")),
        _number(row.get("port_range_max")),
    )
