"""A back end that knows nothing but a tenant's id: Prefect's API takes it, a worker does the rest."""

from collections.abc import Generator
from pathlib import Path

import pytest

from sandbox.product import end
from tests.support.world import Lab
from tests.support.world_prefect import ask, ended, start


@pytest.fixture(scope="module")
def with_worker(quiet: Lab) -> Generator[Lab]:
    """The second installation in worker mode: everything installed into its Prefect server, and one worker."""
    installed = quiet.flows("install")
    assert installed.code == 0, installed.said
    worker = quiet.product.start(
        "prefect", "worker", "start", "--pool", "penguin",
        PENGUINMAILS_ROOT=str(Path.cwd()), PREFECT_WORKER_QUERY_SECONDS="2",
    )  # fmt: skip
    try:
        yield quiet
    finally:
        end(worker)


def test_a_tenant_id_is_all_a_back_end_sends(with_worker: Lab) -> None:
    tenant = with_worker.add_tenant("by-api")
    flow_run = start(with_worker, "onboard_tenant/on-signup", tenant_id=tenant.uuid)
    state = ended(with_worker, flow_run)
    assert (state["type"], state["name"]) == ("COMPLETED", "Completed"), state["message"]
    assert with_worker.run_of(tenant)["status"] == "succeeded"
    assert with_worker.instance_of(tenant)["status"] == "active"
    assert [proof["verdict"] for proof in with_worker.proofs_of(tenant)] == ["pass"]
    assert with_worker.bought_for(tenant) == ["server"]
    shown = ask(with_worker, f"/flow_runs/{flow_run}")
    assert shown["parameters"] == {"tenant_id": tenant.uuid}
    assert shown["work_pool_name"] == "penguin"
