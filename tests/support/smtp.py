"""A submission server on loopback, real on the wire (STARTTLS, AUTH PLAIN, DATA), that fails where it is told to."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

DROP = "drop"  # instead of an answer: end the connection
SILENT = "silent"  # instead of an answer: say nothing until the server ends


@dataclass
class Received:
    """One message as it was accepted."""

    sender: str
    recipients: list[str]
    content: bytes
    arguments: str


@dataclass
class SmtpServer:
    """What a test may set and see. `replies` maps a verb, `greeting` or `message` to what is said instead."""

    context: ssl.SSLContext
    password: str
    replies: Mapping[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = ("AUTH PLAIN LOGIN", "8BITMIME")
    starttls: bool = True
    received: list[Received] = field(default_factory=list)
    clear_text: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    ending: threading.Event = field(default_factory=threading.Event)


class Conversation(socketserver.StreamRequestHandler):
    owner: SmtpServer

    def handle(self) -> None:
        self.owner.connections += 1
        self.secured = False
        self.message = Received("", [], b"", "")
        with suppress(OSError, EOFError):
            self.say("greeting", "220 mail.acme.example ESMTP")
            while line := self.rfile.readline():
                if not self.secured:
                    self.owner.clear_text.append(line)
                verb, _, rest = line.decode().strip().partition(" ")
                getattr(self, f"on_{verb.lower()}", self.on_other)(rest)

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()
        self.request.close()

    def say(self, occasion: str, usual: str) -> bool:
        reply = self.owner.replies.get(occasion, usual)
        if reply == SILENT:
            self.owner.ending.wait(300)
        if reply in {SILENT, DROP}:
            raise EOFError
        self.wfile.write(reply.encode() + b"\r\n")
        return reply == usual

    def on_ehlo(self, _: str) -> None:
        features = list(self.owner.features) if self.secured else ["STARTTLS"] * self.owner.starttls
        lines = ["mail.acme.example", *features]
        text = "\r\n".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)
        self.say("ehlo", text)

    def on_starttls(self, _: str) -> None:
        if self.say("starttls", "220 go ahead"):
            self.request = self.owner.context.wrap_socket(self.request, server_side=True)
            self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", buffering=0)
            self.secured = True

    def on_auth(self, rest: str) -> None:
        right = base64.b64encode(f"\0postmaster@acme.example\0{self.owner.password}".encode()).decode()
        self.say("auth", "235 welcome" if rest == f"PLAIN {right}" else f"535 5.7.8 no: {rest}")

    def on_mail(self, rest: str) -> None:
        address, _, arguments = rest.partition(" ")
        self.message = Received(address.removeprefix("FROM:"), [], b"", arguments)
        self.say("mail", "250 ok")

    def on_rcpt(self, rest: str) -> None:
        self.message.recipients.append(rest.removeprefix("TO:"))
        self.say("rcpt", "250 ok")

    def on_data(self, _: str) -> None:
        if not self.say("data", "354 go on"):
            return
        if self.owner.replies.get("body") == DROP:
            raise EOFError
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise EOFError
            self.message.content += line
        if self.owner.replies.get("message", "2").startswith("2"):
            self.owner.received.append(self.message)
        self.say("message", "250 2.0.0 Ok: queued as 4T1x")

    def on_quit(self, _: str) -> None:
        self.say("quit", "221 bye")

    def on_other(self, _: str) -> None:
        self.say("other", "500 what?")


class Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def submission_server(server: SmtpServer) -> Iterator[SmtpServer]:
    conversation = type("Conversation", (Conversation,), {"owner": server})
    with Listener(("127.0.0.1", 0), conversation) as listener:
        server.port = listener.server_address[1]
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.ending.set()
            listener.shutdown()
