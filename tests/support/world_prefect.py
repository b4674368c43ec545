"""The Prefect server as a back end or an operator sees it: over its API, from the control room."""

import json
import time
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.support.world import PATIENCE_SECONDS, Lab

BUSY_SECONDS = 180.0
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def ask(lab: Lab, path: str, **body: Any) -> Any:
    """POST to the API; without a body a GET. At 503 (its SQLite is locked) Prefect's clients ask again, so do we.

    A GET that is not answered is asked again too: it changes nothing.
    """
    words = json.dumps(body).encode() if body else None
    request = Request(
        f"{lab.product.environment['PREFECT_API_URL']}{path}", words, {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            with lab.world.enter_control(), urlopen(request, timeout=60 if words else 20) as reply:
                return json.load(reply)
        except HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                raise
        except TimeoutError:
            if words or time.monotonic() > deadline:
                raise
        time.sleep(1)


def start(lab: Lab, deployment: str, **parameters: str) -> str:
    """Run a deployment with these parameters and nothing else; the id of its flow run."""
    found = ask(lab, f"/deployments/name/{deployment}")
    return ask(lab, f"/deployments/{found['id']}/create_flow_run", parameters=parameters)["id"]


def ended(lab: Lab, flow_run: str) -> dict[str, Any]:
    """The state of a flow run once it has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        state = ask(lab, f"/flow_runs/{flow_run}")["state"]
        if state["type"] in ENDED:
            return state
        time.sleep(0.5)
    raise AssertionError(f"flow run {flow_run} did not end")
