"""The real client against the emulated provider.

With PENGUINMAILS_TEST_HOSTWINDS_LIVE=1 and a key in PENGUINMAILS_HOSTWINDS__API_KEY the same reads also ask the vendor.
"""

import asyncio
import logging
import os
import traceback
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from pydantic import SecretStr

from providers.errors import NotFound, ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.hostwinds import Hostwinds
from providers.vps import ServerSpec, ServerState
from sandbox.hostwinds.config import EmulatorConfig
from sandbox.hostwinds.faults import GROUPS
from tests.support.provider import TOKEN, Played, played_provider

SPEC = ServerSpec(plan="52", image="debian-12", region="12")
LIVE = os.environ.get("PENGUINMAILS_TEST_HOSTWINDS_LIVE") == "1"


@pytest.fixture
def played() -> Iterator[Played]:
    with played_provider() as running:
        yield running


def client_of(played: Played, **knobs: Any) -> Hostwinds:
    fast: dict[str, Any] = {"rate_per_second": 10_000, "burst": 100, "sandbox": True}
    key = SecretStr(played.provider.api_key)
    return Hostwinds(**{"api_key": key, "base_url": played.provider.url, **fast, **knobs})


@pytest.fixture
async def hostwinds(played: Played) -> AsyncIterator[Hostwinds]:
    async with client_of(played, read_timeout_seconds=0.5, create_timeout_seconds=0.5) as client:
        yield client


@pytest.fixture(params=["emulator", "vendor"] if LIVE else ["emulator"])
async def either(request: pytest.FixtureRequest) -> AsyncIterator[Hostwinds]:
    if request.param == "emulator":
        with played_provider() as played:
            async with client_of(played) as client:
                yield client
        return
    async with Hostwinds(api_key=SecretStr(os.environ["PENGUINMAILS_HOSTWINDS__API_KEY"])) as client:
        yield client


async def test_a_list_of_servers_is_understood(either: Hostwinds) -> None:
    servers = await either.list_servers()
    assert all(server.provider_id.isdecimal() for server in servers)
    assert [server for server in servers if server.state is ServerState.UNKNOWN] == []
    assert either.oddities.total() == 0


async def test_a_token_nobody_has_is_positively_absent(either: Hostwinds) -> None:
    assert await either.find_by_token("pm-none-of-this-name") == []


async def test_catalogues_answer(either: Hostwinds) -> None:
    lists = await either.catalogues()
    assert len(lists["get_price_list"]) > 10
    assert len(lists["get_locations"]) > 10


async def test_every_reading_call_of_ours_is_there(either: Hostwinds) -> None:
    assert set((await either.probe()).values()) == {"there"}


async def test_a_servers_whole_life_as_the_client_sees_it(played: Played, hostwinds: Hostwinds) -> None:
    assert (await hostwinds.create_server(SPEC, TOKEN)).complete
    (server,) = await hostwinds.find_by_token(TOKEN)
    sid, main = server.provider_id, server.ipv4_main
    assert main is not None
    assert (server.state, server.busy, server.image, server.region) == (ServerState.ACTIVE, False, "debian-12", "12")
    access = await hostwinds.initial_access(sid)
    assert access.password.get_secret_value().startswith("CANARY-")
    bought = IPv4Address(played.admin.buy_ip(sid)[0])
    assert await hostwinds.list_ips(sid) == [main, bought]
    await hostwinds.set_ptr(sid, main, "mail.acme.example")
    assert ("set_ptr", str(main), "mail.acme.example") in played.wishes("set_ptr")
    await hostwinds.remove_ip(sid, bought)
    assert await hostwinds.list_ips(sid) == [main]
    for locked in (True, True, False):
        await hostwinds.set_lock(sid, locked=locked)
        assert (await hostwinds.get_server(sid)).locked is locked
    await hostwinds.power(sid, "off")
    assert (await hostwinds.get_server(sid)).state is ServerState.STOPPED
    await hostwinds.power(sid, "on")
    await hostwinds.power(sid, "restart")
    assert (await hostwinds.get_server(sid)).state is ServerState.ACTIVE
    await hostwinds.set_firewall(sid, "mail")
    assert (await hostwinds.firewall(sid)).name == "mail"
    assert await hostwinds.smtp_filters(sid) == []
    played.admin.ask("place_smtp_filter", serviceid=sid)
    assert [block.kind for block in await hostwinds.smtp_filters(sid)] == ["spam"]
    with pytest.raises(Rejected):
        await hostwinds.destroy_server(sid, "pm-another")
    await hostwinds.destroy_server(sid, TOKEN)
    with pytest.raises(NotFound):
        await hostwinds.get_server(sid)
    assert played.admin.violations() == []
    assert len(played.admin.charges(label=TOKEN, kind="server")) == 1


