import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import respx
from pydantic import SecretStr

from providers.errors import NotFound, ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.hostwinds import Hostwinds
from providers.vps import ServerSpec, ServerState, VpsProvider

WIRE: dict[str, Any] = json.loads(Path(__file__).with_name("hostwinds_fixtures.json").read_text())
URL = "https://api.example/cloud/api.php"
KEY = "CANARY-api key/+"
TOKEN = "pm-test-t1-01j0"
SPEC = ServerSpec(plan="52", image="33333333-3333-4333-8333-333333333333", region="12")
MAIN, EXTRA = IPv4Address("192.0.2.10"), IPv4Address("192.0.2.11")


def reply(name: str) -> httpx.Response:
    entry = WIRE[name]
    headers = {"content-type": entry.get("type", "application/json"), **entry.get("headers", {})}
    text = entry["text"] if "text" in entry else json.dumps(entry["json"])
    return httpx.Response(entry["status"], headers=headers, text=text)


@pytest.fixture
async def hostwinds() -> AsyncIterator[Hostwinds]:
    async with Hostwinds(
        api_key=SecretStr(KEY), base_url=URL, rate_per_second=10_000, burst=100, sandbox=True
    ) as client:
        yield client


@pytest.fixture
def api() -> respx.MockRouter:
    with respx.mock(assert_all_called=False) as router:
        yield router


def script(api: respx.MockRouter, *steps: httpx.Response | Exception) -> respx.Route:
    return api.post(URL).mock(side_effect=list(steps))


def sent(route: respx.Route) -> list[dict[str, list[str]]]:
    return [parse_qs(call.request.content.decode(), keep_blank_values=True) for call in route.calls]


def actions(route: respx.Route) -> list[str]:
    return [form["action"][0] for form in sent(route)]


def with_status(name: str, status: int) -> httpx.Response:
    answer = reply(name)
    answer.status_code = status
    return answer


READ: Callable[[Hostwinds], Awaitable[object]] = lambda client: client.list_servers()  # noqa: E731
CHANGE: Callable[[Hostwinds], Awaitable[object]] = lambda client: client.set_ptr("900001", MAIN, "mail.acme.example")  # noqa: E731
MONEY: Callable[[Hostwinds], Awaitable[object]] = lambda client: client.create_server(SPEC, TOKEN)  # noqa: E731

U, C, R = Unavailable, Unconfirmed, Rejected
FAILURES = [
    # what happened, and what it means for a read, a change, an order
    (httpx.ConnectError("refused"), U, U, U),
    (httpx.ConnectTimeout("slow"), U, U, U),
    (httpx.PoolTimeout("busy"), U, U, U),
    (httpx.ReadTimeout("slow"), U, C, C),
    (httpx.ReadError("reset"), U, C, C),
    (httpx.WriteError("reset"), U, C, C),
    (httpx.WriteTimeout("slow"), U, C, C),
    (httpx.RemoteProtocolError("dropped"), U, C, C),
    (httpx.CloseError("odd"), U, C, C),
    (httpx.DecodingError("not gzip"), U, C, C),
    *((httpx.Response(status), U, C, C) for status in (301, 302, 307, 500, 502, 503, 504, 520, 526)),
    (httpx.Response(302, json=[{"result": "success", "action": "Add Instance"}]), U, C, C),
    (with_status("add_instance_ok", 500), U, C, C),
    (reply("cloudflare_html"), U, C, C),
    (httpx.Response(200, html="<title>maintenance</title>"), U, C, C),
    (reply("empty_body"), U, C, C),
    (reply("truncated_json"), U, C, C),
    (httpx.Response(200, json={"surprise": True}), U, C, C),
    (httpx.Response(200, json={}), U, C, C),
    (httpx.Response(200, json=None), U, C, C),
    (reply("add_instance_partial"), U, C, C),
    (reply("too_many_requests"), U, U, C),
    (reply("error_auth_list"), Unauthorized, Unauthorized, Unauthorized),
    (reply("error_auth_bare"), Unauthorized, Unauthorized, Unauthorized),
    (with_status("error_auth_list", 401), Unauthorized, Unauthorized, Unauthorized),
    (with_status("error_auth_list", 403), Unauthorized, Unauthorized, Unauthorized),
    (reply("edge_403_html"), Unauthorized, Unauthorized, Unauthorized),
    (reply("error_serviceid"), NotFound, NotFound, NotFound),
    (reply("error_action"), R, R, R),
    (reply("error_location"), R, R, R),
    (reply("error_hourly"), R, R, R),
    (reply("error_toggle_lock"), R, R, R),
    (reply("error_mixed_case"), R, R, R),
    (reply("add_instance_payment_declined"), R, R, R),
    (with_status("error_location", 400), R, R, R),
    (with_status("error_location", 422), R, R, R),
    (httpx.Response(404, html="<title>404</title>"), U, C, C),
    (with_status("add_instance_ok", 400), U, C, C),
]


