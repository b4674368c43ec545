"""What a world writes is kept in memory while there is plenty: nobody reads it once the world is gone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sandbox.commands import run
from sandbox.identity import in_user_namespace, ordinary

PLENTY_BYTES = 12 * 1024**3  # several worlds at once take what they write
MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")  # a container sees its own control group there; the machine's own has no limit


def keep_in_memory(folder: Path) -> bool:
    """Lay memory over an empty folder; False when it stays on disk."""
    if ordinary() or free_bytes() < PLENTY_BYTES:
        return False
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder))
    if _takes_marks(folder):
        return True
    run("umount", str(folder))
    return False


def let_go(folder: Path) -> None:
    """Take everything off that is mounted at or below a folder, the innermost first."""
    mounted = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    for point in sorted((point for point in mounted if f"{point}/".startswith(f"{folder}/")), reverse=True):
        run("umount", "--lazy", point)


def free_bytes() -> int:
    """Memory that nobody would miss: of the machine, or of the container that we are in."""
    lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit, whose word is `max`
        limit = int((CONTAINER / "memory.max").read_text())
        free = min(free, limit - int((CONTAINER / "memory.current").read_text()))
    return free


def _takes_marks(folder: Path) -> bool:
    """Tell whether an overlay can mark deletions there: before Linux 6.6 a room could not, in memory."""
    mark = f"{'user' if in_user_namespace() else 'trusted'}.penguin"
    try:
        os.setxattr(folder, mark, b"1")
        os.removexattr(folder, mark)
    except OSError:
        return False
    return True
