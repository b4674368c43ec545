"""Changes as one script and one payload, and what the host said to them."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from flows.policy.convergence.nouns import Change, File
from flows.policy.host_files import text

ARM_SECONDS = 120  # until the host undoes an unconfirmed change of firewall or sshd
LOCK_WAIT_SECONDS = 120  # for another apply, and for apt's and dpkg's locks
PATIENCE = {"waited": "waited {2} s for {0}: {1}", "restarted": "{0} came up at its second start; of the first: {1}"}
LATER = 75  # sysexits.h EX_TEMPFAIL: the same wish may be granted later


@dataclass(frozen=True, slots=True)
class Applied:
    """Every change was made; `done` names them as the host did, `waited` what it was patient with."""

    done: tuple[str, ...]
    waited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The host stopped at `reason`; what stands in `done` holds. `passing`: the same may work later."""

    reason: str  # apt-lock, apt-unreachable, apt-failed, disk-full, busy, check-<component>, unit-<unit> …
    detail: str
    passing: bool
    done: tuple[str, ...] = ()


def apply_script(
    changes: Iterable[Change], *, arm_seconds: int = ARM_SECONDS, lock_wait_seconds: int = LOCK_WAIT_SECONDS
) -> tuple[str, bytes]:
    """Script and standard input of the one command that makes the changes. File contents are in the input only."""
    changes = tuple(changes)
    payload = _archive(file for change in changes for file in change.files)
    lines = [text("apply.sh"), f"begin {sha256(payload).hexdigest()} {lock_wait_seconds}"]
    armed = False
    for change in changes:
        if change.armed and not armed:
            lines.append(f"arm {arm_seconds}")
            armed = True
        lines.append(change.script)
    return "\n".join([*lines, "finish", ""]), payload


def confirm_script() -> str:
    """Keeps an armed change for good. Refuses over the connection that armed it: run it from a second one."""
    lock = 'mkdir -p "$RUN" && exec 9>"$RUN/lock" && flock -w 30 9 || refuse $LATER busy "another run is at work"'
    return "\n".join([text("apply.sh"), lock, "confirm", "finish", ""])


def parse_outcome(status: int, output: str) -> Applied | Refused:
    """What the host made of a script of this file."""
    rows = [line.split("\t") for line in output.splitlines() if line]
    done = tuple(row[1] for row in rows if row[0] == "done")
    for row in rows:
        if row[0] == "refused":
            reason, detail = (*row[1:3], "", "")[:2]
            return Refused(reason, detail, status == LATER, done)
    if status == 0 and rows and rows[-1] == ["end"]:
        return Applied(done, tuple(PATIENCE[row[0]].format(*row[1:]) for row in rows if row[0] in PATIENCE))
    return Refused("unfinished", f"the script ended with status {status}", passing=True, done=done)


def _archive(files: Iterable[File]) -> bytes:
    """A tar whose members lie beside their places, so that each is renamed into it whole."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.path.lstrip("/") + ".penguin-new")
            entry.size, entry.mode = len(file.content), int(file.mode, 8)
            entry.uname, entry.gname = file.owner.split(":")
            archive.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()
