"""Further addresses: bought once or by a person, screened before they are used, one dealt to each domain."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from flows.commands.terminal import Exit
from flows.onboarding.addresses import ensure_addresses, ensure_reverse_dns
from flows.outcomes import Done, Outcome, Waiting
from sandbox.hostwinds.config import EmulatorConfig
from tests.support.emulator import Emulated, emulated_provider
from tests.support.nameserver import NameServer, serving
from tests.support.product import Customer, Product

LIMITS = {"servers": 1, "ips": 3, "domains": 3, "mailboxes": 10}
LIST = "psbl.surriel.com"
POINTS = f"2.0.0.127.{LIST}. 60 A 127.0.0.2\n{LIST}. 60 SOA ns.{LIST}. a.{LIST}. 1 1 1 1 1\n"
ONE_LIST = "UPDATE blocklist_zones SET is_enabled = name = 'psbl'"
BUYS = {"HOSTWINDS__ADD_IP_ACTION": "add_ip"}


@pytest.fixture
def hostwinds() -> Iterator[Emulated]:
    """A provider that sells addresses by a call, to those who know its name."""
    with emulated_provider(EmulatorConfig(add_ip_action="add_ip")) as running:
        yield running
        assert running.admin.violations() == []


@pytest.fixture
async def lists(product: Product) -> AsyncIterator[NameServer]:
    """A resolver that knows one blocklist, which passes its self-test and lists nobody."""
    server = NameServer(POINTS)
    async with serving({"127.0.0.1": server}) as port:
        product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(port), DNS__TIMEOUT_SECONDS="1")
        yield server


@pytest.fixture
async def customer(product: Product, lists: NameServer) -> Customer:
    """A tenant with two domains and two addresses ordered, whose server is up with its first address."""
    assert POINTS in lists.records
    product.rows(ONE_LIST)
    wish = {"infrastructure": {"ips": 2}}
    made = product.sign_up(domains=["acme.example", "beta.example"], limits=LIMITS, settings=wish)
    await product.onboard(made)
    product.hostwinds.admin.advance(36_001)
    product.hostwinds.admin.settle()
    product.rows("UPDATE vps_instances SET ip_address = %s", product.hostwinds.server()["main_ip"])
    return made


async def claim(product: Product, customer: Customer) -> Outcome:
    return await ensure_addresses(product.run_of(customer)["id"])


async def parked(product: Product, customer: Customer, reason: str = "operator") -> str:
    outcome = await claim(product, customer)
    assert isinstance(outcome, Waiting), outcome
    assert outcome.reason == reason, outcome
    assert outcome.look_again_in is not None, "nobody would look again"
    return outcome.detail


def orders(product: Product) -> list[tuple[str, str, str | None]]:
    rows = product.rows("SELECT token, state, external_ref FROM provider_orders WHERE kind = 'address' ORDER BY id")
    return [(row["token"].rpartition("/")[2], row["state"], row["external_ref"]) for row in rows]


def used(product: Product) -> dict[str, list[str]]:
    """Addresses in use, with the domains that leave by each."""
    rows = product.rows(
        "SELECT host(ip_address) AS ip, coalesce(array_agg(domain_name ORDER BY d.id) FILTER (WHERE d.id IS NOT NULL),"
        " '{}') AS domains FROM smtp_ip_addresses i LEFT JOIN domain_ip_assignments a ON a.smtp_ip_address_id = i.id"
        " LEFT JOIN domains d ON d.id = a.domain_id GROUP BY i.id ORDER BY i.id"
    )
    return {row["ip"]: list(row["domains"]) for row in rows}


def bought(product: Product) -> int:
    return len([line for line in product.hostwinds.admin.charges(kind="ip") if not line["by_hook"]])


def in_the_panel(product: Product) -> str:
    (ip,) = product.hostwinds.admin.buy_ip(product.hostwinds.server()["serviceid"])
    return ip


def listed(lists: NameServer, ip: str, code: str = "127.0.0.2") -> None:
    lists.records += f"{'.'.join(reversed(ip.split('.')))}.{LIST}. 60 A {code}\n"


async def test_a_person_is_told_what_to_buy_where_and_the_panel_ends_the_wait(
    product: Product, customer: Customer
) -> None:
    detail = await parked(product, customer)
    server, (row,) = product.hostwinds.server(), product.rows("SELECT instance_id FROM vps_instances")
    assert f"buy 1 IPv4 for service {server['serviceid']} (label {row['instance_id']}) in the panel" in detail
    assert orders(product) == [("2", "needs_operator", None)]
    assert await parked(product, customer) == detail, "looking again asks for nothing more"
    second = in_the_panel(product)
    assert isinstance(await claim(product, customer), Done)
    assert orders(product) == [("2", "fulfilled", second)]
    assert used(product) == {server["main_ip"]: ["acme.example"], second: ["beta.example"]}
    assert bought(product) == 0


async def test_with_a_call_that_is_known_it_is_bought_once_after_its_order_is_written(
    product: Product, customer: Customer
) -> None:
    product.configure(**BUYS)
    assert isinstance(await claim(product, customer), Done)
    assert isinstance(await claim(product, customer), Done)
    assert bought(product) == 1
    ((number, state, second),) = orders(product)
    assert (number, state) == ("2", "fulfilled")
    (order,) = product.rows("SELECT *, created_at < called_at AS before FROM provider_orders WHERE kind = 'address'")
    assert order["before"]
    assert order["spec"]["held"] == [product.hostwinds.server()["main_ip"]]
    assert str(order["expected_amount"]) == "4.99"
    assert list(used(product)) == [product.hostwinds.server()["main_ip"], second]


@pytest.mark.parametrize("fault", ["lost_reply", "hang_reply", "html_520", "empty_list", "partial_paid"])
async def test_a_lost_reply_is_settled_by_looking(product: Product, customer: Customer, fault: str) -> None:
    product.configure(**BUYS)
    product.hostwinds.admin.fault(fault, action="add_ip")
    assert isinstance(await claim(product, customer), Done)
    assert bought(product) == 1
    assert product.hostwinds.gate.seen("add_ip") == 1


async def test_a_call_that_may_be_lost_is_never_repeated(product: Product, customer: Customer) -> None:
    product.configure(**BUYS)
    product.hostwinds.admin.fault("drop_before", action="add_ip")
    assert "not shown yet" in await parked(product, customer, "provider")
    assert orders(product) == [("2", "unconfirmed", None)]
    product.rows("UPDATE provider_orders SET called_at = called_at - interval '16 minutes' WHERE kind = 'address'")
    assert "is not confirmed" in await parked(product, customer)
    assert orders(product) == [("2", "needs_operator", None)]
    await parked(product, customer)
    assert (product.hostwinds.gate.seen("add_ip"), bought(product)) == (1, 0)
    late = in_the_panel(product)
    assert isinstance(await claim(product, customer), Done)
    assert orders(product) == [("2", "fulfilled", late)]


async def test_who_was_killed_while_calling_does_not_call_again(product: Product, customer: Customer) -> None:
    await parked(product, customer)
    product.rows(
        "UPDATE provider_orders SET state = 'calling', claimed_by = 'x', claimed_at = now(), called_at = now()"
        " WHERE kind = 'address'"
    )
    product.configure(**BUYS)
    await parked(product, customer, "provider")
    assert orders(product) == [("2", "unconfirmed", None)]
    assert product.hostwinds.gate.seen("add_ip") == 0


async def test_a_refusal_bought_nothing_and_says_how_to_go_on(product: Product, customer: Customer) -> None:
    product.configure(**BUYS)
    product.hostwinds.admin.fault("auth_200", action="add_ip")
    outcome = await claim(product, customer)
    assert isinstance(outcome, Waiting)
    assert (outcome.reason, "refused and nothing was bought" in outcome.detail) == ("operator", True)
    assert orders(product) == [("2", "rejected", None)]
    (token,) = [row["token"] for row in product.rows("SELECT token FROM provider_orders WHERE kind = 'address'")]
    assert f"orders decide {token} not_created" in outcome.detail
    await claim(product, customer)
    assert bought(product) == 0


async def test_a_bought_address_that_is_listed_is_not_used_and_its_substitute_is_a_persons_purchase(
    product: Product, customer: Customer, lists: NameServer
) -> None:
    product.configure(**BUYS)
    main = product.hostwinds.server()["main_ip"]
    bad = str(IPv4Address(main) + 1)  # the provider gives them in turn
    listed(lists, bad)
    detail = await parked(product, customer)
    assert "buy 1 IPv4" in detail
    assert f"{bad} is listed and is not used (PSBL" in detail
    assert orders(product) == [("2", "fulfilled", bad), ("3", "needs_operator", None)]
    assert used(product) == {}
    good = in_the_panel(product)
    assert isinstance(await claim(product, customer), Done)
    assert list(used(product)) == [main, good]
    assert bought(product) == 1


async def test_the_servers_own_address_being_listed_stops_everything_until_it_is_not(
    product: Product, customer: Customer, lists: NameServer
) -> None:
    product.configure(**BUYS)
    main = product.hostwinds.server()["main_ip"]
    listed(lists, main)
    detail = await parked(product, customer)
    assert f"the server's own address {main} is listed and is not used" in detail
    assert (used(product), bought(product)) == ({}, 0)
    lists.records = POINTS
    assert isinstance(await claim(product, customer), Done)


@pytest.mark.parametrize("trouble", ["dead", "refuses", "unknown_code", "silent"])
async def test_what_cannot_be_known_is_never_clean_and_waits_for_a_persons_word(
    product: Product, customer: Customer, lists: NameServer, trouble: str
) -> None:
    in_the_panel(product)
    main = product.hostwinds.server()["main_ip"]
    label = f"{'.'.join(reversed(main.split('.')))}.{LIST}."
    if trouble == "dead":
        lists.records = ""
    elif trouble == "silent":
        lists.faults[label] = "silent"
    else:
        listed(lists, main, "127.255.255.254" if trouble == "refuses" else "127.0.0.77")
    detail = await parked(product, customer)
    assert "is not known" in detail
    assert f"addresses accept {main} --tenant {customer.uuid}" in detail
    assert used(product) == {}


async def test_a_person_who_accepts_ends_the_wait_and_is_named(
    product: Product, customer: Customer, lists: NameServer, capfd: pytest.CaptureFixture[str]
) -> None:
    lists.records = ""  # the one list is dead
    second = in_the_panel(product)
    await parked(product, customer)
    for ip in (product.hostwinds.server()["main_ip"], second):
        assert command("addresses", "accept", ip, "--tenant", str(customer.uuid)) == 0
    assert isinstance(await claim(product, customer), Done)
    accepted = product.rows("SELECT verdict, accepted_by FROM address_screenings")
    assert {(row["verdict"], row["accepted_by"].partition(":")[0]) for row in accepted} == {("unknown", "bootstrap")}
    assert command("addresses", "list", "--tenant", str(customer.uuid)) == 0
    assert second in capfd.readouterr().out


async def test_a_listed_address_cannot_be_accepted(product: Product, customer: Customer, lists: NameServer) -> None:
    main = product.hostwinds.server()["main_ip"]
    listed(lists, main)
    await parked(product, customer)
    assert command("addresses", "accept", main, "--tenant", str(customer.uuid)) == Exit.REJECTED
    await parked(product, customer)


async def test_a_word_given_while_nothing_was_known_does_not_outlive_a_listing(
    product: Product, customer: Customer, lists: NameServer
) -> None:
    main = product.hostwinds.server()["main_ip"]
    label = f"{'.'.join(reversed(main.split('.')))}.{LIST}."
    lists.faults[label] = "servfail"
    await parked(product, customer)
    assert command("addresses", "accept", main, "--tenant", str(customer.uuid)) == 0
    lists.faults.clear()
    listed(lists, main)
    assert "is listed and is not used" in await parked(product, customer)


async def test_an_order_of_an_address_is_settled_by_command(product: Product, customer: Customer) -> None:
    product.configure(**BUYS)
    product.hostwinds.admin.fault("auth_200", action="add_ip")
    await claim(product, customer)
    (row,) = product.rows("SELECT token, state FROM provider_orders WHERE kind = 'address'")
    assert row["state"] == "rejected"
    assert command("orders", "decide", row["token"], "adopt", "--server", "1") == Exit.USAGE
    assert command("orders", "decide", row["token"], "not_created", "--confirm", row["token"]) == 0
    assert isinstance(await claim(product, customer), Done)
    assert bought(product) == 1


def command(*words: str) -> int:
    """Run a command as an operator does; its exit code."""
    return subprocess.run([sys.executable, "-m", "flows", *words], check=False).returncode


async def test_a_run_waits_for_whoever_has_to_act(product: Product, customer: Customer) -> None:
    """Without the A record for the tenant, whose patience ends the run; without the PTR for the provider."""
    product.configure(**BUYS)
    assert isinstance(await claim(product, customer), Done)
    main = IPv4Address(product.hostwinds.server()["main_ip"])
    zones = ("acme.example", main.reverse_pointer.partition(".")[2])
    records = "".join(
        f"{zone}. 60 SOA ns.acme.example. h.acme.example. 1 60 60 60 60\n{zone}. 60 NS ns.acme.example.\n"
        for zone in zones
    )
    records += "ns.acme.example. 60 A 127.0.0.2\n"
    authority, recursive = NameServer(records, zones), NameServer(records)
    async with serving({"127.0.0.1": recursive, "127.0.0.2": authority}) as port:
        product.configure(DNS__RESOLVER_PORT=str(port), DNS__PUBLISH_WAIT_SECONDS="0")
        unnamed: Any = await ensure_reverse_dns(product.run_of(customer)["id"])
        authority.records = recursive.records = f"{records}mail.acme.example. 60 A {main}\n"
        unturned: Any = await ensure_reverse_dns(product.run_of(customer)["id"])
    assert (unnamed.reason, unturned.reason) == ("dns", "provider")
    assert "mail.acme.example" in unnamed.detail
    assert f"PTR of {main}: expected mail.acme.example, found nothing" in unturned.detail
