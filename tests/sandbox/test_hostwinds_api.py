import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.hostwinds.config import EmulatorConfig
from tests.support.provider import ORDER, TOKEN, Played, played_provider

BAD_ID = [{"result": "error", "message": "A valid serviceid is required."}]


@pytest.fixture
def played() -> Iterator[Played]:
    with played_provider() as running:
        yield running


def untitled(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.items() if name != "action"} for item in items]


def server(played: Played) -> str:
    played.order()
    return str(played.rows()[0]["serviceid"])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_posts_are_answered(played: Played, method: str) -> None:
    assert httpx.request(method, played.provider.url).status_code == 404


def test_only_forms_at_the_one_path_are_answered(played: Played) -> None:
    url, key = played.provider.url, played.provider.api_key
    form = {"action": "get_instances", "API": key}
    assert httpx.post(url, json=form).status_code == 404
    assert httpx.post(url, data=form, files={"x": b""}).status_code == 404
    assert httpx.post(f"{url}?API={key}", data=form).status_code == 404
    assert httpx.post(url.replace("cloud", "vps"), data=form).status_code == 404
    assert httpx.post(url, data=form).json() == {"success": []}
    assert [call["action"] for call in played.admin.calls()] == ["get_instances"]


def test_an_unknown_action_is_refused_by_its_number(played: Played) -> None:
    assert played.call("list_everything") == [{"result": "error", "message": "Invalid Action.", "ERROR": "6734"}]


@pytest.mark.parametrize("action", ["get_instance", "get_instance_ips", "terminate", "set_rdns", "toggle_lock"])
def test_missing_unknown_and_foreign_ids_get_one_answer(played: Played, action: str) -> None:
    strangers = str(next(iter(played.provider.emulator.books.machines)))
    for form in ({}, {"serviceid": ""}, {"serviceid": "1"}, {"serviceid": "x"}, {"serviceid": strangers}):
        assert untitled(played.call(action, **form)) == BAD_ID
    assert not played.provider.emulator.books.machines[int(strangers)].gone


def test_an_order_names_no_server_and_makes_one(played: Played) -> None:
    items = played.order()
    assert [(item["result"], item["action"]) for item in items] == [
        ("success", "Invoice Paid"),
        ("success", "Add Instance"),
    ]
    (row,) = played.rows()
    assert "serviceid" not in str(items)
    assert (row["srvrname"], row["status"], row["task_state"]) == (TOKEN, "ACTIVE", None)
    assert row["main_ip"].startswith("198.51.100.")
    ((_, host, ip, image, hostname),) = played.wishes("create_host")
    assert (ip, image, hostname) == (row["main_ip"], "bare", row["hostname"])
    assert host == f"s{row['serviceid']}"


def test_the_names_digits_are_not_the_serviceid(played: Played) -> None:
    played.order()
    (row,) = played.rows()
    assert row["hostname"].startswith("hwsrv-")
    assert str(row["serviceid"]) not in row["hostname"]
    played.order()
    assert len({server["hostname"] for server in played.rows()}) == 2


def test_labels_are_not_unique_and_quantity_multiplies(played: Played) -> None:
    played.order(qty="3")
    played.order()
    assert [row["srvrname"] for row in played.rows()] == [TOKEN] * 4
    assert len({row["main_ip"] for row in played.rows()}) == 4
    assert len(played.admin.charges(label=TOKEN, kind="server")) == 4


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"location_id": "99"}, "342432"),
        ({"location_id": ""}, "342432"),
        ({"template": "windows"}, "342433"),
        ({"rid": "0"}, "342434"),
        ({"qty": "0"}, "342435"),
        ({"qty": "many"}, "342435"),
        ({"billingcycle": "hourly"}, None),
    ],
)
def test_a_wrong_order_is_refused_and_costs_nothing(played: Played, wrong: dict[str, str], code: str | None) -> None:
    (item,) = played.order(**wrong)
    assert item["result"] == "error"
    assert item.get("ERROR") == code
    assert played.admin.charges() == []
    assert played.rows() == []


def test_a_server_passes_through_its_phases() -> None:
    with played_provider() as played:
        played.admin.profile("realistic")
        played.order()
        assert played.rows() == []
        played.admin.advance(60)
        (row,) = played.rows()
        assert (row["status"], row["task_state"], row["main_ip"]) == ("BUILD", "spawning", "")
        assert played.wishes("create_host") == []
        played.admin.advance(240)
        (row,) = played.rows()
        assert (row["status"], row["task_state"]) == ("ACTIVE", "networking")
        assert row["main_ip"]
        played.admin.advance(30)
        assert played.rows()[0]["task_state"] is None
        played.admin.advance(270)
        assert len(played.wishes("create_host")) == 1


