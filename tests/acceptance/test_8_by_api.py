"""A back end that knows nothing but a tenant's id: Prefect's API takes it, a worker does the rest."""

import time
from collections.abc import Generator
from pathlib import Path
from urllib.error import URLError

import pytest

from sandbox.product import Product, end
from tests.support.world import PATIENCE_SECONDS, Lab
from tests.support.world_prefect import ask, ended, start

PORT = 4300
API = f"http://127.0.0.1:{PORT}/api"


@pytest.fixture(scope="module")
def with_worker(quiet: Lab) -> Generator[Lab]:
    """The installation in worker mode: a Prefect server of its own, everything installed into it, one worker."""
    settings = {name: value for name, value in quiet.product.environment.items() if name.startswith("PENGUINMAILS_")}
    product = Product(
        quiet.world, name="worker", settings={**settings, "PREFECT_API_URL": API, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    )
    lab = Lab(quiet.world, product, quiet.dsn, quiet.arguments)
    server = product.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(PORT))
    try:
        await_health(lab)
        installed = lab.flows("install")
        assert installed.code == 0, installed.said
        worker = product.start("prefect", "worker", "start", "--pool", "penguin", PENGUINMAILS_ROOT=str(Path.cwd()))
        try:
            yield lab
        finally:
            end(worker)
    finally:
        end(server)
        lab.tables.close()


def await_health(lab: Lab) -> None:
    """Until the Prefect server answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask(lab, "/health")
        except (URLError, ConnectionError):
            assert time.monotonic() < deadline, "the Prefect server does not answer"
            time.sleep(0.3)


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
