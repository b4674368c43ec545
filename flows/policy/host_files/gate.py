"""Stands at Postfix's doors as a milter (protocol version 6): authors of what is submitted, tokens of return paths.

It has two doors. At submission every message has a login: its author must be of the login's domain, and a return path
must be one we made. At port 25 a bounce is let in when its return path was made by us and is not too old. It knows
nothing but a file of keys. What it cannot judge it defers at submission and lets in at port 25: a bounce must not be
lost, and its reader looks at the token again.
"""

import json
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from io import BufferedIOBase
from pathlib import Path
from typing import Final, cast

from flows.policy import authors, verp

# Commands and answers are one letter each; the numbers are bits of the negotiation.
CONTINUE, DEFER = b"c", b"t"
SILENT: Final = b"DAK"  # a macro list, an abort, a quit that keeps the connection: nobody waits for an answer
VERSION: Final = 6
NO_CONNECT, NO_HELO, NO_BODY, NO_UNKNOWN, NO_DATA = 0x1, 0x2, 0x10, 0x100, 0x200
UNWANTED: Final = NO_CONNECT | NO_HELO | NO_BODY | NO_UNKNOWN | NO_DATA
HEAD: Final = 4  # bytes that tell the length of a command
LONGEST: Final = 1 << 20  # bytes of one command; a header is far below
LISTEN_FDS: Final = {"submission": 3, "arrival": 4}  # in the order of the socket unit (sd_listen_fds(3))

Keys = Mapping[str, tuple[bytes, ...]]


def keys_in(path: Path) -> Keys:
    """Keys of return paths by sending domain. OSError or ValueError when the file cannot be trusted."""
    written = cast("dict[str, list[str]]", json.loads(path.read_text()))
    return {domain: tuple(bytes.fromhex(key) for key in keys) for domain, keys in written.items()}


@dataclass(slots=True)
class Conversation:
    """What one connection of Postfix is about; messages follow one another on it."""

    keys: Callable[[], Keys]
    today: Callable[[], date]
    submission: bool
    login: str = ""
    authors: list[str] = field(default_factory=list[str])

    def answer(self, command: bytes, data: bytes) -> bytes:
        """The packet that answers one command; empty where none is awaited."""
        match command:
            case b"O":
                _, _, offered = struct.unpack("!III", data[:12])
                return packet(b"O", struct.pack("!III", VERSION, 0, offered & UNWANTED))
            case b"D":
                if data[:1] == b"M":
                    self.login = macros(data[1:]).get("{auth_authen}", "").lower()
            case b"M":
                self.authors = []
                return self._on_sender(words(data)[0])
            case b"R":
                return self._on_recipient(words(data)[0])
            case b"L":
                name, value = words(data)[:2]
                if name.strip().lower() == "from":
                    self.authors.append(value)
            case b"N":
                return self._on_headers()
            case _:
                pass
        return b"" if command in SILENT else packet(CONTINUE)

    def _on_sender(self, sender: str) -> bytes:
        if not self.submission:
            return packet(CONTINUE)
        if not self.login:
            return refused("5.7.1 only a mailbox that has logged in may send")
        return self._on_return_path(sender)

    def _on_recipient(self, recipient: str) -> bytes:
        return packet(CONTINUE) if self.submission else self._on_return_path(recipient)

    def _on_return_path(self, address: str) -> bytes:
        match verp.read(address, self.keys(), self.today()).standing:
            case verp.Standing.FORGED:
                return refused("5.1.1 this return path was not made by us")
            case verp.Standing.EXPIRED:
                return refused("5.1.6 this return path has expired")
            case _:
                return packet(CONTINUE)

    def _on_headers(self) -> bytes:
        if not self.submission:
            return packet(CONTINUE)
        why = authors.refusal(self.authors, self.login.rpartition("@")[2])
        return refused(f"5.7.1 {why}") if why else packet(CONTINUE)


def packet(command: bytes, data: bytes = b"") -> bytes:
    """One packet: its length, its letter, its data."""
    return struct.pack("!I", len(command + data)) + command + data


def refused(text: str) -> bytes:
    """A refusal for good, with its reason; a percent sign would be a format of Postfix."""
    return packet(b"y", f"550 {text}".replace("%", "%%").encode("ascii", "replace") + b"\0")


def words(data: bytes) -> list[str]:
    """Strings that each end in NUL; octets keep their value, whatever their script."""
    return data.decode("latin-1").split("\0")


def macros(data: bytes) -> dict[str, str]:
    """Names and values in turn."""
    listed = words(data)
    return dict(zip(listed[::2], listed[1::2], strict=False))


def commands(line: BufferedIOBase) -> Callable[[], tuple[bytes, bytes] | None]:
    """Reads one command after the other: its letter and its data, None at the end."""

    def following() -> tuple[bytes, bytes] | None:
        head = line.read(HEAD)
        size = int.from_bytes(head) if len(head) == HEAD else 0
        if not 0 < size <= LONGEST:
            return None
        body = line.read(size)
        return (body[:1], body[1:]) if len(body) == size and body[:1] != b"Q" else None

    return following


class Connection(socketserver.StreamRequestHandler):
    """One connection of an smtpd process, handed on to cleanup for the headers."""

    def handle(self) -> None:
        """Answer until Postfix hangs up; an answer that cannot be found is one as well."""
        door = cast("Door", self.server)
        conversation = Conversation(door.keys, lambda: datetime.now(UTC).date(), door.submission)
        following = commands(self.rfile)
        while (asked := following()) is not None:
            try:
                answer = conversation.answer(*asked)
            except (OSError, ValueError, TypeError, AttributeError, IndexError, struct.error) as error:
                sys.stderr.write(f"cannot judge: {type(error).__name__}: {error}\n")
                answer = packet(DEFER if door.submission else CONTINUE)
            self.wfile.write(answer)


class Door(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on a socket systemd opened, so that none is refused while this program restarts."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, keys: Callable[[], Keys], *, submission: bool) -> None:
        """Takes over a socket that already listens."""
        super().__init__("", Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.keys = keys
        self.submission = submission


def main() -> None:
    """Serve both doors until killed: `gate.py KEYS_FILE`, the file read anew whenever it is asked for."""
    path = Path(sys.argv[1])
    doors = [
        Door(socket.socket(fileno=number), lambda: keys_in(path), submission=name == "submission")
        for name, number in LISTEN_FDS.items()
    ]
    threads = [threading.Thread(target=door.serve_forever) for door in doors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
