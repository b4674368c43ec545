"""The tables of a Prefect server that has just begun, kept on file: making them costs a server seven seconds of a core.

The first server of a checkout makes them from nothing, as every server does at a customer's.
"""

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

import httpx

from tests.support.scratch import scratch
from tests.support.sshd import free_port

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "var" / "prefect"
MAKERS = ("prefect", "sqlalchemy", "alembic")
START_SECONDS, END_SECONDS = 400, 60  # generous, for other work may share the machine
PAUSE_SECONDS = 0.3


def furnish(database: Path) -> None:
    """Put the tables where a server that is about to begin will look for its own."""
    database.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tables(), database)


def tables() -> Path:
    """The file, named by the versions that made it; the first who asks makes it, the others wait."""
    KEPT.mkdir(parents=True, exist_ok=True)
    file = KEPT / f"{'-'.join(version(maker) for maker in MAKERS)}.db"
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            make(file)
    return file


def make(file: Path) -> None:
    """Let a server begin and end, and keep what it wrote."""
    home, draft = scratch("server"), file.with_suffix(".partial")
    try:
        begin_and_end(home)
        draft.unlink(missing_ok=True)
        with closing(sqlite3.connect(home / "prefect.db")) as made, closing(sqlite3.connect(draft)) as kept:
            made.backup(kept)  # whole, wherever its last pages lie
    finally:
        shutil.rmtree(home, ignore_errors=True)
    draft.replace(file)


def begin_and_end(home: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {**bare(), "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(server_words(port), env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        await_answer(url, server, home / "server.log")
    finally:
        end(server)


def bare() -> dict[str, str]:
    """The environment without a word to Prefect or to us."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PENGUINMAILS_"))}


def server_words(port: int) -> list[str]:
    return [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]


def await_answer(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server answers; a server that ended says why."""
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=30) as client:
        while not answers(client, url):
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, "the Prefect server did not answer"
            time.sleep(PAUSE_SECONDS)


def answers(client: httpx.Client, url: str) -> bool:
    with suppress(httpx.HTTPError):
        return client.get(f"{url}/health").is_success
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process and its children to stop, and insist when they do not."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
