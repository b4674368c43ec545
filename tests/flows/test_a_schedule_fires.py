"""A schedule really makes runs and they really complete: the one thing that a wrong SQLAlchemy breaks in silence."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.emulator import until
from tests.support.postgres import Server
from tests.support.prefect_tables import ROOT, await_answer, bare, end, furnish, server_words
from tests.support.sshd import free_port

FIRE_SECONDS = 400  # a loaded machine must not turn this red; on an idle one it takes fifteen
WANTED = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}


@contextmanager
def process(words: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a session of its own, ended with all its children."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield started
    finally:
        end(started)


# The second costs a second server's start; whoever touches Prefect's, FastAPI's or SQLAlchemy's version asks for it.
DATABASES = ["sqlite", *(["postgresql"] if os.environ.get("PENGUINMAILS_TEST_PG15") == "1" else [])]


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Prefect's own database; PostgreSQL where Debian's server is, for Prefect wants a contrib extension."""
    if request.param == "sqlite":
        furnish(tmp_path / "prefect.db")
        return f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}"
    server: Server = request.getfixturevalue("debian_server")
    with psycopg.connect(server.admin_dsn, autocommit=True) as conn:
        conn.execute("DROP DATABASE IF EXISTS prefect_smoke WITH (FORCE)")
        conn.execute("CREATE DATABASE prefect_smoke")
    return server.dsn("prefect_smoke").replace("postgresql://", "postgresql+asyncpg://")


def fired(client: httpx.Client) -> bool:
    """Whether a run that the scheduler made has completed."""
    reply = client.post("/flow_runs/filter", json=WANTED)
    reply.raise_for_status()
    return any(run["auto_scheduled"] for run in reply.json())


def test_a_schedule_fires(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **bare(),
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": url,
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "PYTHONPATH": str(ROOT),
    }
    server_log, runner_log = tmp_path / "server.log", tmp_path / "runner.log"
    served = [sys.executable, "-m", "tests.support.scheduled_flow"]
    with process(server_words(port), environment, server_log) as server:
        await_answer(url, server, server_log)
        with process(served, environment, runner_log) as runner, httpx.Client(base_url=url, timeout=60) as client:
            until(lambda: fired(client) or runner.poll() is not None, "a scheduled run completes", FIRE_SECONDS, 0.5)
            assert fired(client), runner_log.read_text()[-2000:]
    assert "bulk DML" not in server_log.read_text()