async def test_a_strangers_server_is_not_found(played: Played, hostwinds: Hostwinds) -> None:
    strangers = str(next(iter(played.provider.emulator.books.machines)))
    for call in (hostwinds.get_server, hostwinds.initial_access, hostwinds.list_ips, hostwinds.smtp_filters):
        with pytest.raises(NotFound):
            await call(strangers)
    with pytest.raises(NotFound):
        await hostwinds.destroy_server(strangers, "somebody-elses")


async def test_a_building_server_is_not_ready_in_any_phase(played: Played, hostwinds: Hostwinds) -> None:
    played.admin.profile("realistic")
    await hostwinds.create_server(SPEC, TOKEN)
    assert await hostwinds.find_by_token(TOKEN) == []
    seen: list[tuple[ServerState, bool, bool]] = []
    for seconds in (60, 240, 30):
        played.admin.advance(seconds)
        (server,) = await hostwinds.find_by_token(TOKEN)
        seen.append((server.state, server.busy, server.ipv4_main is not None))
    assert seen == [
        (ServerState.BUILDING, True, False),
        (ServerState.ACTIVE, True, True),
        (ServerState.ACTIVE, False, True),
    ]


# What an order means to its caller under each switch, how many servers it made, and how many payments.
ORDERS: list[tuple[str, dict[str, Any], type[ProviderError] | None, int, int]] = [
    ("lost_reply", {}, Unconfirmed, 1, 1),
    ("hang_reply", {}, Unconfirmed, 1, 1),
    ("late_effect", {"seconds": 0}, Unconfirmed, 1, 1),
    ("drop_before", {}, Unconfirmed, 0, 0),
    ("refuse_connect", {}, Unavailable, 0, 0),
    *((name, {"effect": True}, Unconfirmed, 1, 1) for name in sorted(GROUPS["bad reply"])),
    *((name, {"effect": False}, Unconfirmed, 0, 0) for name in sorted(GROUPS["bad reply"])),
    ("partial_paid", {"effect": True}, Unconfirmed, 1, 1),
    ("partial_paid", {"effect": False}, Unconfirmed, 0, 1),
    ("paid_only", {"effect": True}, None, 1, 1),
    ("paid_only", {"effect": False}, None, 0, 1),
    ("payment_declined", {}, Rejected, 0, 0),
    ("hourly_disabled", {}, Rejected, 0, 0),
    ("double_create", {}, None, 2, 1),
    ("duplicate_label", {}, None, 2, 1),
    *((name, {}, Unauthorized, 0, 0) for name in sorted(GROUPS["auth"])),
]


@pytest.mark.parametrize(("name", "options", "error", "servers", "payments"), ORDERS)
async def test_an_order_under_every_switch_is_sent_once_and_settled_by_looking(
    played: Played,
    hostwinds: Hostwinds,
    name: str,
    options: dict[str, Any],
    error: type[ProviderError] | None,
    servers: int,
    payments: int,
) -> None:
    played.admin.fault(name, action="add_instance", **options)
    caught: ProviderError | None = None
    try:
        accepted = await hostwinds.create_server(SPEC, TOKEN)
    except ProviderError as raised:
        caught = raised
    else:
        assert accepted.complete is (name != "paid_only")
    assert type(caught) is (error or type(None))
    played.admin.clear_faults()
    assert played.admin.settle()
    assert len(await hostwinds.find_by_token(TOKEN)) == servers
    assert len(played.admin.charges(label=TOKEN)) == payments


@pytest.mark.parametrize("name", ["label_dropped", "label_truncated", "label_changed_case"])
async def test_a_label_that_is_not_kept_is_not_found_again(played: Played, hostwinds: Hostwinds, name: str) -> None:
    played.admin.fault(name)
    assert (await hostwinds.create_server(SPEC, TOKEN)).complete
    assert await hostwinds.find_by_token(TOKEN) == []
    assert len(await hostwinds.list_servers()) == 1


@pytest.mark.parametrize("name", sorted(GROUPS["bad reply"] - {"empty_list"} | {"lost_reply", "drop_before"}))
async def test_a_look_that_failed_is_not_an_empty_list(played: Played, hostwinds: Hostwinds, name: str) -> None:
    await hostwinds.create_server(SPEC, TOKEN)
    played.admin.fault(name, action="get_instances")
    with pytest.raises(Unavailable):
        await hostwinds.find_by_token(TOKEN)
    assert len(await hostwinds.find_by_token(TOKEN)) == 1


