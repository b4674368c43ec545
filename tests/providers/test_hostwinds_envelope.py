import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.hostwinds import envelope
from providers.hostwinds.types import Kind
from providers.vps import ServerState

WIRE: dict[str, Any] = json.loads(Path(__file__).with_name("hostwinds_fixtures.json").read_text())
MAIN = IPv4Address("192.0.2.10")


def body(name: str) -> bytes:
    entry = WIRE[name]
    return entry["text"].encode() if "text" in entry else json.dumps(entry["json"]).encode()


def answer(name: str) -> Any:
    return envelope.parse(body(name), changes_state=False)


def anything(_: IPv4Address) -> bool:
    return True


@pytest.mark.parametrize(
    ("name", "changes_state", "kind"),
    [
        ("get_instance", False, Kind.PAYLOAD),
        ("get_instances", False, Kind.PAYLOAD),
        ("get_instances_empty", False, Kind.PAYLOAD),
        ("get_instances_empty", True, Kind.UNRECOGNISED),
        ("get_instance_ips", False, Kind.PAYLOAD),
        ("check_serviceid_ok", False, Kind.PAYLOAD),
        ("check_serviceid_no", False, Kind.PAYLOAD),
        ("get_instance_bare", False, Kind.PAYLOAD),
        ("get_instance", True, Kind.UNRECOGNISED),
        ("add_instance_ok", True, Kind.ACCEPTED),
        ("add_instance_paid_only", True, Kind.ACCEPTED),
        ("terminate_ok", True, Kind.ACCEPTED),
        ("success_with_error_text", True, Kind.ACCEPTED),
        ("add_instance_partial", True, Kind.PARTIAL),
        ("add_instance_payment_declined", True, Kind.REFUSED),
        ("error_auth_list", True, Kind.REFUSED),
        ("error_auth_bare", False, Kind.REFUSED),
        ("error_mixed_case", True, Kind.REFUSED),
        ("change_accepted_empty_list", True, Kind.UNRECOGNISED),
        ("change_accepted_empty_list", False, Kind.PAYLOAD),
        ("empty_body", False, Kind.UNRECOGNISED),
        ("truncated_json", True, Kind.UNRECOGNISED),
        ("cloudflare_html", False, Kind.UNRECOGNISED),
    ],
)
def test_every_known_body_is_one_of_five_kinds(name: str, changes_state: bool, kind: Kind) -> None:
    assert envelope.parse(body(name), changes_state=changes_state).kind is kind


@pytest.mark.parametrize(
    "document",
    [
        b"{}",
        b"null",
        b"7",
        b'"success"',
        b'[{"result":"maybe"}]',
        b'[{"result":null}]',
        b'[{"result":"success"},{"serviceid":1}]',
        b"[" * 100_000,
        b"\xff\xfe\xff",
    ],
)
@pytest.mark.parametrize("changes_state", [True, False])
def test_what_fits_no_shape_is_not_recognised(document: bytes, changes_state: bool) -> None:
    assert envelope.parse(document, changes_state=changes_state).kind is Kind.UNRECOGNISED


def test_an_error_before_a_success_is_partial_too() -> None:
    items = list(reversed(WIRE["add_instance_partial"]["json"]))
    assert envelope.parse(json.dumps(items).encode(), changes_state=True).kind is Kind.PARTIAL


