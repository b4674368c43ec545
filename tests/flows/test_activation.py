"""The gate: nothing is active whose domain is not verified and whose delivery is not proven, freshly, on every path."""

import json
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any
from uuid import uuid4

import pytest

from flows.onboarding.activation import ensure_active
from flows.outcomes import Done, Outcome, Waiting
from flows.resources import resources
from sql import delivery_proofs, domain_ip_assignments, provisioning, smtp_ip_addresses, vps_instances
from sql.provisioning import Run
from sql.session import as_orchestrator
from tests.support.product import Customer, Product

VERIFIED = "UPDATE domains SET verification_status = 'verified', verified_at = now()"


async def furnished(product: Product, customer: Customer) -> Run:
    """A started run of a tenant that has a server with one address, dealt to its domain."""
    (domain,) = product.rows("SELECT id FROM domains WHERE tenant_id = %s", customer.pk)
    async with resources() as r, as_orchestrator(r.pool) as conn:
        run = await provisioning.open_or_join_run(
            conn, tenant_id=customer.pk, kind="onboard", target="", idempotency_key="k", requested_by="test", input={}
        )
        started = await provisioning.start_run(conn, run.id, uuid4())
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
    assert started is not None
    return started


async def proven(product: Product, run: Run, verdict: str = "pass", receiver: str = "proof@receiver.example") -> None:
    """A canary that was read back and judged."""
    (row,) = product.rows("SELECT domain_id, smtp_ip_address_id FROM domain_ip_assignments")
    async with resources() as r, as_orchestrator(r.pool) as conn:
        proof = await delivery_proofs.intend_proof(
            conn, tenant_id=run.tenant_id, run_id=run.id, receiver=receiver, nonce=uuid4().hex, message_id="<x@y>",
            domain_id=row["domain_id"], smtp_ip_address_id=row["smtp_ip_address_id"],
        )  # fmt: skip
        await delivery_proofs.note_verdict(conn, proof.id, verdict=verdict, checks={}, raw_message=b"From: x")


def statuses(product: Product) -> tuple[Any, ...]:
    (server,) = product.rows("SELECT status FROM vps_instances")
    (box,) = product.rows("SELECT status FROM email_accounts")
    return server["status"], box["status"]


async def asked(product: Product, run: Run) -> Outcome:
    return await ensure_active(run.id)


async def test_verified_and_proven_becomes_active_and_says_so_once(product: Product) -> None:
    run = await furnished(product, product.sign_up())
    product.rows(VERIFIED)
    await proven(product, run)
    assert isinstance(await asked(product, run), Done)
    assert statuses(product) == ("active", "active")
    assert len(product.rows("SELECT 1 FROM infrastructure_events WHERE event = 'tenant_active'")) == 1


OLD = "UPDATE delivery_proofs SET received_at = now() - interval '25 hours'"
UNVERIFIED = "UPDATE domains SET verification_status = 'pending', verified_at = NULL"


@pytest.mark.parametrize(
    ("verdicts", "change"),
    [
        ([], VERIFIED),
        (["pass"], UNVERIFIED),
        (["fail"], VERIFIED),
        (["unknown"], VERIFIED),
        (["pass", "fail"], VERIFIED),  # the newest of one path counts
        (["pass"], f"{VERIFIED}; {OLD}"),
    ],
    ids=["no proof", "not verified", "failed", "unknown", "failed since", "stale"],
)
async def test_nothing_is_active_without_fresh_evidence(product: Product, verdicts: list[str], change: str) -> None:
    run = await furnished(product, product.sign_up())
    for verdict in verdicts:
        await proven(product, run, verdict)
    for statement in change.split("; "):
        product.rows(statement)
    outcome = await asked(product, run)
    assert isinstance(outcome, Waiting)
    assert (outcome.reason, "acme.example" in outcome.detail) == ("operator", True)
    assert statuses(product) == ("provisioning", "pending")
    assert product.rows("SELECT 1 FROM infrastructure_events") == []


async def test_a_server_that_cannot_become_active_is_said_with_its_cure(product: Product) -> None:
    run = await furnished(product, product.sign_up())
    product.rows(f"{VERIFIED}; UPDATE vps_instances SET status = 'requested'")
    await proven(product, run)
    outcome = await asked(product, run)
    assert isinstance(outcome, Waiting)
    assert outcome.reason == "operator"
    assert f"python -m flows retry {run.id} --from order_server" in outcome.detail
    assert statuses(product) == ("requested", "pending")


async def test_every_receiver_must_have_accepted(product: Product) -> None:
    one = json.loads(product.settings["PENGUINMAILS_MAIL__PROOF_RECEIVERS"])
    product.configure(MAIL__PROOF_RECEIVERS=json.dumps([*one, {**one[0], "address": "proof@strict.example"}]))
    run = await furnished(product, product.sign_up())
    product.rows(VERIFIED)
    await proven(product, run)
    assert isinstance(await asked(product, run), Waiting)
    await proven(product, run, "fail", "proof@strict.example")
    assert isinstance(await asked(product, run), Waiting)
    assert statuses(product) == ("provisioning", "pending")
    await proven(product, run, "pass", "proof@strict.example")
    assert isinstance(await asked(product, run), Done)
    assert statuses(product) == ("active", "active")