def test_an_invisible_server_cannot_be_asked_for_either(played: Played) -> None:
    played.admin.profile("realistic")
    played.order()
    serviceid = played.admin.servers()[0]["serviceid"]
    assert untitled(played.call("get_instance", serviceid=serviceid)) == BAD_ID


def test_secrets_are_marked_in_every_row(played: Played) -> None:
    serviceid = server(played)
    for row in (*played.rows(), played.call("get_instance", serviceid=serviceid)["success"]):
        assert row["password"].startswith("CANARY-")
        assert row["configkey"].startswith("CANARY-")
        assert len(row) > 45


def test_numbers_come_as_numbers_and_as_text(played: Played) -> None:
    server(played)
    types = {type(played.rows()[0]["ram"]) for _ in range(40)}
    assert types == {int, str}


def test_a_reverse_name_is_set_after_its_delay(played: Played) -> None:
    serviceid = server(played)
    ip = played.rows()[0]["main_ip"]
    first = played.wishes("set_ptr")
    assert [wish[1:] for wish in first] == [(ip, played.rows()[0]["hostname"])]
    played.admin.profile("instant", ptr_delay=100)
    played.call("set_rdns", serviceid=serviceid, ip=ip, rdns="old.acme.example")
    played.call("set_rdns", serviceid=serviceid, ip=ip, rdata="mail.acme.example")
    assert played.wishes("set_ptr") == first
    played.admin.advance(100)
    assert played.wishes("set_ptr")[len(first) :] == [("set_ptr", ip, "mail.acme.example")]


def test_a_reverse_name_for_anothers_address_is_refused(played: Played) -> None:
    serviceid = server(played)
    assert played.call("set_rdns", serviceid=serviceid, ip="198.51.100.250", rdns="x.example")[0]["result"] == "error"


def test_power_reaches_the_host(played: Played) -> None:
    serviceid = server(played)
    assert played.call("shutdown", serviceid=serviceid)[0]["result"] == "success"
    assert played.rows()[0]["status"] == "SHUTOFF"
    assert played.wishes("route_address")[-1][-1] == "off"
    played.call("boot", serviceid=serviceid)
    assert played.rows()[0]["status"] == "ACTIVE"
    assert played.wishes("route_address")[-1][-1] == "on"
    played.call("reboot", serviceid=serviceid)
    assert len(played.wishes("restart_host")) == 2


def test_a_terminated_server_is_gone_after_its_delay_and_its_name_too(played: Played) -> None:
    serviceid = server(played)
    ip = played.rows()[0]["main_ip"]
    played.admin.profile("instant", terminate_after=60)
    (item,) = played.call("terminate", serviceid=serviceid)
    assert "action" not in item
    assert len(played.rows()) == 1
    played.admin.advance(60)
    assert played.wishes("destroy_host") == [("destroy_host", f"s{serviceid}")]
    assert played.rows() == []
    assert untitled(played.call("get_instance", serviceid=serviceid)) == BAD_ID
    assert ("set_ptr", ip, "") in played.hosts.wishes


def test_an_instant_end_is_seen_although_its_host_is_still_booting(played: Played) -> None:
    booted = threading.Event()
    played.hosts.create_host = lambda *_, **__: booted.wait(30)
    serviceid = server(played)
    played.call("terminate", serviceid=serviceid)
    assert played.rows() == []
    booted.set()
    assert played.wishes("destroy_host") == [("destroy_host", f"s{serviceid}")]


def test_a_lock_is_a_toggle(played: Played) -> None:
    serviceid = server(played)
    seen = []
    for _ in range(2):
        played.call("toggle_lock", serviceid=serviceid)
        seen.append(int(played.call("get_instance", serviceid=serviceid)["success"]["locked"]))
    assert seen == [1, 0]