@pytest.mark.parametrize(("happening", "read", "change", "order"), FAILURES, ids=lambda value: repr(value)[:60])
async def test_a_failure_means_again_look_first_or_fix_something(
    api: respx.MockRouter,
    hostwinds: Hostwinds,
    happening: httpx.Response | Exception,
    read: type[ProviderError],
    change: type[ProviderError],
    order: type[ProviderError],
) -> None:
    route = script(api, *[happening] * 3)
    for call, expected in ((READ, read), (CHANGE, change), (MONEY, order)):
        with pytest.raises(ProviderError) as caught:
            await call(hostwinds)
        assert type(caught.value) is expected
    assert route.call_count == 3  # nothing was repeated


async def test_a_change_that_answers_with_an_empty_list_is_unconfirmed(
    api: respx.MockRouter, hostwinds: Hostwinds
) -> None:
    script(api, reply("change_accepted_empty_list"))
    with pytest.raises(Unconfirmed):
        await MONEY(hostwinds)


async def test_a_read_that_answers_with_an_empty_list_found_nothing(
    api: respx.MockRouter, hostwinds: Hostwinds
) -> None:
    script(api, reply("get_instances_empty"), reply("change_accepted_empty_list"))
    assert await hostwinds.find_by_token(TOKEN) == []
    assert await hostwinds.find_by_token(TOKEN) == []


@pytest.mark.parametrize("call", [READ, CHANGE, MONEY])
async def test_the_pause_that_a_busy_server_asks_for_is_passed_on(
    api: respx.MockRouter, hostwinds: Hostwinds, call: Callable[[Hostwinds], Awaitable[object]]
) -> None:
    script(api, reply("too_many_requests"))
    with pytest.raises(ProviderError) as caught:
        await call(hostwinds)
    assert caught.value.retry_after_seconds == 7


async def test_a_refused_key_names_the_three_causes_in_order(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, reply("error_auth_list"), reply("edge_403_html"))
    for _ in range(2):
        with pytest.raises(Unauthorized) as caught:
            await READ(hostwinds)
        causes = [caught.value.detail.index(word) for word in ("IPv4", "expired", "wrong")]
        assert causes == sorted(causes)
    assert "edge" in caught.value.detail


async def test_a_refusal_says_what_the_vendor_said_without_its_markup_deciding(
    api: respx.MockRouter, hostwinds: Hostwinds
) -> None:
    script(api, reply("error_location"))
    with pytest.raises(Rejected, match=r"hostwinds add_instance: .*Location Id is invalid.*342432"):
        await MONEY(hostwinds)


async def test_success_text_is_never_read(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, reply("success_with_error_text"))
    await CHANGE(hostwinds)


