"""What stands between a host and its certificate before the host is asked: names, CAA, limits, the authority."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from flows import vault
from flows.certificates.account import account_key, key_path
from flows.certificates.ordering import issue_by_acme, open_order
from flows.outcomes import Waiting
from flows.resources import Resources, resources
from providers.errors import Unauthorized, Unavailable
from sql import acme_orders, vps_instances
from sql.acme_orders import AcmeOrder
from sql.session import as_orchestrator
from sql.vps_instances import Instance
from tests.support.nameserver import NameServer, serving
from tests.support.pebble import Pebble, Wire, failing_wire, running_pebble
from tests.support.postgres import add_server
from tests.support.product import Customer, Product

NAME, ADDRESS = "mail.acme.example", IPv4Address("198.51.100.50")
EMPTY = contextvars.Context()
ZONE = """
    . 60 SOA a.root.example. hostmaster.example. 1 60 60 60 60
    acme.example. 300 SOA ns.acme.example. hostmaster.acme.example. 1 60 60 60 30
    acme.example. 300 NS ns.acme.example.
    ns.acme.example. 300 A 127.0.0.2
    mail.acme.example. 120 A {address}
    {more}
"""


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("pebble")) as authority:
        yield authority


@pytest.fixture
def wire(pebble: Pebble) -> Iterator[Wire]:
    with failing_wire(pebble) as relay:
        yield relay


@pytest.fixture
def customer(product: Product, wire: Wire) -> Customer:
    """A tenant; the product is to use the authority behind the wire."""
    product.configure(
        MAIL_HOST__CERTIFICATE_ISSUER="acme", MAIL_HOST__ACME_DIRECTORY=wire.directory,
        MAIL_HOST__ACME_CA_FILE=str(wire.ca_file), DNS__PUBLISH_WAIT_SECONDS="0.1",
    )  # fmt: skip
    return product.sign_up()


@pytest.fixture
async def r(customer: Customer) -> AsyncIterator[Resources]:
    async with resources() as opened:
        yield opened


@pytest.fixture
async def instance(r: Resources, product: Product, customer: Customer) -> Instance:
    found = add_server(product.dsn, customer, "pm-test-1-01")  # pyright: ignore[reportArgumentType]  it has a pk too
    async with as_orchestrator(r.pool) as conn:
        return await vps_instances.get_instance(conn, found)


async def issue(product: Product, instance: Instance, *, address: str = str(ADDRESS), more: str = "") -> object:
    """What comes of asking for a certificate while DNS says this."""
    records = ZONE.format(address=address, more=more)
    servers = {"127.0.0.1": NameServer(records), "127.0.0.2": NameServer(records, zones=("acme.example.",))}
    async with serving(servers) as port:
        product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(port))
        async with asyncio.timeout(60):
            return await in_fresh(instance)


async def in_fresh(instance: Instance) -> object:
    """With resources of their own: the resolver's port is read when they are opened."""
    task = asyncio.create_task(_issue(instance), context=EMPTY.copy())
    return await task


async def _issue(instance: Instance) -> object:
    async with resources() as r:
        return await issue_by_acme(r, instance, {NAME: ADDRESS})


async def rows(r: Resources, instance: Instance) -> AcmeOrder | None:
    async with as_orchestrator(r.pool) as conn:
        return await acme_orders.last_order(conn, instance.id)


async def test_a_name_that_leads_elsewhere_is_waited_for_and_nobody_is_asked(product, wire, instance, r) -> None:
    found = await issue(product, instance, address="203.0.113.9")
    assert isinstance(found, Waiting)
    assert found.reason == "dns"
    assert f"the A record of {NAME} is right: expected {ADDRESS}, found 203.0.113.9" in found.detail
    assert wire.asked == []


@pytest.mark.parametrize("at", ["acme.example.", "mail.acme.example."])
async def test_caa_is_looked_for_from_the_name_upwards(product, wire, instance, r, at: str) -> None:
    wire.rename(caaIdentities=["pebble.example"])
    found = await issue(product, instance, more=f'{at} 300 CAA 0 issue "other.example"')
    assert isinstance(found, Waiting)
    assert found.reason == "dns"
    assert found.detail.endswith(f'add {at} CAA 0 issue "pebble.example"')
    assert wire.calls("/order-plz") == 0


