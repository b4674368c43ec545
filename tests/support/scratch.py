"""Temporary folders that a killed run leaves and the next one removes: whoever lives holds a lock on their own."""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

YOUNG_SECONDS = 60  # whoever made it may be about to take its lock
ROOM_BYTES = 2 * 1024**3
_held: list[int] = []  # until the process ends, however it ends


def scratch(kind: str, place: str | None = None) -> Path:
    """A new folder `penguin-<kind>-…` in `place`, or among the system's temporary files."""
    base = Path(place or tempfile.gettempdir())
    for left in base.glob(f"penguin-{kind}-*"):
        remove_abandoned(left)
    made = Path(tempfile.mkdtemp(prefix=f"penguin-{kind}-", dir=base))
    if (lock := locked(made)) is not None:
        _held.append(lock)
    return made


def fast_place() -> str | None:
    """Memory, where there is enough of it: a database is hundreds of files and waits for the disk at every commit."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_BYTES:
        return str(memory)
    return None


def remove_abandoned(folder: Path) -> None:
    """Remove a folder that nobody holds. A server that still runs in it ends itself when it misses its files."""
    try:
        young = time.time() - folder.stat().st_mtime < YOUNG_SECONDS
    except FileNotFoundError:
        return
    if not young and (lock := locked(folder)) is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def locked(folder: Path) -> int | None:
    """A lock on a folder; None while another process has it, or when it is not ours to open."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
