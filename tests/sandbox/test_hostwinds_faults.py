import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.hostwinds.admin import AdminRefused
from sandbox.hostwinds.faults import GROUPS, NAMES
from tests.support.provider import TOKEN, Played, played_provider


@pytest.fixture
def played() -> Iterator[Played]:
    with played_provider() as running:
        yield running


def servers(played: Played) -> list[str]:
    return [server["label"] for server in played.admin.servers()]


def row(played: Played) -> dict[str, Any]:
    return played.rows()[0]


def test_a_switch_that_does_not_exist_cannot_be_armed(played: Played) -> None:
    with pytest.raises(AdminRefused, match="no fault is called"):
        played.admin.fault("lost_replies")
    with pytest.raises(AdminRefused, match="no fault has the option"):
        played.admin.fault("http_429", retry_afterwards=3)


def test_a_switch_meets_only_what_it_is_meant_for(played: Played) -> None:
    played.admin.fault("empty_body", action="add_instance", label="b", times=2, after=1)
    assert [played.post("get_instances").content != b""] == [True]
    lengths = [len(played.post("add_instance", srvrname=label).content) for label in ("a", "b", "b", "b", "b")]
    assert [length > 0 for length in lengths] == [True, True, False, False, True]


def test_for_ever_lasts_until_it_is_cleared(played: Played) -> None:
    played.admin.fault("http_503", times="forever")
    assert [played.post("get_instances").status_code for _ in range(3)] == [503] * 3
    played.admin.clear_faults()
    assert played.post("get_instances").status_code == 200


@pytest.mark.parametrize(("name", "effect"), [("lost_reply", True), ("drop_before", False)])
def test_a_reply_is_lost_with_or_without_effect(played: Played, name: str, effect: bool) -> None:
    played.admin.fault(name, action="add_instance")
    with pytest.raises(httpx.RemoteProtocolError):
        played.order()
    assert servers(played) == ([TOKEN] if effect else [])
    assert len(played.admin.charges()) == int(effect)
    assert len(played.admin.calls("add_instance")) == int(effect)


def test_a_held_reply_outlasts_the_callers_patience(played: Played) -> None:
    played.admin.fault("hang_reply", action="add_instance")
    with pytest.raises(httpx.ReadTimeout):
        played.post("add_instance", timeout_seconds=0.3, template="debian-12", rid="1", location_id="1", srvrname=TOKEN)
    assert servers(played) == [TOKEN]


def test_an_effect_may_come_long_after_the_connection_is_gone(played: Played) -> None:
    played.admin.fault("late_effect", action="add_instance", seconds=300)
    with pytest.raises(httpx.RemoteProtocolError):
        played.order()
    assert (servers(played), played.admin.charges()) == ([], [])
    played.admin.advance(300)
    assert played.admin.settle()
    assert servers(played) == [TOKEN]
    assert len(played.admin.charges(label=TOKEN)) == 1


def test_a_late_effect_needs_an_admitted_caller_too(played: Played) -> None:
    played.admin.ask("set_allow_list", addresses=["203.0.113.1"])
    played.admin.fault("late_effect", seconds=0)
    with pytest.raises(httpx.RemoteProtocolError):
        played.order()
    assert played.admin.settle()
    assert servers(played) == []


def test_a_shut_door_refuses_connections_and_opens_at_the_same_address(played: Played) -> None:
    played.admin.fault("refuse_connect")
    for _ in range(2):
        with pytest.raises(httpx.ConnectError):
            played.order()
    played.admin.clear_faults()
    assert played.rows() == []


def test_a_door_shut_for_a_time_opens_by_itself(played: Played) -> None:
    played.admin.fault("refuse_connect", seconds=0.2)
    with pytest.raises(httpx.ConnectError):
        played.rows()
    assert eventually(lambda: answers(played))


