"""Starts the Hostwinds emulator of a world: it listens in the control room and boots hosts outside it."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.commands import start_for_good
from sandbox.network import CONTROL
from sandbox.state import process, write_whole

if TYPE_CHECKING:
    from sandbox.state import State

API_PORT = 8080
API_PATH = "/cloud/api.php"
START_LIMIT_SECONDS = 20.0
CHECKOUT = Path(__file__).parents[1]
NAME = "emulator"


def api_url() -> str:
    """Give the address of the API, as it is from the control room."""
    return f"http://{CONTROL}:{API_PORT}{API_PATH}"


def admin_socket(state: State) -> Path:
    """Give the path of the socket that takes faults and hooks."""
    return state.folder / NAME / "admin.sock"


def start_emulator(state: State, api_key: str) -> None:
    """Start the emulator in a session of its own and wait until its admin socket is there; raise TimeoutError."""
    folder = state.folder / NAME
    folder.mkdir(exist_ok=True)
    write_whole(folder / "api-key", api_key, 0o600)
    words = [sys.executable, "-m", "sandbox.hostwinds", "--listen", f"{CONTROL}:{API_PORT}"]
    words += ["--hosts", str(state.folder), "--admin", str(admin_socket(state)), "--key-file", str(folder / "api-key")]
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    # It begins when it is noted: were we killed before, its input would end and so would it.
    go, start = os.pipe()
    held = ["sh", "-c", 'read -r go && exec "$@" </dev/null', "sh", *words]
    env = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(CHECKOUT)}
    state.note("process", NAME, pid=0, started=0)
    started = process(start_for_good(held, env, stdin=go, out=log, err=log))
    if started:
        state.note("process", NAME, pid=started.pid, started=started.started)
        os.write(start, b"go\n")
    for descriptor in (log, go, start):
        os.close(descriptor)
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while not admin_socket(state).exists():
        if time.monotonic() > deadline or not (started and started.alive()):
            raise TimeoutError(f"the emulator did not start: {(folder / 'log').read_text()[-500:]}")
        threading.Event().wait(0.02)