def test_a_bought_address_is_listed_later_and_can_be_given_back(played: Played) -> None:
    serviceid = server(played)
    played.admin.profile("instant", ip_visible_after=67)
    (ip,) = played.admin.buy_ip(serviceid)

    def listed() -> list[str]:
        return [row["ip"] for row in played.call("get_instance_ips", serviceid=serviceid)["success"]["IP Addresses"]]

    main = played.rows()[0]["main_ip"]
    assert listed() == [main]
    played.admin.advance(67)
    assert listed() == [main, ip]
    assert played.call("delete_ip", serviceid=serviceid, ip=main)[0]["result"] == "error"
    assert played.call("delete_ip", serviceid=serviceid, ip=ip)[0]["result"] == "success"
    assert listed() == [main]
    (charge,) = played.admin.charges(kind="ip")
    assert (charge["amount"], charge["by_hook"]) == (4.99, True)


def test_the_vendors_call_for_an_address_exists_only_when_configured(played: Played) -> None:
    assert played.call("add_ip")[0]["ERROR"] == "6734"
    with played_provider(config=EmulatorConfig(add_ip_action="add_ip")) as other:
        other.call("add_ip", serviceid=server(other))
        assert [charge["by_hook"] for charge in other.admin.charges(kind="ip")] == [False]


def test_prices_are_those_of_managed_plans_unless_told_otherwise(played: Played) -> None:
    assert played.call("get_price_list")["success"]["1"]["monthly"] == "19.99"
    assert played.call("get_price_list", managed="0")["success"]["1"]["monthly"] == "9.99"


@pytest.mark.parametrize("action", ["get_locations", "get_public_images", "get_firewall_profiles", "get_smtp_filters"])
def test_catalogues_answer(played: Played, action: str) -> None:
    assert played.call(action)["success"]


def test_a_firewall_profile_can_be_chosen(played: Played) -> None:
    serviceid = server(played)
    played.call("set_instance_firewall", serviceid=serviceid, name="mail")
    assert played.call("get_instance_firewall_profile", serviceid=serviceid)["success"]["name"] == "mail"


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("change_main_ip", "ip_change"),
        ("fix_isp_blocked", "ip_change"),
        ("create_ip_cleanup_fee", "cleanup"),
        ("upgrade_instance", "upgrade"),
        ("change_billing_cycle", "upgrade"),
        ("upgrade_to_managed", "upgrade"),
        ("recreate", None),
        ("reinstall_instance", None),
        ("regenerate_networking", None),
        ("change_password", None),
    ],
)
def test_what_we_must_never_call_is_answered_charged_and_counted(played: Played, action: str, kind: str | None) -> None:
    assert played.admin.violations() == []
    assert played.call(action, serviceid=server(played))[0]["result"] == "success"
    assert f"{action} was called" in played.admin.violations()
    assert len(played.admin.charges(kind=kind)) == 1 if kind else True


def test_a_second_purchase_for_one_label_is_a_violation(played: Played) -> None:
    played.order()
    assert played.admin.violations() == []
    played.order()
    assert played.admin.violations() == [f"2 servers charged for {TOKEN}"]


def test_the_ledger_says_when_what_and_how_much(played: Played) -> None:
    serviceid = server(played)
    (charge,) = played.admin.charges(label=TOKEN)
    assert (charge["kind"], charge["action"], charge["amount"], charge["currency"]) == (
        "server",
        "add_instance",
        9.99,
        "USD",
    )
    assert str(charge["serviceid"]) == serviceid
    assert played.admin.charges(label="another") == []


def test_the_request_log_holds_no_key(played: Played) -> None:
    played.order()
    played.post("get_instances", key="CANARY-wrong-key")
    calls = played.admin.calls()
    assert [(call["action"], call["label"], call["result"]) for call in calls] == [
        ("add_instance", TOKEN, "success"),
        ("get_instances", "", "refused"),
    ]
    assert "CANARY" not in str(calls)
    assert played.provider.api_key not in str(calls)


def test_addresses_are_reused_only_after_they_were_given_up() -> None:
    config = EmulatorConfig(first_address=50, last_address=52)  # one is the stranger's
    with played_provider(config=config) as played:
        played.order("a")
        played.order("b")
        kept = {row["srvrname"]: row["main_ip"] for row in played.rows()}
        assert len(set(kept.values())) == 2
        played.call("terminate", serviceid=played.rows()[0]["serviceid"])
        played.admin.settle()
        played.order("c")
        assert next(row["main_ip"] for row in played.rows() if row["srvrname"] == "c") == kept["a"]


def test_an_order_needs_no_name(played: Played) -> None:
    assert played.call("add_instance", **ORDER)[1]["result"] == "success"
    assert played.rows()[0]["srvrname"] == ""