def eventually(is_true: Callable[[], bool]) -> bool:
    """Look again and again for half a minute."""
    deadline = time.monotonic() + 30
    while not (seen := is_true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return seen


def answers(played: Played) -> bool:
    try:
        return played.rows() == []
    except httpx.ConnectError:
        return False


BAD_REPLIES: dict[str, Callable[[httpx.Response], bool]] = {
    "html_520": lambda reply: reply.status_code == 520 and "html" in reply.headers["content-type"],
    "http_502": lambda reply: reply.status_code == 502,
    "http_503": lambda reply: reply.status_code == 503,
    "http_429": lambda reply: reply.status_code == 429 and reply.headers["retry-after"] == "7",
    "redirect_302": lambda reply: reply.status_code == 302 and "location" in reply.headers,
    "truncated_json": lambda reply: reply.status_code == 200 and bool(reply.content) and not _is_json(reply),
    "empty_body": lambda reply: reply.status_code == 200 and reply.content == b"",
    "unknown_shape": lambda reply: _is_json(reply) and "success" not in reply.text and "result" not in reply.text,
    "empty_list": lambda reply: reply.json() == [],
}


def _is_json(reply: httpx.Response) -> bool:
    try:
        reply.json()
    except json.JSONDecodeError:
        return False
    return True


def test_every_bad_reply_has_its_case() -> None:
    assert set(BAD_REPLIES) == GROUPS["bad reply"]


@pytest.mark.parametrize("name", sorted(BAD_REPLIES))
@pytest.mark.parametrize("effect", [True, False])
def test_a_bad_reply_comes_with_or_without_effect(played: Played, name: str, effect: bool) -> None:
    played.admin.fault(name, action="add_instance", effect=effect)
    reply = played.post("add_instance", template="debian-12", rid="1", location_id="1", srvrname=TOKEN)
    assert BAD_REPLIES[name](reply)
    assert servers(played) == ([TOKEN] if effect else [])
    assert len(played.admin.charges()) == int(effect)


@pytest.mark.parametrize(
    ("name", "options", "results", "made", "paid"),
    [
        ("partial_paid", {}, ["success", "error"], 1, 1),
        ("partial_paid", {"effect": False}, ["success", "error"], 0, 1),
        ("paid_only", {}, ["success"], 1, 1),
        ("paid_only", {"effect": False}, ["success"], 0, 1),
        ("payment_declined", {}, ["error"], 0, 0),
        ("hourly_disabled", {}, ["error"], 0, 0),
        ("double_create", {}, ["success", "success"], 2, 1),
    ],
)
def test_money_goes_wrong_in_its_ways(
    played: Played, name: str, options: dict[str, Any], results: list[str], made: int, paid: int
) -> None:
    played.admin.fault(name, **options)
    assert [item["result"] for item in played.order()] == results
    assert servers(played) == [TOKEN] * made
    assert len(played.admin.charges(label=TOKEN)) == paid


@pytest.mark.parametrize(
    ("name", "options", "labels"),
    [
        ("label_dropped", {}, [""]),
        ("label_truncated", {"length": 7}, ["pm-test"]),
        ("label_changed_case", {}, [TOKEN.upper()]),
        ("duplicate_label", {}, [TOKEN, TOKEN]),
    ],
)
def test_a_label_is_not_kept(played: Played, name: str, options: dict[str, Any], labels: list[str]) -> None:
    played.admin.fault(name, **options)
    played.order()
    assert [server["srvrname"] for server in played.rows()] == labels
    assert len(played.admin.charges(label=TOKEN)) == 1


@pytest.mark.parametrize(
    ("shape", "status", "kind"),
    [("auth_200", 200, list), ("auth_bare", 200, dict), ("auth_401", 401, list), ("auth_403", 403, list)],
)
def test_a_wrong_key_is_refused_in_the_shape_that_was_chosen(
    played: Played, shape: str, status: int, kind: type
) -> None:
    played.admin.ask("refusal", shape=shape)
    reply = played.post("add_instance", key="wrong")
    assert (reply.status_code, type(reply.json())) == (status, kind)
    assert "Not Authorized!" in reply.text
    assert servers(played) == []


@pytest.mark.parametrize("name", ["auth_200", "auth_bare", "auth_401", "auth_403", "edge_403_html"])
def test_a_good_key_is_refused_once_in_any_shape(played: Played, name: str) -> None:
    played.admin.fault(name)
    reply = played.post("add_instance", template="debian-12", rid="1", location_id="1", srvrname=TOKEN)
    assert reply.status_code in {200, 401, 403}
    assert "success" not in reply.text
    assert servers(played) == []
    assert played.rows() == []


@pytest.mark.parametrize("name", ["key_expired", "peer_not_listed"])
def test_a_key_may_fail_for_one_request(played: Played, name: str) -> None:
    played.admin.fault(name)
    assert "Not Authorized!" in played.post("get_instances").text
    assert played.rows() == []


def test_a_key_dies_when_its_time_has_come(played: Played) -> None:
    played.admin.ask("expire_key", after_seconds=3600)
    assert played.rows() == []
    played.admin.advance(3600)
    assert "Not Authorized!" in played.post("get_instances").text


def test_a_key_works_from_listed_addresses_only(played: Played) -> None:
    played.admin.ask("set_allow_list", addresses=["203.0.113.0/24"])
    assert "Not Authorized!" in played.post("get_instances").text
    played.admin.ask("set_allow_list", addresses=["203.0.113.0/24", "127.0.0.1"])
    assert played.rows() == []


def test_a_key_never_works_over_ipv6() -> None:
    with played_provider(listen="::1") as played:
        assert "Not Authorized!" in played.post("get_instances").text


def test_a_rotated_key_replaces_the_old_one(played: Played) -> None:
    old = played.provider.api_key
    assert played.admin.ask("rotate_key", key="new-key") == "new-key"
    assert "Not Authorized!" in played.post("get_instances", key=old).text
    assert played.rows() == []


SHAPES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = {
    "object_as_empty_list": ({}, lambda one: one["image"] == [] and one["flavor"] == []),
    "numbers_as_strings": ({}, lambda one: isinstance(one["serviceid"], str) and one["is_suspended"] == "0"),
    "null_bandwidth": ({}, lambda one: one["bandwidth"] is None and one["bandwidth_used"] is None),
    "ips_null": ({}, lambda one: one["ips"] is None),
    "ips_string": ({}, lambda one: one["ips"] == one["main_ip"]),
    "missing_task_state": ({}, lambda one: "task_state" not in one),
    "lower_case_status": ({}, lambda one: one["status"] == "active"),
    "unknown_status": ({"word": "MELTED"}, lambda one: one["status"] == "MELTED"),
    "row_without_serviceid": ({}, lambda one: "serviceid" not in one),
}


def test_every_shape_has_its_case() -> None:
    assert {*SHAPES, "list_as_object", "no_success_wrapper"} == GROUPS["shapes"]


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_row_takes_an_odd_shape_once(played: Played, name: str) -> None:
    options, is_odd = SHAPES[name]
    played.order()
    serviceid = played.admin.servers()[0]["serviceid"]
    played.admin.fault(name, action="get_instances", **options)
    assert is_odd(row(played))
    played.admin.fault(name, action="get_instance", **options)
    assert is_odd(played.call("get_instance", serviceid=serviceid)["success"])
    assert name == "ips_null" or not is_odd(row(played))


def test_a_list_becomes_an_object_and_a_wrapper_goes_missing(played: Played) -> None:
    played.order()
    serviceid = str(played.admin.servers()[0]["serviceid"])
    played.admin.fault("list_as_object")
    assert list(played.call("get_instances")["success"]) == [serviceid]
    played.admin.fault("no_success_wrapper")
    assert played.call("get_instances")[0]["srvrname"] == TOKEN


def test_a_list_lags_behind(played: Played) -> None:
    played.order()
    serviceid = played.admin.servers()[0]["serviceid"]
    played.admin.fault("stale_list", seconds=3600)
    assert played.rows() == []
    played.admin.fault("stale_list", seconds=3600)
    assert "success" in played.call("get_instance", serviceid=serviceid)
    played.admin.clear_faults()
    assert len(played.rows()) == 1


def test_a_server_is_missing_from_a_list_once(played: Played) -> None:
    played.order("a")
    played.order("b")
    played.admin.fault("missing_from_list_once", label="a")
    assert [server["srvrname"] for server in played.rows()] == ["b"]
    assert len(played.rows()) == 2


def test_a_read_is_slow(played: Played) -> None:
    played.admin.fault("slow_read", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        played.post("get_instances", timeout_seconds=0.2)


@pytest.mark.parametrize(
    ("name", "status"), [("stuck_build", "BUILD"), ("build_error", "ERROR"), ("suspend", "SUSPENDED")]
)
def test_a_build_goes_wrong(played: Played, name: str, status: str) -> None:
    played.admin.fault(name)
    played.order()
    played.admin.advance(3600)
    assert row(played)["status"] == status
    assert row(played)["is_suspended"] in ([1, "1"] if name == "suspend" else [0, "0"])


def test_the_address_changes_during_the_build(played: Played) -> None:
    played.admin.profile("instant", task_clear_after=60)
    played.admin.fault("ip_changes_during_build")
    played.order()
    before = row(played)["main_ip"]
    played.admin.advance(60)
    after = row(played)["main_ip"]
    assert before
    assert before != after
    assert played.wishes("create_host")[0][2] == after


@pytest.mark.parametrize(("name", "hosts"), [("ssh_never", 0), ("boot_degraded", 1), ("boot_slow", 1), ("ssh_flap", 1)])
def test_a_host_boots_badly(played: Played, name: str, hosts: int) -> None:
    played.admin.fault(name)
    played.order()
    assert len(played.wishes("create_host")) == hosts
    assert eventually(lambda: len(played.wishes("exec")) == hosts)  # some arrangements run beside the creation
    assert row(played)["status"] == "ACTIVE"


def test_changes_are_accepted_without_effect(played: Played) -> None:
    played.order()
    serviceid, ip = row(played)["serviceid"], row(played)["main_ip"]
    named = len(played.wishes("set_ptr"))
    played.admin.fault("accept_without_effect", times=3)
    for action, form in (("terminate", {}), ("shutdown", {}), ("set_rdns", {"ip": ip, "rdns": "a.example"})):
        assert played.call(action, serviceid=serviceid, **form)[0]["result"] == "success"
    assert row(played)["status"] == "ACTIVE"
    assert len(played.wishes("set_ptr")) == named
    played.admin.fault("ptr_never")
    played.call("set_rdns", serviceid=serviceid, ip=ip, rdns="a.example")
    assert len(played.wishes("set_ptr")) == named


def test_address_changes_stop_having_an_effect(played: Played) -> None:
    played.order()
    serviceid, before = row(played)["serviceid"], row(played)["main_ip"]
    played.admin.fault("ip_cooldown", changes=0)
    assert played.call("change_main_ip", serviceid=serviceid)[0]["result"] == "success"
    assert row(played)["main_ip"] == before


@pytest.mark.parametrize(("scope", "reboot"), [("terminate", "success"), ("all", "error")])
def test_a_lock_may_refuse_more_than_termination(played: Played, scope: str, reboot: str) -> None:
    played.order()
    serviceid = row(played)["serviceid"]
    played.admin.ask("lock_in_panel", serviceid=serviceid)
    played.admin.fault("locked_refuses", scope=scope, times="forever")
    assert played.call("reboot", serviceid=serviceid)[0]["result"] == reboot
    assert played.call("terminate", serviceid=serviceid)[0]["result"] == "error"
    assert played.call("toggle_lock", serviceid=serviceid)[0]["result"] == "success"
    assert played.call("terminate", serviceid=serviceid)[0]["result"] == "success"


@pytest.mark.parametrize(
    ("name", "options", "wish"),
    [
        ("port25_blocked", {}, ("block_port25", "IP", "out", "on")),
        ("port25_in_blocked", {}, ("block_port25", "IP", "in", "on")),
        ("smtp_filter", {"type": "spam"}, ("block_port25", "IP", "out", "on")),
        ("ip_prelisted", {"zone": "dnsbl.example"}, ("list_address", "IP", "dnsbl.example", "127.0.0.2")),
        ("ip_not_routed", {}, ("route_address", "HOST", "IP", "off")),
    ],
)
def test_the_network_treats_a_new_address_badly(
    played: Played, name: str, options: dict[str, Any], wish: tuple[str, ...]
) -> None:
    played.admin.fault(name, **options)
    played.order()
    names = {"IP": row(played)["main_ip"], "HOST": f"s{row(played)['serviceid']}"}
    assert tuple(names.get(word, word) for word in wish) in played.wishes(wish[0])
    filters = played.call("get_smtp_filters", serviceid=row(played)["serviceid"])["success"]["spam"]
    assert [entry["type"] for entry in filters] == (["spam"] if name == "smtp_filter" else [])


def test_an_action_goes_out_of_the_catalogue(played: Played) -> None:
    played.admin.fault("action_gone", action="set_rdns", times="forever")
    assert played.call("set_rdns")[0]["ERROR"] == "6734"
    assert played.rows() == []


def test_every_switch_of_the_contract_is_tried_in_this_file() -> None:
    text = Path(__file__).read_text()
    assert [name for name in sorted(NAMES) if f'"{name}"' not in text] == []
