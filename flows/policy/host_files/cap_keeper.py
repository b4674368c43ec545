"""Keeps the day's caps on this host: a policy server for Postfix (SMTPD_POLICY_README), standard library only.

Asked once a message, at DATA, with the number of recipients. What it grants is on disk before the answer leaves. It
knows nothing of the worker: the caps arrive in a file that is replaced as a whole, and without one nothing is granted.
Every UTC day has a ledger of its own, so a clock that goes back finds the day as it was spent.
"""

import json
import math
import os
import socket
import socketserver
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

LEDGERS_KEPT = 40
STALE_SHARE = 0.5  # of a plan that has run out, for one day
FORSAKEN_CAP = 5  # recipients a day, when nobody has sent a plan for longer
LISTEN_FD = 3  # the first socket systemd hands over (sd_listen_fds(3))


class Ledger:
    """What each name was granted on one UTC day; one line a grant, `recipients<TAB>name<TAB>name…`."""

    def __init__(self, folder: Path) -> None:
        """Reads and writes below `folder`, which exists."""
        self._folder = folder
        self._day = ""
        self._used: Counter[str] = Counter()

    def used(self, name: str, day: str) -> int:
        """Recipients granted to `name` on `day` (ISO date)."""
        self._turn_to(day)
        return self._used[name]

    def note(self, names: Iterable[str], recipients: int, day: str) -> None:
        """Remember a grant; on disk when this returns. OSError if it could not be kept."""
        self._turn_to(day)
        names = tuple(names)
        with self._path(day).open("ab") as file:
            file.write("\t".join((str(recipients), *names)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        for name in names:
            self._used[name] += recipients

    def _path(self, day: str) -> Path:
        return self._folder / f"granted-{day}"

    def _turn_to(self, day: str) -> None:
        if day == self._day:
            return
        path = self._path(day)
        with path.open("ab+") as file:  # a line torn by a power cut must not swallow the next one
            if file.tell() and path.read_bytes()[-1:] != b"\n":
                file.write(b"\n")
        self._used = Counter()
        for recipients, names in map(_grant, path.read_text(errors="replace").splitlines()):
            self._used.update(dict.fromkeys(names, recipients))
        self._sync_folder()
        self._day = day
        for old in sorted(self._folder.glob("granted-*"))[:-LEDGERS_KEPT]:
            old.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _grant(line: str) -> tuple[int, tuple[str, ...]]:
    recipients, *names = line.split("\t")
    return (int(recipients), tuple(names)) if recipients.isdigit() else (0, ())


def user_cap(caps: Mapping[str, Any], user: str, now: datetime) -> int:
    """Recipients `user` may address on the day of `now`."""
    if user in caps["canaries"]:
        return int(caps["canary_cap"])
    planned = caps["users"].get(user)
    first_day = int(caps["first_day"])
    if planned is None or caps["valid_until"] is None:
        return first_day
    return _worn(int(planned), datetime.fromisoformat(caps["valid_until"]), now)


def address_cap(caps: Mapping[str, Any], address: str, now: datetime) -> int | None:
    """Recipients that may leave by `address` on the day of `now`; None where no plan says."""
    planned = caps["addresses"].get(address)
    if planned is None or caps["valid_until"] is None:
        return None
    return _worn(int(planned), datetime.fromisoformat(caps["valid_until"]), now)


def _worn(planned: int, valid_until: datetime, now: datetime) -> int:
    """A plan that has run out is halved for a day, then next to nothing."""
    if now < valid_until:
        return planned
    if now < valid_until + timedelta(days=1):
        return math.floor(planned * STALE_SHARE)
    return min(planned, FORSAKEN_CAP)


class Keeper:
    """Answers Postfix's questions; one at a time, so that two messages never share the last recipient."""

    def __init__(self, caps_file: Path, ledger: Ledger) -> None:
        """The file is read anew for every question: it is small, and may be replaced at any time."""
        self._caps_file = caps_file
        self._ledger = ledger
        self._lock = threading.Lock()

    def answer(self, question: Mapping[str, str], now: datetime) -> str:
        """The action for one question: DUNNO, or a temporary refusal with its reason."""
        try:
            caps = json.loads(self._caps_file.read_text())
            with self._lock:
                return self._judge(caps, question, now)
        except FileNotFoundError:
            return "450 4.7.1 this host has no sending plan"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            sys.stderr.write(f"cannot judge: {type(error).__name__}: {error}\n")
            return "450 4.3.0 the sending plan of this host cannot be read"

    def _judge(self, caps: Mapping[str, Any], question: Mapping[str, str], now: datetime) -> str:
        user = question.get("sasl_username", "").lower()
        recipients = int(question.get("recipient_count") or 0)
        if not user or recipients < 1:
            return "450 4.7.1 only a mailbox that has logged in may send, and to somebody"
        day = now.astimezone(UTC).date().isoformat()
        address = str(caps["address_of"].get(user.rpartition("@")[2], ""))
        limits = {user: user_cap(caps, user, now), address: address_cap(caps, address, now)}
        for name, limit in limits.items():
            if limit is not None and self._ledger.used(name, day) + recipients > limit:
                if limit == 0:
                    return f"450 4.7.1 {name} may send nothing for now: its owner is asked to look at the account"
                return f"450 4.7.1 {name} may address {limit} recipients on {day} (UTC), try again tomorrow"
        self._ledger.note(filter(None, limits), recipients, day)
        return "DUNNO"


class Conversation(socketserver.StreamRequestHandler):
    """One connection of an smtpd process, which asks many questions over it."""

    def handle(self) -> None:
        """Answer until Postfix hangs up."""
        server = cast("Server", self.server)
        while question := read_question(self.rfile):
            action = server.keeper.answer(question, datetime.now(UTC))
            self.wfile.write(f"action={action}\n\n".encode())


def read_question(lines: BinaryIO | Iterable[bytes]) -> dict[str, str]:
    """One question: name=value lines up to an empty one. Empty at the end of the connection or a torn question."""
    question: dict[str, str] = {}
    for line in lines:
        text = line.decode(errors="replace").rstrip("\r\n")
        if not text:
            return question
        name, _, value = text.partition("=")
        question[name] = value
    return {}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on the socket systemd opened, so that none is refused while this program restarts."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, keeper: Keeper) -> None:
        """Takes over a socket that already listens."""
        super().__init__("", Conversation, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.keeper = keeper


def main() -> None:
    """Serve until killed: `cap_keeper.py CAPS_FILE LEDGER_FOLDER`, with the socket on descriptor 3."""
    keeper = Keeper(Path(sys.argv[1]), Ledger(Path(sys.argv[2])))
    with Server(socket.socket(fileno=LISTEN_FD), keeper) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
