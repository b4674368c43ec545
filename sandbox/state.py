"""What a world has made, noted on disk before it is made, so that any later process can take it down again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.identity import ordinary, room_owner

if TYPE_CHECKING:
    from collections.abc import Generator

DEFAULT_WORLD = "lab"
ROOT = Path("/var/lib/penguinmails-sandbox")
TURN_LIMIT_SECONDS = 60.0
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")  # a folder that root removes, and the start of a namespace's name
SHOWN = 40  # characters of a name that is refused
START_TIME_FIELD = 22  # of /proc/PID/stat, proc(5)


class WorldBusy(RuntimeError):
    """Another process is raising or taking down this world right now."""


class NoWorldName(ValueError):
    """What was given cannot name a world."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process for good: a number alone may be given to a stranger after its owner died."""

    pid: int
    started: int  # clock ticks since boot

    def alive(self) -> bool:
        """Tell whether this very process still runs; a zombie does not."""
        fields = _stat_fields(self.pid)
        return fields is not None and fields[0] != "Z" and int(fields[START_TIME_FIELD - 3]) == self.started

    def reap(self) -> None:
        """Let go of its number, if it was a child of ours that has ended; nobody waits for it else."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)


def process(pid: int) -> Process | None:
    """Look up a running process; None when there is none of that number."""
    fields = _stat_fields(pid)
    return Process(pid, int(fields[START_TIME_FIELD - 3])) if fields else None


def parent(pid: int) -> int:
    """Return the number of a process's parent; 0 when it is gone or has none."""
    fields = _stat_fields(pid)
    return int(fields[1]) if fields else 0


def children(pid: int) -> list[int]:
    """List the direct children of a process; none when it is gone."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on: the second may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


class State:
    """The folder of one world: notes about its objects, its lock, and the place for everything it writes."""

    def __init__(self, world: str = DEFAULT_WORLD, folder: Path | None = None) -> None:
        """Name a world and its folder; nothing is made yet. Raises NoWorldName."""
        self.world = checked_name(world)
        self.folder = folder or state_dir(world)

    def namespace(self, name: str) -> str:
        """Give the network namespace of a host, of the control room (`ctl`) or of the switch (`sw`)."""
        return f"pm{self.world}-{name}"

    def host_folder(self, name: str) -> Path:
        """Give the folder that holds a host's disk, console and process number."""
        return self.folder / "hosts" / name

    def note(self, kind: str, name: str, **facts: Any) -> None:
        """Write down an object that is about to exist, or what became known of it."""
        (self.folder / "objects").mkdir(parents=True, exist_ok=True)
        write_whole(self._note(kind, name), json.dumps({"kind": kind, "name": name, **facts}))

    def forget(self, kind: str, name: str) -> None:
        """Strike out an object that is gone."""
        self._note(kind, name).unlink(missing_ok=True)

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return the note of one object, None when there is none."""
        try:
            return json.loads(self._note(kind, name).read_text())
        except FileNotFoundError:
            return None

    def noted(self, kind: str) -> list[dict[str, Any]]:
        """Return the notes of all objects of one kind, by name."""
        return [json.loads(path.read_text()) for path in sorted((self.folder / "objects").glob(f"{kind}@*.json"))]

    @property
    def left_over(self) -> bool:
        """Tell whether anything is noted."""
        return any((self.folder / "objects").glob("*.json"))

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Hold the world's lock while it is raised or taken down; raise WorldBusy after a minute's wait."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the folder, not in it: the folder is removed while the lock is held.
        with self.folder.with_suffix(".lock").open("w") as lock:
            self._await_turn(lock.fileno())
            yield

    def _await_turn(self, lock: int) -> None:
        deadline = time.monotonic() + TURN_LIMIT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise WorldBusy(f"another process is raising or taking down the world {self.world!r}") from error
                threading.Event().wait(0.1)
            else:
                return

    def _note(self, kind: str, name: str) -> Path:
        return self.folder / "objects" / f"{kind}@{name}.json"


def checked_name(world: str) -> str:
    """Return a world's name; raise NoWorldName for what may lead out of the folder of all worlds, or is too long."""
    if NAME.fullmatch(world):
        return world
    raise NoWorldName(
        f"{world[:SHOWN]!r} names no world: lower-case letters, digits and hyphens, 30 at most, the first no hyphen"
    )


def state_dir(world: str) -> Path:
    """Where a world lives: in a folder of its name below the root of all."""
    return state_root() / world


def state_root() -> Path:
    """Where worlds live: PENGUINMAILS_SANDBOX__STATE_DIR, by default below /var/lib or the ordinary user's home."""
    chosen = os.environ.get("PENGUINMAILS_SANDBOX__STATE_DIR")
    if chosen:
        return Path(chosen)
    if ordinary() or room_owner():
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "penguinmails-sandbox"
    return ROOT


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old one or the new one, never a half."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode)
    draft.write_text(text)
    draft.rename(path)
