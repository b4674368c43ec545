"""An event makes Prefect look at once: ids in, the right deployment started."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.events import emit_event

from flows import automations, nudges, serving
from tests.support.flow_runs import runs_for
from tests.support.product import Product

PATIENCE_SECONDS = 120


async def heard(prefect_api: str, event: str, resource: str) -> list[dict[str, Any]]:
    """Events of one name about one resource, as the server has them; they arrive when they arrive."""
    wanted = {"filter": {"event": {"name": [event]}, "resource": {"id": [resource]}}, "limit": 10}
    async with httpx.AsyncClient() as client, asyncio.timeout(PATIENCE_SECONDS):
        while True:
            reply = await client.post(f"{prefect_api}/events/filter", json=wanted)
            if found := reply.raise_for_status().json()["events"]:
                return found
            await asyncio.sleep(0.2)


@pytest.fixture
async def installed(prefect_api: str) -> None:
    for deployment in await serving.deployments():
        await deployment.apply()
    await automations.install()


async def test_a_run_that_waits_says_so_with_ids_alone(product: Product, prefect_api: str) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    run = product.run_of(customer)
    (event,) = await heard(prefect_api, nudges.RUN_WAITING, f"penguin.run.{run['id']}")
    assert event["resource"] == {
        "prefect.resource.id": f"penguin.run.{run['id']}", "penguin.tenant": str(customer.uuid),
        "penguin.run": str(run["id"]), "penguin.status": "waiting_for_provider",
    }  # fmt: skip


async def test_a_tenant_that_subscribed_is_onboarded(installed: None) -> None:
    tenant = uuid4()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await runs_for(tenant):  # a server that has just learned the automation may miss the first
            emit_event(
                nudges.TENANT_SUBSCRIBED,
                resource={"prefect.resource.id": f"penguin.tenant.{tenant}", "penguin.tenant": str(tenant)},
            )
            await asyncio.sleep(2)
    assert (await runs_for(tenant))[0].parameters == {"tenant_id": str(tenant)}
