"""A new DKIM key from its making to its signing, and the old one's end, with a tenant that publishes by hand."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any
from uuid import uuid4

import pytest

from flows import vault
from flows.domains.rotating import rotate_dkim_keys, tend
from flows.policy.dkim import DkimRecord
from flows.policy.records import dated_key
from flows.resources import resources
from providers.keys import new_dkim_ed25519
from sql import dkim_keys, domain_ip_assignments, domains, provisioning, smtp_ip_addresses, vps_instances
from sql.session import as_orchestrator
from tests.support.dns_zone import Internet, internet, line, picture
from tests.support.product import Product

DOMAIN = "acme.example"
OLD = "pm202501e"


@pytest.fixture
async def dns() -> AsyncIterator[Internet]:
    async with internet(DOMAIN) as made:
        yield made


@pytest.fixture
async def tenant(product: Product, dns: Internet) -> Product:
    """A tenant with a server that is still in the making, so that no host is asked, and a key that signs."""
    dns.change("pm202611e._domainkey.acme.example.", f"{OLD}._domainkey.acme.example.")
    product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(dns.port), DNS__TIMEOUT_SECONDS="1")
    customer = product.sign_up()
    (domain,) = product.rows("SELECT id FROM domains")
    key = new_dkim_ed25519()
    async with resources() as r, as_orchestrator(r.pool) as conn:
        run = await provisioning.open_or_join_run(
            conn, tenant_id=customer.pk, kind="onboard", target="", idempotency_key="k", requested_by="test", input={}
        )
        await provisioning.start_run(conn, run.id, uuid4())
        server = await vps_instances.request_instance(
            conn, tenant_id=customer.pk, token="pm-test-1-01", region="12", monthly_cost=Decimal("9.99")
        )
        await vps_instances.note_address(conn, server.id, IPv4Address("198.51.100.7"))
        await vps_instances.move(conn, server.id, to="provisioning", allowed_from=["requested"])
        await smtp_ip_addresses.take_over(
            conn, tenant_id=customer.pk, vps_instance_id=server.id, ip_address=IPv4Address("198.51.100.7"),
            monthly_cost=Decimal(0),
        )  # fmt: skip
        (address,) = await smtp_ip_addresses.list_addresses(conn, server.id)
        await domain_ip_assignments.assign(
            conn, tenant_id=customer.pk, domain_id=domain["id"], smtp_ip_address_id=address.id
        )
        await domains.settle_identity(conn, domain["id"], name=DOMAIN, token="a" * 32, label="abcdefghij")
        secret = await vault.store(
            r,
            conn,
            tenant_id=customer.pk,
            purpose="dkim_private_key",
            path=f"dkim/{DOMAIN}/{OLD}",
            secret=key.private_pem,
        )
        await dkim_keys.add_key(
            conn, tenant_id=customer.pk, domain_id=domain["id"], selector=OLD, algorithm="ed25519-sha256",
            public_key=key.public_b64, private_key_secret_id=secret,
        )  # fmt: skip
    product.rows("UPDATE dkim_keys SET status = 'active', activated_at = now() - interval '10 days'")
    product.rows("UPDATE domains SET dns_records = %s, verification_status = 'verified'", json.dumps(picture(DOMAIN)))
    return product


def keys(product: Product) -> dict[str, str]:
    return {
        row["selector"]: row["status"] for row in product.rows("SELECT selector, status FROM dkim_keys ORDER BY id")
    }


def published_by_tenant(product: Product, dns: Internet) -> str:
    """The tenant enters the newest key as it was told."""
    row = product.rows("SELECT selector, public_key FROM dkim_keys ORDER BY id DESC LIMIT 1")[0]
    record = dated_key(DOMAIN, DkimRecord(row["selector"], "ed25519", row["public_key"]))
    for server in dns.servers:
        server.records += line(record) + "\n"
    return str(row["selector"])


def expected(product: Product) -> dict[str, str]:
    (row,) = product.rows("SELECT dns_records FROM domains")
    return {r["record_key"]: r["need"] for r in row["dns_records"]["records"] if r["record_key"].startswith("dkim")}


async def tended(product: Product, *, force: bool = False) -> list[str]:
    (domain,) = product.rows("SELECT id FROM domains")
    async with resources() as r:
        return await tend(r, domain["id"], force=force)


async def test_a_young_key_is_left_alone(tenant: Product) -> None:
    assert await tended(tenant) == []
    assert keys(tenant) == {OLD: "active"}


async def test_from_the_making_of_a_key_to_the_end_of_the_old_one(tenant: Product, dns: Internet) -> None:
    assert await tended(tenant, force=True) == [f"{DOMAIN}: a new ed25519-sha256 key was made"]
    (new,) = set(keys(tenant)) - {OLD}
    assert expected(tenant)[f"dkim-ed:{new}"] == "conditional"  # what is not published yet takes no green away
    assert expected(tenant)[f"dkim-ed:{OLD}"] == "required"

    assert await tended(tenant, force=True) == []  # not published yet, and no second successor
    (asked,) = tenant.rows("SELECT details FROM infrastructure_events WHERE event = 'dkim_to_publish'")
    assert (asked["details"]["domain"], asked["details"]["enter"]) == (DOMAIN, f"{new}._domainkey")
    assert asked["details"]["value"].startswith('"v=DKIM1; k=ed25519; p=')
    assert published_by_tenant(tenant, dns) == new
    assert await tended(tenant) == [f"{DOMAIN}: {new} is published", f"{DOMAIN}: {new} is verified"]
    assert await tended(tenant) == []  # somebody may still hold its absence
    assert keys(tenant) == {OLD: "active", new: "verified"}

    tenant.rows("UPDATE dkim_keys SET published_at = now() - interval '2 hours' WHERE selector = %s", new)
    assert await tended(tenant) == [f"{DOMAIN}: {new} signs instead of {OLD}"]
    assert keys(tenant) == {OLD: "retiring", new: "active"}
    assert expected(tenant) == {f"dkim-ed:{OLD}": "conditional", f"dkim-ed:{new}": "required"}

    assert await tended(tenant) == []  # mail that the old key signed is under way
    tenant.rows("UPDATE dkim_keys SET retiring_at = now() - interval '8 days' WHERE selector = %s", OLD)
    assert await tended(tenant) == [f"{DOMAIN}: {OLD} is revoked"]
    assert list(expected(tenant)) == [f"dkim-ed:{new}"]
    tenant.rows("UPDATE dkim_keys SET revoked_at = now() - interval '31 days' WHERE selector = %s", OLD)
    assert await tended(tenant) == [f"{DOMAIN}: {OLD} is deleted"]
    events = tenant.rows("SELECT event FROM infrastructure_events WHERE subject_type = 'dkim_key' ORDER BY id")
    assert [event["event"] for event in events] == [
        "dkim_to_publish", "dkim_published", "dkim_verified", "dkim_retiring", "dkim_active", "dkim_revoked",
        "dkim_deleted",
    ]  # fmt: skip


async def test_a_key_that_is_gone_from_dns_does_not_begin_to_sign(tenant: Product, dns: Internet) -> None:
    await tended(tenant, force=True)
    new = published_by_tenant(tenant, dns)
    await tended(tenant)
    tenant.rows("UPDATE dkim_keys SET published_at = now() - interval '2 hours' WHERE selector = %s", new)
    dns.change(f"{new}._domainkey.acme.example. 300", "gone.acme.example. 300", at="second")
    assert await tended(tenant) == []
    assert keys(tenant) == {OLD: "active", new: "verified"}


async def test_the_hourly_flow_takes_domains_with_something_due(tenant: Product) -> None:
    assert str((await rotate_dkim_keys(return_state=True)).message) == "nothing is due"
    tenant.rows("UPDATE dkim_keys SET activated_at = now() - interval '400 days'")
    state: Any = await rotate_dkim_keys(return_state=True)
    assert state.message == f"{DOMAIN}: a new ed25519-sha256 key was made"
    (domain,) = tenant.rows("SELECT id FROM domains")
    assert "nothing was onboarded" in str((await rotate_dkim_keys(domain["id"] + 1, return_state=True)).message)
