"""Runs the Hostwinds emulator as a process of the world: it listens in the control room and boots hosts outside it."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.network import CONTROL
from sandbox.state import process

if TYPE_CHECKING:
    from sandbox.state import State

API_PORT = 8080
START_LIMIT_SECONDS = 20.0
CHECKOUT = Path(__file__).parents[1]


def available() -> bool:
    """Tell whether this checkout has the emulator."""
    return find_spec("sandbox.hostwinds.server") is not None


def start_emulator(state: State, api_key: str) -> None:
    """Start the emulator in a session of its own and wait until its admin socket is there; raise TimeoutError."""
    folder = state.folder / "emulator"
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "SANDBOX_API_KEY": api_key}
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nowhere = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    streams = [(os.POSIX_SPAWN_DUP2, nowhere, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    words = [sys.executable, "-m", "sandbox.emulation", str(state.folder)]
    pid = os.posix_spawn(sys.executable, words, env, file_actions=streams, setsid=True)
    started = process(pid)
    state.note("process", "emulator", pid=pid, started=started.started if started else 0)
    os.close(log)
    os.close(nowhere)
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while not (folder / "admin.sock").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the emulator did not start: see {folder}/log")
        threading.Event().wait(0.02)


def serve_world(folder: Path) -> None:
    """Serve the API for the world in this folder until the process is ended."""
    from sandbox.hostwinds import server  # noqa: PLC0415 - only this process needs it
    from sandbox.world import World  # noqa: PLC0415 - world.py starts this module's process

    world = World.attach(folder)
    with world.enter_control():
        listener = socket.create_server((str(CONTROL), API_PORT))
    server.serve(
        listener,
        folder / "emulator" / "admin.sock",
        world,
        server.EmulatorConfig(api_key=os.environ["SANDBOX_API_KEY"]),
    )


if __name__ == "__main__":
    serve_world(Path(sys.argv[1]))