async def test_the_closest_caa_set_alone_counts(product, wire, instance, r) -> None:
    wire.rename(caaIdentities=["pebble.example"])
    above = 'acme.example. 300 CAA 0 issue "other.example"'
    with pytest.raises(LookupError, match="never reached"):  # the host itself is asked next, and there is none
        await issue(product, instance, more=f'{above}\n    {NAME}. 300 CAA 0 issue "pebble.example"')


async def test_an_authority_that_asks_to_be_left_alone_is_a_wait_of_so_long(product, wire, instance, r) -> None:
    wire.fail("/dir", 503, b"", Retry_After="900")
    found = await issue(product, instance)
    assert isinstance(found, Waiting)
    assert (found.reason, found.look_again_in) == ("provider", timedelta(seconds=900))
    assert "asks to be left alone for 0:15:00" in found.detail


async def test_an_authority_that_is_down_is_unavailable_and_named(product, wire, instance, r) -> None:
    wire.fail("/dir", 0)
    with pytest.raises(Unavailable, match=r"https://localhost:\d+/dir does not answer"):
        await issue(product, instance)


async def test_an_account_the_authority_refuses_stops_the_work(product, wire, instance, r) -> None:
    wire.refuse("/sign-me-up", "userActionRequired", "read the new terms", 403)
    with pytest.raises(Unauthorized, match="read the new terms"):
        await issue(product, instance)


async def test_what_is_under_way_is_gone_on_with_and_other_names_begin_anew(r, instance) -> None:
    first = await open_order(r, instance, (NAME,))
    again = await open_order(r, instance, (NAME,))
    assert isinstance(first, AcmeOrder)
    assert isinstance(again, AcmeOrder)
    assert again.id == first.id
    other = await open_order(r, instance, (NAME, "mail2.acme.example"))
    assert isinstance(other, AcmeOrder)
    assert other.id != first.id
    assert other.zones == ["acme.example"]


async def ended(r: Resources, instance: Instance, state: acme_orders.End, *problems: dict[str, str]) -> None:
    order = await open_order(r, instance, (NAME,))
    assert isinstance(order, AcmeOrder), order
    async with as_orchestrator(r.pool) as conn:
        await acme_orders.end(conn, order.id, state=state, problems=problems)


async def test_after_three_failed_validations_the_cause_is_told_and_the_hour_waited_for(r, instance) -> None:
    problem = {"kind": "connection", "detail": "refused", "name": NAME}
    for _ in range(3):
        await ended(r, instance, "failed", problem)
    found = await open_order(r, instance, (NAME,))
    assert isinstance(found, Waiting)
    assert found.reason == "provider"
    assert f"{NAME}: the authority does not reach port 80" in found.detail
    assert "no more than 3 failed validations" in found.detail
    assert found.look_again_in is not None
    assert timedelta(minutes=55) < found.look_again_in <= timedelta(hours=1)


async def test_the_same_names_are_certified_no_more_often_than_the_authority_lets(r, instance) -> None:
    for _ in range(4):
        await ended(r, instance, "issued")
    found = await open_order(r, instance, (NAME,))
    assert isinstance(found, Waiting)
    assert (found.reason, "these names: no more than 4" in found.detail) == ("provider", True)


async def test_two_that_need_the_first_account_key_get_the_same_and_it_lies_sealed(r, product) -> None:
    directory = "https://ca.example/dir"
    keys = await asyncio.gather(account_key(r, directory), account_key(r, directory))
    assert keys[0].get_secret_value() == keys[1].get_secret_value()
    assert keys[0].get_secret_value() != (await account_key(r, "https://other.example/dir")).get_secret_value()
    (row,) = product.rows("SELECT * FROM platform_secrets WHERE vault_key_path = 'acme/ca.example/dir'")
    assert row["purpose"] == "acme_account_key"
    assert b"PRIVATE" not in bytes(row["ciphertext"])
    opened = await vault.fetch_sure(r, tenant_id=None, path=key_path(directory))
    assert opened.get_secret_value() == keys[0].get_secret_value()