@pytest.mark.parametrize("name", sorted(GROUPS["shapes"] - {"row_without_serviceid", "unknown_status"}))
async def test_an_odd_shape_is_read_all_the_same(played: Played, hostwinds: Hostwinds, name: str) -> None:
    await hostwinds.create_server(SPEC, TOKEN)
    (plain,) = await hostwinds.find_by_token(TOKEN)
    played.admin.fault(name, times=2)
    (listed,) = await hostwinds.find_by_token(TOKEN)
    single = await hostwinds.get_server(plain.provider_id)
    for odd in (listed, single):
        assert (odd.provider_id, odd.state, odd.busy, odd.ipv4_main) == (
            plain.provider_id,
            ServerState.ACTIVE,
            False,
            plain.ipv4_main,
        )


async def test_a_row_without_its_id_is_a_failed_look(played: Played, hostwinds: Hostwinds) -> None:
    await hostwinds.create_server(SPEC, TOKEN)
    played.admin.fault("row_without_serviceid")
    with pytest.raises(Unavailable):
        await hostwinds.find_by_token(TOKEN)


async def test_an_unknown_word_is_never_ready(played: Played, hostwinds: Hostwinds) -> None:
    await hostwinds.create_server(SPEC, TOKEN)
    played.admin.fault("unknown_status", word="MELTED")
    (server,) = await hostwinds.find_by_token(TOKEN)
    assert server.state is ServerState.UNKNOWN


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("stuck_build", ServerState.BUILDING),
        ("build_error", ServerState.ERROR),
        ("suspend", ServerState.SUSPENDED),
    ],
)
async def test_a_build_that_goes_wrong_has_its_state(
    played: Played, hostwinds: Hostwinds, name: str, state: ServerState
) -> None:
    played.admin.fault(name)
    await hostwinds.create_server(SPEC, TOKEN)
    (server,) = await hostwinds.find_by_token(TOKEN)
    assert server.state is state


async def test_a_lock_that_did_not_turn_is_unconfirmed(played: Played, hostwinds: Hostwinds) -> None:
    await hostwinds.create_server(SPEC, TOKEN)
    (server,) = await hostwinds.find_by_token(TOKEN)
    played.admin.fault("accept_without_effect", action="toggle_lock")
    with pytest.raises(Unconfirmed):
        await hostwinds.set_lock(server.provider_id, locked=True)


async def test_an_action_that_is_gone_is_refused(played: Played, hostwinds: Hostwinds) -> None:
    played.admin.fault("action_gone", action="add_instance")
    with pytest.raises(Rejected, match="6734"):
        await hostwinds.create_server(SPEC, TOKEN)


async def test_the_vendors_call_for_an_address_works_once_it_is_known() -> None:
    with played_provider(config=EmulatorConfig(add_ip_action="add_ip")) as played:
        async with client_of(played, add_ip_action="add_ip") as client:
            await client.create_server(SPEC, TOKEN)
            (server,) = await client.find_by_token(TOKEN)
            await client.add_ip(server.provider_id)
            assert len(await client.list_ips(server.provider_id)) == 2
            assert len(played.admin.charges(kind="ip")) == 1


async def test_orders_in_parallel_keep_the_pace_and_make_one_server_each(played: Played, hostwinds: Hostwinds) -> None:
    tokens = [f"{TOKEN}-{number}" for number in range(20)]
    await asyncio.gather(*(hostwinds.create_server(SPEC, token) for token in tokens))
    assert sorted(server.token for server in await hostwinds.list_servers()) == sorted(tokens)
    assert len(played.admin.charges(kind="server")) == 20


async def test_no_secret_of_the_provider_is_logged_or_raised(
    played: Played, hostwinds: Hostwinds, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    played.admin.ask("rotate_key", key="CANARY-key")
    async with client_of(played, api_key=SecretStr("CANARY-key")) as client:
        await client.create_server(SPEC, TOKEN)
        (server,) = await client.find_by_token(TOKEN)
        told = [repr(server), repr(await client.initial_access(server.provider_id))]
        for name in sorted(GROUPS["bad reply"] | GROUPS["auth"] | {"lost_reply"}):
            played.admin.fault(name, action="get_instance")
            with pytest.raises(ProviderError) as caught:
                await client.get_server(server.provider_id)
            told.append("".join(traceback.format_exception(caught.value)))
    assert "CANARY" not in " ".join(told) + caplog.text
