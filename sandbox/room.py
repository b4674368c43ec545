"""An ordinary user's room: a user namespace that holds network, hosts and commands, where that user is root.

It is opened by the first command that needs it, entered by every other, and closes itself when nothing runs in it.
Inside, everything is as it is for root of a machine (docs/decisions/0330).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sandbox.cgroups import join_group_of, own_group
from sandbox.commands import CommandFailed, start_for_good
from sandbox.images import cache_dir
from sandbox.network import RESOLV_CONF
from sandbox.state import Process, children, process, state_root, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

KEEPER = Path(__file__).with_name("keep_room.sh")
DOOR = "PENGUINMAILS_SANDBOX__DOOR"  # descriptor of the lock that a command holds until it is inside
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILD = ("unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork", "--mount-proc")
ROOM = (*BUILD, "--net", "--cgroup", "--kill-child")
SCOPE = ("systemd-run", "--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes")
PR_SET_PDEATHSIG = 1  # prctl(2)
# They lead to the user's session, which the room covers.
OUTSIDE_ONLY = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


def enter(words: Sequence[str]) -> NoReturn:
    """Become a command in the room; raise CommandFailed when the room cannot be opened."""
    folder = state_root()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if own_group() is None:
        _become(_in_scope(words), dict(os.environ))
    # Held until the command is inside: the room might close at this very moment.
    door = os.open(folder / "room.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(door, fcntl.LOCK_EX)
    first = standing(folder) or _open(folder)
    join_group_of(first.pid)
    os.set_inheritable(door, True)  # noqa: FBT003 - it takes no names
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nsenter waits for the command, which has it back
    into = ["nsenter", f"--target={first.pid}", "--user", "--mount", "--net", "--pid", "--cgroup"]
    _become([*into, "env", f"--chdir={Path.cwd()}", *words], {**inside_environment(), DOOR: str(door)})


def arrived() -> None:
    """Let go of the door; the command that calls this is inside, where it keeps the room open by itself."""
    door = os.environ.pop(DOOR, None)
    if door is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))  # who kills nsenter means the command
        fcntl.flock(int(door), fcntl.LOCK_UN)
        os.close(int(door))


def run_with_uplink(words: Sequence[str]) -> None:
    """Run a command as root of a passing user namespace that has the machine's network: images are built there.

    What it prints is not the caller's answer and goes to standard error. Raises CommandFailed.
    """
    done = subprocess.run([*BUILD, "--kill-child", *words], env=inside_environment(), stdout=sys.stderr, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(words)}: status {done.returncode}")


def inside_environment() -> dict[str, str]:
    """Return what a command finds inside: the user's own environment, the tools of root, the user's own folders."""
    kept = {name: value for name, value in os.environ.items() if name not in OUTSIDE_ONLY}
    return {
        **kept,
        "PATH": f"{os.environ.get('PATH', '')}:{PATH}",
        "PENGUINMAILS_SANDBOX__STATE_DIR": str(state_root()),
        "PENGUINMAILS_SANDBOX__CACHE_DIR": str(cache_dir()),
    }


def standing(folder: Path) -> Process | None:
    """Find process 1 of the room that is kept in a folder, as the machine numbers it; None when it is not open."""
    with contextlib.suppress(OSError, ValueError):
        pid, started = (folder / "room").read_text().split()
        found = Process(int(pid), int(started))
        return found if found.alive() else None
    return None


def _in_scope(words: Sequence[str]) -> list[str]:
    """Ask the user's own systemd for a control group, where this session has none; the command then starts over."""
    if "PENGUINMAILS_SANDBOX__SCOPE" in os.environ:
        raise CommandFailed("no control group of our own: see python -m sandbox doctor")
    os.environ["PENGUINMAILS_SANDBOX__SCOPE"] = "1"
    return [*SCOPE, *words]


def _open(folder: Path) -> Process:
    """Open the room and note its process 1."""
    ready, say = os.pipe()
    log = os.open(folder / "room.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    nowhere = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    words = [*ROOM, "/bin/sh", str(KEEPER), str(folder), RESOLV_CONF]
    opener = start_for_good(words, {"PATH": PATH, "LC_ALL": "C"}, stdin=nowhere, out=say, err=log)
    for descriptor in (say, log, nowhere):
        os.close(descriptor)
    with os.fdopen(ready) as line:
        answer = line.readline()
    first = next(iter(children(opener)), 0)
    found = process(first)
    if answer != "ready\n" or found is None:
        raise CommandFailed(f"no room could be opened: {(folder / 'room.log').read_text().strip()[-500:]}")
    write_whole(folder / "room", f"{found.pid} {found.started}\n", 0o600)
    return found


def _become(words: Sequence[str], environment: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    with contextlib.suppress(FileNotFoundError):
        os.execvpe(words[0], list(words), environment)  # noqa: S606 - the command takes this process's place, so its signals and status are its own
    raise CommandFailed(f"{words[0]}: not installed; see python -m sandbox doctor")