@given(st.binary() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_body_makes_the_parser_raise(document: bytes | str) -> None:
    raw = document.encode() if isinstance(document, str) else document
    for changes_state in (True, False):
        reply = envelope.parse(raw, changes_state=changes_state)
        envelope.servers(reply, anything)
        envelope.server(reply, "1", anything)
        envelope.addresses(reply, anything)
        envelope.smtp_filters(reply)
        envelope.firewall(reply)
        envelope.root_password(reply)


def test_a_payload_without_its_wrapper_is_marked() -> None:
    assert answer("get_instance_bare").bare
    assert not answer("get_instance").bare


def test_a_reply_does_not_print_what_it_carries() -> None:
    assert "CANARY" not in repr(answer("get_instance"))


def test_a_server_keeps_what_we_need_and_no_secret() -> None:
    server = envelope.server(answer("get_instance"), "900001", anything)
    assert server is not None
    assert (server.provider_id, server.token, server.state) == ("900001", "pm-test-t1-01j0", ServerState.ACTIVE)
    assert (server.ipv4_main, server.busy, server.locked) == (MAIN, False, False)
    assert (server.region, server.image) == ("12", "33333333-3333-4333-8333-333333333333")
    assert server.details["ram"] == 2048
    for forbidden in ("CANARY", "00:00:5e:00:53:01", "10.0.0.10", "22222222-2222"):
        assert forbidden not in repr(server)


def test_numbers_may_come_as_strings_and_as_null() -> None:
    server = envelope.server(answer("get_instance_numbers_as_strings"), "900001", anything)
    assert server is not None
    assert (server.locked, server.state) == (True, ServerState.ACTIVE)
    assert (server.details["ram"], server.details["bandwidth"]) == (2048, None)


def test_a_building_server_is_busy_and_has_no_address() -> None:
    server = envelope.server(answer("get_instance_building"), "900001", anything)
    assert server is not None
    assert (server.state, server.busy, server.ipv4_main) == (ServerState.BUILDING, True, None)


def test_a_missing_task_state_stays_missing() -> None:
    server = envelope.server(answer("get_instance_without_task_state"), "900001", anything)
    assert server is not None
    assert not server.busy
    assert "task_state" not in server.details


@pytest.mark.parametrize(
    ("word", "suspended", "state"),
    [
        ("ACTIVE", 0, ServerState.ACTIVE),
        ("active", "0", ServerState.ACTIVE),
        ("Build", 0, ServerState.BUILDING),
        ("RESCUE", 0, ServerState.STOPPED),
        ("ERROR", 0, ServerState.ERROR),
        ("SOFT_DELETED", 0, ServerState.DELETED),
        ("SUSPENDED", 0, ServerState.SUSPENDED),
        ("ACTIVE", 1, ServerState.SUSPENDED),
        ("ACTIVE", "1", ServerState.SUSPENDED),
        ("ACTIVE", True, ServerState.SUSPENDED),
        ("MELTED", 0, ServerState.UNKNOWN),
        (None, 0, ServerState.UNKNOWN),
    ],
)
def test_a_status_word_becomes_a_state(word: str | None, suspended: object, state: ServerState) -> None:
    server = envelope.server_of({"serviceid": 1, "status": word, "is_suspended": suspended}, anything)
    assert server is not None
    assert server.state is state


@pytest.mark.parametrize("serviceid", [None, "", 0, "0", True, -1, "x1", 1.5, [1], "9" * 40])
def test_a_row_without_a_usable_id_is_no_server(serviceid: object) -> None:
    assert envelope.server_of({"serviceid": serviceid, "status": "ACTIVE"}, anything) is None


def test_a_list_may_come_as_an_object_keyed_by_id() -> None:
    rows = envelope.servers(answer("get_instances_as_object"), anything)
    assert rows is not None
    assert [server.provider_id for server in rows.servers] == ["900001"]


def test_rows_without_an_id_are_left_out_and_counted() -> None:
    rows = envelope.servers(answer("get_instances_row_without_serviceid"), anything)
    assert rows is not None
    assert (len(rows.servers), rows.skipped, rows.skipped_tokens) == (1, 1, {"pm-test-t1-01j0"})


def test_a_single_object_is_not_taken_for_a_list() -> None:
    assert envelope.servers(answer("get_instance"), anything) is None


def test_a_list_is_not_taken_for_one_server() -> None:
    assert envelope.server(answer("get_instances"), "900001", anything) is None


def test_another_server_than_the_one_asked_for_is_refused() -> None:
    assert envelope.server(answer("get_instance"), "900002", anything) is None


def test_an_unusable_address_is_no_address() -> None:
    server = envelope.server(answer("get_instance"), "900001", IPv4Address.is_global.fget)
    assert server is not None
    assert server.ipv4_main is None


@pytest.mark.parametrize(
    "payload",
    [
        {"IP Addresses": [{"ip": "192.0.2.10"}, {"ip": "192.0.2.11"}]},
        {"IP Addresses": {"0": {"ip": "192.0.2.10"}, "3": {"ip": "192.0.2.11", "more": 1}}},
        [{"ip": "192.0.2.10"}, {"ip": "192.0.2.11"}, {"ip": None}],
        {"IP Addresses": ["192.0.2.10", "192.0.2.11"]},
    ],
)
def test_addresses_are_read_from_every_shape_of_list(payload: object) -> None:
    reply = envelope.parse(json.dumps({"success": payload}).encode(), changes_state=False)
    assert envelope.addresses(reply, anything) == [MAIN, IPv4Address("192.0.2.11")]


def test_no_list_of_addresses_is_not_an_empty_one() -> None:
    reply = envelope.parse(b'{"success": {"IP Addresses": null}}', changes_state=False)
    assert envelope.addresses(reply, anything) is None


def test_filters_are_none_or_named() -> None:
    assert envelope.smtp_filters(answer("smtp_filters_none")) == []
    (found,) = envelope.smtp_filters(answer("smtp_filters_hit")) or []
    assert (found.kind, found.created, found.invoice_id) == ("spam", "2026-01-02 03:04:05", "7")


def test_a_firewall_rule_may_mean_any_port() -> None:
    profile = envelope.firewall(answer("firewall_profile"))
    assert profile is not None
    assert [(rule.direction, rule.port_min) for rule in profile.rules] == [("ingress", 25), ("egress", None)]


def test_the_root_password_leaves_by_its_own_door_and_masked() -> None:
    password = envelope.root_password(answer("get_instance"))
    assert password is not None
    assert password.get_secret_value() == "CANARY-root-password"
    assert "CANARY" not in repr(password)
