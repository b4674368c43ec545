"""A schedule really makes runs and they really complete: the one thing that a wrong SQLAlchemy breaks in silence."""

import os
import signal
import socket
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

ROOT = Path(__file__).parents[2]
START_SECONDS = 180
FIRE_SECONDS = 180  # a loaded machine must not turn this red; on an idle one it takes fifteen
WANTED = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def process(words: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a session of its own, ended with all its children."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield started
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


# The second costs a second server's start; whoever touches Prefect's, FastAPI's or SQLAlchemy's version asks for it.
DATABASES = ["sqlite", *(["postgresql"] if os.environ.get("PENGUINMAILS_TEST_PG15") == "1" else [])]


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Prefect's own database; PostgreSQL where Debian's server is, for Prefect wants a contrib extension."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}"
    server: Server = request.getfixturevalue("debian_server")
    with psycopg.connect(server.admin_dsn, autocommit=True) as conn:
        conn.execute("DROP DATABASE IF EXISTS prefect_smoke WITH (FORCE)")
        conn.execute("CREATE DATABASE prefect_smoke")
    return server.dsn("prefect_smoke").replace("postgresql://", "postgresql+asyncpg://")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def fired(url: str) -> bool:
    """Whether a run that the scheduler made has completed."""
    reply = httpx.post(f"{url}/flow_runs/filter", json=WANTED, timeout=10)
    reply.raise_for_status()
    return any(run["auto_scheduled"] for run in reply.json())


def test_a_schedule_fires(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PENGUINMAILS_"))}
    environment = {
        **kept,
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": url,
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "PYTHONPATH": str(ROOT),
    }
    server_log = tmp_path / "server.log"
    start = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with process(start, environment, server_log) as server:
        until(lambda: answers(url) or server.poll() is not None, "the server answers", START_SECONDS)
        with process(["-m", "tests.support.scheduled_flow"], environment, tmp_path / "runner.log") as runner:
            until(lambda: fired(url) or runner.poll() is not None, "a scheduled run completes", FIRE_SECONDS)
            assert fired(url), (tmp_path / "runner.log").read_text()[-2000:]
    assert "bulk DML" not in server_log.read_text()
