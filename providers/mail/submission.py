"""Hand one message to a mail server: STARTTLS with a checked certificate, AUTH, all recipients or none."""

import base64
import contextlib
import re
import smtplib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from pydantic import SecretStr

from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.mail.line import Line, in_thread

PROVIDER = "smtp"
ACTION = "send"
LINE_END = re.compile(rb"\r\n|\r|\n")
ADDRESS = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")  # visible ASCII without < and >
REFUSED_FOR_GOOD = 500  # RFC 5321 4.2.1: 5yz
REFUSES_CREDENTIAL = frozenset({530, 534, 535, 538})  # RFC 4954 6


@dataclass(frozen=True, slots=True)
class Submitted:
    """The server's word that it took the message; `at` is UTC."""

    queue_reply: str
    tls_version: str
    at: datetime


class Submission:
    """The submission port of one mail server, for one user."""

    def __init__(
        self,
        host: str,
        port: int = 587,
        *,
        user: str,
        password: SecretStr,
        ca_file: Path | None,
        address: IPv4Address | None = None,
        source: IPv4Address | None = None,
        timeout_seconds: float = 30,
        limit_seconds: float = 120,
    ) -> None:
        """The certificate must bear `host`, also when `address` says where to connect.

        `timeout_seconds` holds for each step, `limit_seconds` for the whole conversation.
        """
        self._host = host
        self._port = port
        self._user = user
        self._password = password
        self._ca_file = ca_file
        self._address = address
        self._source = source
        self._timeout_seconds = timeout_seconds
        self._limit_seconds = limit_seconds

    async def send(self, message: bytes, *, sender: str, recipients: Sequence[str]) -> Submitted:
        """Submit one message; an empty `sender` is the null sender.

        Unavailable: 4xx, or lost before the end of the message. Rejected: 5xx. Unauthorized: the credential was
        refused. Unconfirmed: lost after the end of the message was sent; it may be on its way.
        """
        envelope = _envelope(sender, recipients)
        line = Line(self._host, self._port, self._ca_file, self._timeout_seconds)
        conversation = _Conversation(line, self._host, (self._user, self._password))

        def work() -> Submitted:
            try:
                return conversation.hold(self._address, self._source, envelope, message)
            finally:
                line.close()

        return await in_thread(work, line, self._limit_seconds)


class _Conversation:
    """One SMTP session, blocking."""

    def __init__(self, line: Line, host: str, credential: tuple[str, SecretStr]) -> None:
        self._line = line
        self._host = host
        self._user, self._password = credential
        self._sent = False  # the end of the message has left us: from here on it may be delivered

    def hold(
        self, address: IPv4Address | None, source: IPv4Address | None, envelope: Sequence[str], message: bytes
    ) -> Submitted:
        client = smtplib.SMTP(local_hostname="[127.0.0.1]")  # without a name the library asks the DNS who we are
        try:
            client.sock = plain = self._line.dial(address, source)
            client.local_hostname = f"[{plain.getsockname()[0]}]"
            self._expect(220, client.getreply())
            version = self._secure(client, plain)
            self._log_in(client)
            reply = self._transfer(client, envelope, message)
            with contextlib.suppress(smtplib.SMTPException, OSError):
                client.docmd("QUIT")
        except (smtplib.SMTPException, OSError, EOFError, ValueError) as error:
            raise self._failed(Unconfirmed if self._sent else Unavailable, _words(error)) from error
        finally:
            client.close()
        return Submitted(reply, version, datetime.now(UTC))

    def _secure(self, client: smtplib.SMTP, plain: socket.socket) -> str:
        self._expect(250, client.ehlo())
        if not client.has_extn("starttls"):
            raise self._failed(Rejected, "the server offers no STARTTLS")
        self._expect(220, client.docmd("STARTTLS"))
        secured = client.sock = self._line.secure(plain)
        client.file = None  # whatever came in clear before TLS is not listened to (RFC 3207 6)
        self._expect(250, client.ehlo())
        return secured.version() or "unknown"

    def _log_in(self, client: smtplib.SMTP) -> None:
        if "PLAIN" not in client.esmtp_features.get("auth", "").upper().split():
            raise self._failed(Rejected, "the server offers no AUTH PLAIN")
        code, text = client.docmd("AUTH", f"PLAIN {self._secret()}")
        if code in REFUSES_CREDENTIAL:
            raise self._failed(Unauthorized, f"{code} {self._clean(text)}")
        self._expect(235, (code, text))

    def _transfer(self, client: smtplib.SMTP, envelope: Sequence[str], message: bytes) -> str:
        sender, *recipients = envelope
        body = " BODY=8BITMIME" if not message.isascii() and client.has_extn("8bitmime") else ""
        self._expect(250, client.docmd("MAIL", f"FROM:<{sender}>{body}"))
        for recipient in recipients:
            self._expect(250, client.docmd("RCPT", f"TO:<{recipient}>"))
        self._expect(354, client.docmd("DATA"))
        client.send(_stuffed(message))
        self._sent = True
        client.send(b".\r\n")
        code, text = client.getreply()
        self._expect(250, (code, text))
        return f"{code} {self._clean(text)}"

    def _expect(self, wanted: int, reply: tuple[int, bytes]) -> None:
        code, text = reply
        if code < 0:
            raise EOFError("unreadable answer")
        if code != wanted:
            raise self._failed(Rejected if code >= REFUSED_FOR_GOOD else Unavailable, f"{code} {self._clean(text)}")

    def _secret(self) -> str:
        return base64.b64encode(f"\0{self._user}\0{self._password.get_secret_value()}".encode()).decode()

    def _clean(self, text: bytes) -> str:
        # A server may quote what it was sent.
        words = " ".join(text.decode(errors="replace").split())
        return words.replace(self._secret(), "***").replace(self._password.get_secret_value(), "***")

    def _failed(self, kind: type[ProviderError], words: str) -> ProviderError:
        return kind(PROVIDER, ACTION, f"{self._host}: {words}")


def _envelope(sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
    addresses = (*recipients, *filter(None, [sender]))
    if not recipients or not all(map(ADDRESS.fullmatch, addresses)):
        raise Rejected(PROVIDER, ACTION, "an envelope needs plain addresses and at least one recipient")
    return (sender, *recipients)


def _stuffed(message: bytes) -> bytes:
    """Give the message as it goes over the wire: CRLF line ends, dots doubled at line starts (RFC 5321 4.5.2)."""
    lines = LINE_END.split(message.removesuffix(b"\n").removesuffix(b"\r"))
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
