"""An IMAP server on loopback, real on the wire as far as finding messages needs it."""

import base64
import re
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser

DATE = b"22-Nov-2026 11:00:00 +0100"
DROP = "drop"
SILENT = "silent"
QUOTED = re.compile(r'"([^"]*)"')


@dataclass
class ImapServer:
    """What a test may set and see. `replies` maps a command to the tagged answer said instead of the usual one."""

    context: ssl.SSLContext
    password: str
    folders: dict[str, list[bytes]] = field(default_factory=lambda: {"INBOX": []})
    replies: Mapping[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    date: bytes = DATE
    port: int = 0
    ending: threading.Event = field(default_factory=threading.Event)


class Conversation(socketserver.StreamRequestHandler):
    owner: ImapServer

    def setup(self) -> None:
        self.request.settimeout(20)
        self.request = self.owner.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        self.messages: list[bytes] = []
        with suppress(OSError, EOFError):
            self.wfile.write(b"* OK IMAP4rev1 ready\r\n")
            while line := self.rfile.readline().decode().strip():
                tag, command, *rest = line.split(" ", 2)
                self.owner.commands.append(command)
                usual = getattr(self, f"on_{command.lower()}")(" ".join(rest))
                reply = self.owner.replies.get(command, usual)
                if reply == SILENT:
                    self.owner.ending.wait(300)
                if reply in {SILENT, DROP}:
                    return
                self.wfile.write(f"{tag} {reply}\r\n".encode())

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()
        self.request.close()

    def on_capability(self, _: str) -> str:
        self.wfile.write(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
        return "OK done"

    def on_authenticate(self, _: str) -> str:
        self.wfile.write(b"+ \r\n")
        given = base64.b64decode(self.rfile.readline())
        right = given == f"\0box@bigmail.example\0{self.owner.password}".encode()
        return "OK welcome" if right else f"NO [AUTHENTICATIONFAILED] not {given.decode()}"

    def on_examine(self, rest: str) -> str:
        folder = rest.strip('"')
        if folder not in self.owner.folders:
            return "NO no such folder"
        self.messages = self.owner.folders[folder]
        self.wfile.write(f"* {len(self.messages)} EXISTS\r\n".encode())
        return "OK [READ-ONLY] done"

    def on_search(self, rest: str) -> str:
        header, value = QUOTED.findall(rest)
        found = [
            str(number)
            for number, raw in enumerate(self.messages, 1)
            if any(value in text for text in BytesHeaderParser().parsebytes(raw).get_all(header, []))
        ]
        self.wfile.write(f"* SEARCH {' '.join(found)}\r\n".encode())
        return "OK done"

    def on_fetch(self, rest: str) -> str:
        number = int(rest.split(maxsplit=1)[0])
        assert rest.split(" ", 1)[1] == "(INTERNALDATE BODY.PEEK[])"
        raw = self.messages[number - 1]
        self.wfile.write(b'* %d FETCH (INTERNALDATE "%s" BODY[] {%d}\r\n' % (number, self.owner.date, len(raw)))
        self.wfile.write(raw + b")\r\n")
        return "OK done"

    def on_logout(self, _: str) -> str:
        self.wfile.write(b"* BYE\r\n")
        return "OK done"


class Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that ends the handshake is part of the test."""


@contextmanager
def imap_server(server: ImapServer) -> Iterator[ImapServer]:
    conversation = type("Conversation", (Conversation,), {"owner": server})
    with Listener(("127.0.0.1", 0), conversation) as listener:
        server.port = listener.server_address[1]
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.ending.set()
            listener.shutdown()