async def test_an_order_travels_as_a_form_and_never_in_the_address(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    route = script(api, reply("add_instance_ok"))
    spec = ServerSpec("52", "image-1", "12", ssh_key_names=("a", "b"))
    accepted = await hostwinds.create_server(spec, TOKEN)
    request = route.calls[0].request
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert sent(route) == [
        {
            "action": ["add_instance"],
            "API": [KEY],
            "template": ["image-1"],
            "rid": ["52"],
            "location_id": ["12"],
            "qty": ["1"],
            "srvrname": [TOKEN],
            "billingcycle": ["monthly"],
            "keys[]": ["a", "b"],
        }
    ]
    assert accepted.complete
    assert accepted.server is None


async def test_a_payment_alone_is_no_server(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, reply("add_instance_paid_only"))
    accepted = await hostwinds.create_server(SPEC, TOKEN)
    assert not accepted.complete
    assert "Invoice Paid" in accepted.evidence[0]


@pytest.mark.parametrize("token", ["", "PM-upper", "a" * 41, "under_score", "pm-x\n"])
async def test_a_token_that_may_not_come_back_is_never_sent(
    api: respx.MockRouter, hostwinds: Hostwinds, token: str
) -> None:
    route = script(api)
    with pytest.raises(Rejected):
        await hostwinds.create_server(SPEC, token)
    assert route.call_count == 0


async def test_a_token_is_found_exactly(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, *[reply("get_instances")] * 4)
    (server,) = await hostwinds.find_by_token(TOKEN)
    assert (server.provider_id, server.state, server.ipv4_main) == ("900001", ServerState.ACTIVE, MAIN)
    for other in (TOKEN.upper(), TOKEN[:-1], ""):
        assert await hostwinds.find_by_token(other) == []


async def test_two_servers_of_one_label_are_both_found(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, reply("get_instances_duplicate_label"))
    assert [server.provider_id for server in await hostwinds.find_by_token(TOKEN)] == ["900001", "900002"]


async def test_a_row_without_an_id_does_not_hide_that_our_server_exists(
    api: respx.MockRouter, hostwinds: Hostwinds
) -> None:
    script(api, httpx.Response(200, json={"success": [{"srvrname": TOKEN, "status": "ACTIVE"}]}))
    with pytest.raises(Unavailable):
        await hostwinds.find_by_token(TOKEN)
    assert hostwinds.oddities["row without serviceid"] == 1


async def test_an_answer_about_another_server_is_not_believed(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, reply("get_instance"))
    with pytest.raises(Unavailable):
        await hostwinds.get_server("900002")


async def test_a_bare_reply_is_accepted_and_counted(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, reply("get_instance_bare"))
    assert (await hostwinds.get_server("900001")).token == TOKEN
    assert hostwinds.oddities["bare reply"] == 1


async def test_an_unknown_status_word_is_logged_once(
    api: respx.MockRouter, hostwinds: Hostwinds, caplog: pytest.LogCaptureFixture
) -> None:
    odd = httpx.Response(200, json={"success": {"serviceid": 900001, "status": "MELTED"}})
    script(api, odd, odd)
    for _ in range(2):
        assert (await hostwinds.get_server("900001")).state is ServerState.UNKNOWN
    assert [record.levelname for record in caplog.records if "MELTED" in record.getMessage()] == ["WARNING"]


async def test_a_server_with_another_token_is_not_destroyed(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    route = script(api, reply("get_instance"))
    with pytest.raises(Rejected):
        await hostwinds.destroy_server("900001", "pm-test-t2-01j0")
    assert actions(route) == ["get_instance"]


async def test_a_suspended_server_is_neither_destroyed_nor_switched_on(
    api: respx.MockRouter, hostwinds: Hostwinds
) -> None:
    route = script(api, *[reply("get_instance_suspended")] * 3)
    with pytest.raises(Rejected):
        await hostwinds.destroy_server("900001", TOKEN)
    with pytest.raises(Rejected):
        await hostwinds.power("900001", "on")
    with pytest.raises(Rejected):
        await hostwinds.power("900001", "restart")
    assert set(actions(route)) == {"get_instance"}


async def test_a_server_of_ours_is_destroyed_once(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    route = script(api, reply("get_instance"), reply("terminate_ok"))
    await hostwinds.destroy_server("900001", TOKEN)
    assert actions(route) == ["get_instance", "terminate"]
    assert sent(route)[1]["serviceid"] == ["900001"]


async def test_power_uses_the_vendors_three_words(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    route = script(
        api, reply("get_instance"), reply("reboot_ok"), reply("reboot_ok"), reply("get_instance"), reply("reboot_ok")
    )
    for action in ("on", "off", "restart"):
        await hostwinds.power("900001", action)
    assert actions(route) == ["get_instance", "boot", "shutdown", "get_instance", "reboot"]


def locked(value: object) -> httpx.Response:
    row = {**WIRE["get_instance"]["json"]["success"], "locked": value}
    return httpx.Response(200, json={"success": row})


async def test_a_lock_that_is_right_already_is_not_toggled(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    route = script(api, locked("1"))
    await hostwinds.set_lock("900001", locked=True)
    assert actions(route) == ["get_instance"]


async def test_a_lock_is_toggled_and_read_back(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    route = script(api, locked(0), reply("toggle_lock_ok"), locked(1), locked(1), reply("toggle_lock_ok"), locked(1))
    await hostwinds.set_lock("900001", locked=True)
    with pytest.raises(Unconfirmed):
        await hostwinds.set_lock("900001", locked=False)
    assert actions(route) == ["get_instance", "toggle_lock", "get_instance"] * 2


async def test_addresses_are_listed_with_the_main_one(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, reply("get_instance_ips"))
    assert await hostwinds.list_ips("900001") == [MAIN, EXTRA]


async def test_the_main_address_is_never_given_back(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    route = script(
        api, reply("get_instance"), reply("get_instance_building"), reply("get_instance"), reply("delete_ip_ok")
    )
    with pytest.raises(Rejected):
        await hostwinds.remove_ip("900001", MAIN)
    with pytest.raises(Unavailable):
        await hostwinds.remove_ip("900001", EXTRA)  # the main address is unknown just now
    await hostwinds.remove_ip("900001", EXTRA)
    assert actions(route) == ["get_instance", "get_instance", "get_instance", "delete_ip"]
    assert sent(route)[-1]["ip"] == [str(EXTRA)]


async def test_no_address_is_bought_while_the_call_is_unknown(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    route = script(api)
    assert not hostwinds.capabilities.add_ip
    with pytest.raises(Rejected):
        await hostwinds.add_ip("900001")
    assert route.call_count == 0


async def test_a_configured_call_buys_an_address_as_a_money_call(api: respx.MockRouter) -> None:
    route = script(api, reply("reboot_ok"), reply("too_many_requests"))
    fields = {"serviceid": "{serviceid}", "qty": "1"}
    async with Hostwinds(
        api_key=SecretStr(KEY), base_url=URL, rate_per_second=1000, add_ip_action="buy_ip", add_ip_fields=fields
    ) as client:
        assert client.capabilities.add_ip
        await client.add_ip("900001")
        with pytest.raises(Unconfirmed):
            await client.add_ip("900001")
    assert sent(route)[0] == {"action": ["buy_ip"], "API": [KEY], "serviceid": ["900001"], "qty": ["1"]}


async def test_a_ptr_is_asked_for_in_lower_case_without_a_last_dot(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    route = script(api, reply("set_rdns_ok"))
    await hostwinds.set_ptr("900001", MAIN, "Mail.Acme.Example.")
    assert sent(route)[0]["rdns"] == ["mail.acme.example"]
    with pytest.raises(Rejected):
        await hostwinds.set_ptr("900001", MAIN, ".")


async def test_filters_and_firewall_are_read(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, reply("smtp_filters_none"), reply("smtp_filters_hit"), reply("firewall_profile"))
    assert await hostwinds.smtp_filters("900001") == []
    assert (await hostwinds.smtp_filters("900001"))[0].invoice_id == "7"
    assert (await hostwinds.firewall("900001")).name == "sandbox-profile"


async def test_catalogues_are_printed_without_secrets_and_a_missing_one_is_told(
    api: respx.MockRouter, hostwinds: Hostwinds
) -> None:
    rows = [{"name": "Debian 12", "password": "CANARY-x", "note": f"asked with {KEY}"}]
    listed = httpx.Response(200, json={"success": rows})
    route = script(api, listed, listed, reply("price_list"), reply("error_action"))
    lists = await hostwinds.catalogues()
    assert "9.99" in lists["get_price_list"]
    assert [form["managed"] for form in sent(route) if "managed" in form] == [["0"]]
    assert "Debian 12" in lists["get_public_images"]
    assert KEY not in str(lists)
    assert "CANARY" not in str(lists)
    assert lists["get_firewall_profiles"].startswith("refused: ")


async def test_a_probe_tells_which_reading_calls_exist_and_asks_for_no_real_server(
    api: respx.MockRouter, hostwinds: Hostwinds
) -> None:
    missing = reply("error_serviceid")
    route = script(api, missing, missing, reply("error_action"), missing)
    found = await hostwinds.probe()
    assert found["get_instance"] == found["get_instance_ips"] == "there"
    assert found["get_smtp_filters"].startswith("refused: ")
    assert {form["serviceid"][0] for form in sent(route)} == {"0"}


async def test_the_address_our_packets_leave_with_is_told(hostwinds: Hostwinds) -> None:
    async with Hostwinds(api_key=SecretStr(KEY), base_url="http://127.0.0.1:9/api.php", sandbox=True) as local:
        assert await local.source_address() == IPv4Address("127.0.0.1")


async def test_practice_addresses_count_in_a_practice_world_only(api: respx.MockRouter) -> None:
    script(api, reply("get_instance"), reply("get_instance_ips"))
    async with Hostwinds(api_key=SecretStr(KEY), base_url=URL, rate_per_second=1000) as client:
        assert (await client.get_server("900001")).ipv4_main is None
        assert await client.list_ips("900001") == []


@pytest.mark.parametrize(
    ("url", "sandbox"),
    [
        ("http://clients.vendor.example/api.php", False),
        ("http://clients.vendor.example/api.php", True),
        ("http://203.0.113.10:8080/api.php", False),
        ("http://127.0.0.1/api.php", False),
        ("https://clients.vendor.example/api.php?API=x", False),
        ("http://[::1]/api.php", True),
        ("ftp://203.0.113.10/", True),
        ("https:///api.php", True),
    ],
)
def test_the_key_travels_encrypted_or_stays_in_a_practice_world(url: str, sandbox: bool) -> None:
    with pytest.raises(ValueError, match="https"):
        Hostwinds(api_key=SecretStr(KEY), base_url=url, sandbox=sandbox)


def test_a_practice_world_may_be_reached_by_http() -> None:
    for host in ("127.0.0.1:9", "localhost:9", "203.0.113.10:8080"):
        Hostwinds(api_key=SecretStr(KEY), base_url=f"http://{host}/cloud/api.php", sandbox=True)


async def test_flows_may_take_it_for_any_provider(hostwinds: Hostwinds) -> None:
    provider: VpsProvider = hostwinds
    assert not provider.capabilities.create_returns_id


async def every_method(client: Hostwinds) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    yield client.list_servers
    yield lambda: client.find_by_token(TOKEN)
    yield lambda: client.get_server("900001")
    yield lambda: client.create_server(SPEC, TOKEN)
    yield lambda: client.destroy_server("900001", TOKEN)
    yield lambda: client.power("900001", "on")
    yield lambda: client.power("900001", "off")
    yield lambda: client.set_lock("900001", locked=True)
    yield lambda: client.list_ips("900001")
    yield lambda: client.remove_ip("900001", EXTRA)
    yield lambda: client.set_ptr("900001", MAIN, "mail.acme.example")
    yield lambda: client.smtp_filters("900001")
    yield lambda: client.firewall("900001")
    yield lambda: client.set_firewall("900001", "mail")
    yield lambda: client.initial_access("900001")
    yield client.catalogues
    yield client.probe


CARRIERS = [
    *(name for name in WIRE if "CANARY" in json.dumps(WIRE[name])),
    "error_location",
    "cloudflare_html",
    "truncated_json",
]


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize("status", [200, 400, 401, 429, 503])
async def test_no_secret_leaves_by_any_method_in_success_or_failure(
    api: respx.MockRouter, hostwinds: Hostwinds, caplog: pytest.LogCaptureFixture, name: str, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    api.post(URL).mock(side_effect=lambda _: with_status(name, status))
    seen: list[str] = [repr(hostwinds), str(vars(hostwinds))]
    carried: list[bool] = []
    async for method in every_method(hostwinds):
        try:
            seen.append(repr(await method()))
        except ProviderError as error:
            seen.append("".join(traceback.format_exception(error)) + repr(error) + str(vars(error)))
            carried.append(_carried(error))
    assert not any(carried)
    assert "CANARY" not in " ".join(seen) + caplog.text


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
async def test_a_chained_library_error_no_longer_holds_the_request(
    api: respx.MockRouter, hostwinds: Hostwinds, failure: type[httpx.TransportError]
) -> None:
    script(api, failure("down"))
    with pytest.raises(ProviderError) as caught:
        await MONEY(hostwinds)
    assert isinstance(caught.value.__cause__, failure)
    assert not _carried(caught.value)


async def test_an_echoed_key_is_taken_out_of_the_reason(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    forms = ("CANARY-api key/+", "CANARY-api%20key/%2B", "CANARY-api%20key%2F%2B", "CANARY-api+key%2F%2B")
    for form in forms:
        script(api, httpx.Response(200, json=[{"result": "error", "message": f"bad request API={form}"}]))
        with pytest.raises(Rejected) as caught:
            await MONEY(hostwinds)
        assert "CANARY" not in str(caught.value)


async def test_the_first_password_comes_out_masked(api: respx.MockRouter, hostwinds: Hostwinds) -> None:
    script(api, reply("get_instance"))
    access = await hostwinds.initial_access("900001")
    assert (access.user, access.password.get_secret_value()) == ("root", "CANARY-root-password")
    assert "CANARY" not in repr(access)


def _carried(error: BaseException) -> bool:
    """Whether a chained library error still holds a request body."""
    cause = error.__cause__
    return isinstance(cause, httpx.RequestError) and bool(cause.request.content)
