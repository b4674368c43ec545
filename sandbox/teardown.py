"""Takes a world down from what it noted on disk, whoever made it and however that ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sandbox.commands import attempt
from sandbox.hosts import NspawnHosts
from sandbox.images import ensure_images
from sandbox.memory import let_go
from sandbox.network import CONTROL_NAME, SWITCH_NAME, Network
from sandbox.state import Process, State, parent, process

if TYPE_CHECKING:
    from collections.abc import Callable

END_LIMIT_SECONDS = 2.0


def is_whole(state: State) -> bool:
    """Tell whether `up` came to its end and all that it noted still runs."""
    if not (state.folder / "info.json").exists():
        return False
    hosts = NspawnHosts(state, Network(state), ensure_images)
    daemons = (Process(note["pid"], note["started"]) for note in state.noted("process"))
    return all(hosts.running(name) for name in ("dns", "bigmail")) and all(daemon.alive() for daemon in daemons)


def take_down(state: State, say: Callable[[str], None]) -> None:
    """Remove processes, hosts, namespaces and the folder, in this order; each may be gone already."""
    (state.folder / "info.json").unlink(missing_ok=True)
    network = Network(state)
    hosts = NspawnHosts(state, network, ensure_images)
    for note in state.noted("process"):
        noted = Process(note["pid"], note["started"])
        _end(noted)
        noted.reap()
        state.forget("process", note["name"])
        say(f"removed {note['name']}")
    names = {note["name"] for note in state.noted("host")}
    names |= {note["name"] for note in state.noted("namespace")} - {CONTROL_NAME, SWITCH_NAME}
    with ThreadPoolExecutor(4) as workers:
        ends = {name: workers.submit(hosts.destroy, name) for name in sorted(names)}
        for name, end in ends.items():
            end.result()
            say(f"removed host {name}")
    _empty_control_room(network)
    for name in (CONTROL_NAME, SWITCH_NAME):
        network.remove_namespace(name)
    let_go(state.folder)
    shutil.rmtree(state.folder, ignore_errors=True)
    say(f"world {state.world} is down")


def _empty_control_room(network: Network) -> None:
    """End what was started in the control room and stayed: a server that serves a world that is gone."""
    own = _ancestors(os.getpid())
    listed = attempt("ip", "netns", "pids", network.control).out.split()
    strangers = [found for pid in listed if int(pid) not in own and (found := process(int(pid)))]
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(_end, strangers))


def _ancestors(pid: int) -> set[int]:
    """List a process and those it descends from: a world may be taken down from its own control room."""
    family: set[int] = set()
    while pid > 1:
        family.add(pid)
        pid = parent(pid)
    return family


def _end(ending: Process) -> None:
    """End a process: politely first, then for good. Whoever started a stranger waits for it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if ending.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(ending.pid, number)
        deadline = time.monotonic() + END_LIMIT_SECONDS
        while ending.alive() and time.monotonic() < deadline:
            threading.Event().wait(0.01)
