"""python -m flows jobs …, against real rows and a worker in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.__main__ import app
from flows.commands.jobs import health
from flows.commands.terminal import Exit
from sql.jobs import Depth
from tests.support.emulator import until
from tests.support.product import Product

ROOT = Path(__file__).parents[2]


def flows(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def put(product: Product, status: str = "queued", **payload: object) -> UUID:
    (row,) = product.rows(
        "INSERT INTO jobs (queue_name, status, payload, last_error_message, attempt_count)"
        " VALUES ('analytics', %s, %s, 'why', 3) RETURNING id",
        status, json.dumps(payload),
    )  # fmt: skip
    return row["id"]


def test_list_tells_how_the_queues_stand_and_why_jobs_died(product: Product) -> None:
    put(product)
    dead = put(product, "failed", n=7)
    said = json.loads(flows("jobs", "list", "--status", "failed", "--json").stdout)
    (queue,) = [row for row in said["queues"] if row["queue"] == "analytics"]
    assert (queue["due"], queue["failed"], queue["health"]) == (1, 1, "warn")
    (job,) = said["jobs"]
    assert (job["id"], job["payload"], job["last_error_message"]) == (str(dead), {"n": 7}, "why")
    assert str(dead) in flows("jobs", "list").stdout


def test_inspect_shows_every_attempt(product: Product) -> None:
    job = put(product, "failed")
    assert flows("jobs", "retry", str(job)).exit_code == 0
    said = json.loads(flows("jobs", "inspect", str(job), "--json").stdout)
    assert (said["status"], said["log"][0]["status"]) == ("queued", "retried")
    assert said["log"][0]["message"].startswith("by bootstrap:")
    assert flows("jobs", "inspect", str(uuid4())).exit_code == Exit.REJECTED


def test_retry_and_cancel_say_which_jobs_they_left(product: Product) -> None:
    dead, waiting = put(product, "failed"), put(product)
    said = flows("jobs", "cancel", str(dead), str(waiting))
    assert f"{dead}: left as it is" in said.stdout
    assert f"{waiting}: cancelled" in said.stdout
    assert flows("jobs", "cancel", str(waiting)).exit_code == Exit.REJECTED
    assert flows("jobs", "retry", str(dead), str(waiting)).stdout.count("queued again") == 2


def test_a_queue_is_paused_until_it_is_resumed(product: Product) -> None:
    assert flows("jobs", "pause", "analytics").exit_code == 0
    assert product.rows("SELECT is_active FROM job_queues WHERE name = 'analytics'") == [{"is_active": False}]
    assert "paused" in flows("jobs", "list").stdout
    (told,) = product.rows("SELECT title, message, is_resolved FROM system_notifications")
    assert (told["title"], told["is_resolved"]) == ("queue analytics is paused", False)
    assert told["message"].startswith("by bootstrap:")
    assert flows("jobs", "resume", "analytics").exit_code == 0
    assert product.rows("SELECT is_active FROM job_queues WHERE name = 'analytics'") == [{"is_active": True}]
    (told,) = product.rows("SELECT is_resolved, resolved_by FROM system_notifications")
    assert (told["is_resolved"], told["resolved_by"].partition(":")[0]) == (True, "bootstrap")
    assert flows("jobs", "pause", "nothing").exit_code == Exit.REJECTED


def test_what_cannot_be_meant_is_refused(product: Product) -> None:
    assert flows("jobs", "list", "--status", "lost").exit_code == Exit.USAGE
    assert flows("jobs", "work", "--queue", "warmup").exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("due", "failed", "active", "word"),
    [(0, 0, True, "fine"), (99, 0, True, "fine"), (100, 0, True, "warn"), (0, 1, True, "warn"), (1000, 0, True, "warn"),
     (1001, 0, True, "critical"), (0, 11, True, "critical"), (5000, 50, False, "paused")],
)  # fmt: skip
def test_the_health_of_a_queue(due: int, failed: int, active: bool, word: str) -> None:
    assert health(Depth("q", active, due, 0, 0, 0, failed, None)) == word


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_works_and_ends_with_nothing_in_hand(product: Product, name: signal.Signals) -> None:
    job = put(product)
    worker = subprocess.Popen(
        [sys.executable, "-m", "flows", "jobs", "work"], cwd=ROOT, env={**os.environ, **product.settings},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until(lambda: product.rows("SELECT 1 FROM jobs WHERE id = %s AND status = 'completed'", job) != [], "worked")
        worker.send_signal(name)
        said, _ = worker.communicate(timeout=60)
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == 0, said
    assert "stopped: nothing is left in hand" in said
