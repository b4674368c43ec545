"""What Prefect's pages show of a run is what the tables say, and a page that cannot be written costs nothing."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import artifacts
from flows.redact import redactor
from sql.provisioning import Run
from tests.support.product import Product

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = "http://127.0.0.1:9/api"


@flow
async def sweep(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Prefect makes artifacts for a flow alone."""
    await artifacts.show_sweep(key, rows, description)


async def shown(key: str) -> list[Any]:
    """The artifacts of a key."""
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return [artifact.data for artifact in found]


async def test_a_run_that_waits_shows_its_steps_and_the_line_that_ends_the_wait(product: Product) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    (page,) = await shown(artifacts.key_of(customer.uuid))
    run = product.run_of(customer)
    assert page.startswith(f"# onboard: waiting for {run['wait_reason']}")
    assert run["wait_detail"] in page
    assert "| admit | done |" in page
    assert "| await_server | waits |" in page


async def test_a_bar_shows_how_many_steps_are_true(product: Product) -> None:
    customer = product.sign_up()
    await product.onboard(customer)
    (share,) = await shown(f"{artifacts.key_of(customer.uuid)}-progress")
    assert 0 < share < 100


async def test_a_page_that_cannot_be_written_costs_nothing(product: Product, caplog: pytest.LogCaptureFixture) -> None:
    with temporary_settings({PREFECT_API_URL: NOBODY}):
        await artifacts.show_sweep("a-sweep", [{"address": "192.0.2.1"}], "one row")
    assert "artifact=a-sweep not written" in caplog.text


async def test_a_sweep_shows_its_worst_rows_and_counts_the_others(prefect_api: str) -> None:
    key = f"sweep-{uuid4()}"
    await sweep(key, [{"place": place} for place in range(artifacts.MOST_ROWS + 7)], "places")
    async with get_client() as client:
        (found,) = await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    assert found.data.count('"place"') == artifacts.MOST_ROWS
    assert found.description == "places; 7 more rows"


async def test_a_secret_in_a_row_is_not_shown(prefect_api: str) -> None:
    key, secret = f"sweep-{uuid4()}", "CANARY-artifact-secret"
    redactor.learn([secret])
    await sweep(key, [{"error": f"refused: {secret}"}], f"because of {secret}")
    (page,) = await shown(key)
    assert secret not in page
    assert "[redacted]" in page


@pytest.mark.parametrize("hostile", ["# now active", "<script>alert(1)</script>", "| a | b |\n| --- | --- |"])
def test_what_somebody_else_wrote_is_shown_as_written(hostile: str) -> None:
    page = artifacts.markdown(waiting(hostile), [], [])
    assert all(f"    {line}" in page.splitlines() for line in hostile.splitlines())


def waiting(detail: str) -> Run:
    return Run(
        id=uuid4(), tenant_id=1, tenant_uuid=uuid4(), kind="onboard", target="", idempotency_key="k",
        vps_instance_id=None, status="waiting", wait_reason="dns", last_wait_reason="dns", wait_detail=detail,
        resume_at=None, deadline_at=None, starts=1, idle_starts=0, flow_run_id=None, requested_by=None,
        cancel_requested_at=None, input={}, last_error_message=None, created_at=NOW, started_at=NOW, finished_at=None,
        updated_at=NOW,
    )  # fmt: skip
