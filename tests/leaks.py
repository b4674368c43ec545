"""Play the demo ten times in a row and look whether anything stays behind: make leaks (ROUNDS=3 for fewer).

With PLAY=world a round only raises a world and removes it: seconds instead of minutes.

What bears the world's name or ours is judged; the machine's own figures stand beside it, for others share them.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox import room
from sandbox.images import cache_dir
from sandbox.state import DEFAULT_WORLD, state_root
from tests.support.leftovers import leftovers

CHECKOUT = Path(__file__).resolve().parents[1]
WORLD = os.environ.get("PENGUINMAILS_SANDBOX__WORLD") or DEFAULT_WORLD
SETTLING_SECONDS = 20.0  # a room closes within a second of its last command
LOCKS = {f"{WORLD}.lock", "room.lock", "room.log"}
PLAYS = {"demo": (("demo",),), "world": (("up",), ("run", "--", "getent", "hosts", "mx.bigmail.example"), ("down",))}
HEAD = (
    "round  seconds  failed  left  processes  mounts  namespaces  open files  MiB of state  MiB of cache  MiB on disk"
)


@dataclass(frozen=True, slots=True)
class Figures:
    """The machine's own."""

    processes: int
    mounts: int
    namespaces: int
    open_files: int
    state_mb: int
    cache_mb: int
    disk_mb: int


def main(rounds: int, play: str) -> int:
    print(f"{HEAD}\n{'':>7}{'':>9}{'':>14}{line(figures())}", flush=True)
    worst = 0
    for number in range(1, rounds + 1):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="leaks-") as temporary:
            failed = [told for words in PLAYS[play] if (told := said_when_it_failed(words, temporary))]
            took = time.monotonic() - began
            left = settled(Path(temporary))
        print(f"{number:>5}  {took:>7.1f}  {len(failed):>6}  {len(left):>4}{line(figures())}", flush=True)
        print("\n".join(failed + [f"       left: {one}" for one in left]), end="\n" if failed or left else "")
        worst = max(worst, bool(failed), bool(left))
    print("nothing is left" if not worst else "NOT AS IT MUST BE")
    return worst


def said_when_it_failed(words: tuple[str, ...], temporary: str) -> str:
    """Play one command to its end; its last lines when it did not succeed."""
    played = subprocess.run(
        [sys.executable, "-m", "sandbox", "--world", WORLD, *words],
        cwd=CHECKOUT, env={**os.environ, "TMPDIR": temporary}, check=False, stdin=subprocess.DEVNULL,
        capture_output=True, text=True,
    )  # fmt: skip
    return "\n".join((played.stdout + played.stderr).splitlines()[-12:] or ["?"]) if played.returncode else ""


def settled(temporary: Path) -> list[str]:
    """What stays when everything had time to end."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while (left := everything_left(temporary)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def everything_left(temporary: Path) -> list[str]:
    found = leftovers(WORLD)
    found += [f"room {room.standing(state_root())}"] if room.standing(state_root()) else []
    found += [f"file {path}" for path in state_root().glob("*") if path.stem == WORLD and path.name not in LOCKS]
    return found + [f"temporary file {path}" for path in sorted(temporary.iterdir())]


def figures() -> Figures:
    ids = {link for path in Path("/proc").glob("[0-9]*/ns/*") if (link := target(path))}
    return Figures(
        processes=len(list(Path("/proc").glob("[0-9]*"))),
        mounts=len(Path("/proc/self/mounts").read_text().splitlines()),
        namespaces=len(ids),
        open_files=int(Path("/proc/sys/fs/file-nr").read_text().split()[0]),
        state_mb=size_mb(state_root()),
        cache_mb=size_mb(cache_dir()),
        disk_mb=used_mb(state_root()),
    )


def target(link: Path) -> str | None:
    try:
        return str(link.readlink())
    except OSError:
        return None  # it ended while we looked, or is another user's


def size_mb(folder: Path) -> int:
    told = subprocess.run(["du", "-sxm", str(folder)], check=False, capture_output=True, text=True).stdout.split()
    return int(told[0]) if told else 0


def used_mb(folder: Path) -> int:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    told = os.statvfs(there)
    return (told.f_blocks - told.f_bfree) * told.f_frsize // 2**20


def line(now: Figures) -> str:
    machine = f"{now.processes:>11}{now.mounts:>8}{now.namespaces:>12}{now.open_files:>12}"
    return f"{machine}{now.state_mb:>14}{now.cache_mb:>14}{now.disk_mb:>13}"


if __name__ == "__main__":
    sys.exit(main(int(os.environ.get("ROUNDS") or 10), os.environ.get("PLAY") or "demo"))
