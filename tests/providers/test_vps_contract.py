"""What flows rely on with any VPS provider: the same tests for each one there is, and for one that is made up."""

import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest
from pydantic import SecretStr

from providers.errors import NotFound, Rejected
from providers.hostwinds import Hostwinds
from providers.vps import Server, ServerSpec, ServerState, VpsProvider
from sandbox.hostwinds.config import EmulatorConfig
from tests.support.other_provider import OtherProvider
from tests.support.provider import played_provider

SPEC = ServerSpec(plan="52", image="debian-12", region="12")
TOKEN, OTHER_TOKEN = "pm-test-1-01", "pm-test-1-02"
NOBODY = "999999"


@dataclass(frozen=True, slots=True)
class Account:
    """A provider with an empty account; `settle` lets what was accepted come true."""

    provider: VpsProvider
    settle: Callable[[], object]


@pytest.fixture(params=["hostwinds", "hostwinds that sells addresses", "other"])
async def account(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    if request.param == "other":
        yield Account(OtherProvider(), lambda: None)
        return
    action = "add_ip" if "sells" in request.param else None
    with played_provider(config=EmulatorConfig(add_ip_action=action)) as played:
        async with Hostwinds(
            api_key=SecretStr(played.provider.api_key), base_url=played.provider.url, rate_per_second=10_000, burst=100,
            sandbox=True, add_ip_action=action,
        ) as client:  # fmt: skip
            yield Account(client, played.admin.settle)


async def made(account: Account, token: str = TOKEN) -> Server:
    """One server, found again as flows find it."""
    accepted = await account.provider.create_server(SPEC, token)
    assert accepted.complete
    account.settle()
    (found,) = await account.provider.find_by_token(token)
    if account.provider.capabilities.create_returns_id:
        assert accepted.server is not None
        assert accepted.server.provider_id == found.provider_id
    return found


def test_every_operation_is_there_with_the_same_words(account: Account) -> None:
    for name, wanted in inspect.getmembers(VpsProvider, inspect.iscoroutinefunction):
        offered = getattr(account.provider, name)
        assert inspect.iscoroutinefunction(offered), name
        theirs = [parameter for parameter in inspect.signature(wanted).parameters if parameter != "self"]
        assert list(inspect.signature(offered).parameters) == theirs, name


async def test_a_token_nobody_has_is_positively_absent(account: Account) -> None:
    assert await account.provider.find_by_token(TOKEN) == []
    assert await account.provider.list_servers() == []


async def test_what_was_ordered_is_found_by_its_exact_token_and_by_its_id(account: Account) -> None:
    server = await made(account)
    assert (server.token, server.state, server.busy, server.locked) == (TOKEN, ServerState.ACTIVE, False, False)
    assert (server.image, server.region) == (SPEC.image, SPEC.region)
    assert server.plan in {None, SPEC.plan}, "a provider may not tell, but never another"
    assert await account.provider.find_by_token(TOKEN[:-1]) == []
    assert (await account.provider.get_server(server.provider_id)).token == TOKEN
    other = await made(account, OTHER_TOKEN)
    assert {one.provider_id for one in await account.provider.list_servers()} == {
        server.provider_id, other.provider_id,
    }  # fmt: skip


async def test_who_is_not_there_is_not_found(account: Account) -> None:
    for call in (account.provider.get_server, account.provider.list_ips, account.provider.initial_access):
        with pytest.raises(NotFound):
            await call(NOBODY)


async def test_the_main_address_heads_no_list_but_is_on_it(account: Account) -> None:
    server = await made(account)
    assert isinstance(server.ipv4_main, IPv4Address)
    assert await account.provider.list_ips(server.provider_id) == [server.ipv4_main]


async def test_an_address_is_added_where_that_can_be_asked_for_and_refused_elsewhere(account: Account) -> None:
    server, provider = await made(account), account.provider
    if not provider.capabilities.add_ip:
        with pytest.raises(Rejected):
            await provider.add_ip(server.provider_id)
        assert await provider.list_ips(server.provider_id) == [server.ipv4_main]
        return
    await provider.add_ip(server.provider_id)
    account.settle()
    (second,) = set(await provider.list_ips(server.provider_id)) - {server.ipv4_main}
    await provider.set_ptr(server.provider_id, second, "mail2.acme.example")
    await provider.remove_ip(server.provider_id, second)
    account.settle()
    assert await provider.list_ips(server.provider_id) == [server.ipv4_main]


async def test_the_main_address_is_never_given_back(account: Account) -> None:
    server = await made(account)
    assert server.ipv4_main is not None
    with pytest.raises(Rejected):
        await account.provider.remove_ip(server.provider_id, server.ipv4_main)


async def test_only_who_knows_the_token_ends_a_server(account: Account) -> None:
    server = await made(account)
    with pytest.raises(Rejected):
        await account.provider.destroy_server(server.provider_id, OTHER_TOKEN)
    assert await account.provider.find_by_token(TOKEN) != []
    await account.provider.destroy_server(server.provider_id, TOKEN)
    account.settle()
    assert await account.provider.find_by_token(TOKEN) == []


async def test_a_server_is_switched_off_and_on_again(account: Account) -> None:
    server = await made(account)
    await account.provider.power(server.provider_id, "off")
    account.settle()
    assert (await account.provider.get_server(server.provider_id)).state is ServerState.STOPPED
    await account.provider.power(server.provider_id, "on")
    account.settle()
    assert (await account.provider.get_server(server.provider_id)).state is ServerState.ACTIVE


async def test_nothing_but_the_first_login_holds_a_secret_and_that_does_not_show_it(account: Account) -> None:
    server = await made(account)
    access = await account.provider.initial_access(server.provider_id)
    secret = access.password.get_secret_value()
    assert secret
    shown = [repr(access), repr(server), repr(await account.provider.list_servers())]
    assert all(secret not in text for text in shown)


async def test_a_new_server_has_no_mail_filter(account: Account) -> None:
    server = await made(account)
    assert await account.provider.smtp_filters(server.provider_id) == []
