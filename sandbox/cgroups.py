"""Control groups, version 2: where each host gets one of its own, and systemd in it finds an empty tree."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

TREE = Path("/sys/fs/cgroup")
REMOVE_LIMIT_SECONDS = 2.0


def mounts() -> list[Path]:
    """List where the tree of version 2 can be seen, the latest mount first: a room's hides the machine's."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    points = [Path(line[1]) for line in reversed(lines) if line[2] == "cgroup2"]
    return [point for point in points if (point / "cgroup.controllers").exists()]


def group_of(pid: int | str = "self") -> Path | None:
    """Return the folder of a process's group; None where there is no version 2."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    group = next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), None)
    return next((mount / group for mount in mounts() if group is not None), None)


def own_group() -> Path | None:
    """Return our group when we may make others in it, else None."""
    folder = group_of()
    return folder if folder and os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK) else None


def join_group_of(pid: int) -> None:
    """Move into the group of another process of ours; in it already is well."""
    group = group_of(pid)
    if group is not None and group != group_of():
        (group / "cgroup.procs").write_text(str(os.getpid()))


def group_for(name: str) -> Path | None:
    """Name the group that a host is to have; None where systemd-nspawn uses a tree of version 1, which it sorts out."""
    own = own_group() if TREE in mounts() else None
    return own / name if own else None


def remove_group(group: Path) -> None:
    """Remove a group and those in it once the last process has left; gone already is well."""
    deadline = time.monotonic() + REMOVE_LIMIT_SECONDS
    while group.is_dir() and time.monotonic() < deadline:
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):  # a process is still on its way out
                folder.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        threading.Event().wait(0.02)
