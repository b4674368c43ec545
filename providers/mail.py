"""Submit one message, and read a mailbox; TLS is verified, nothing is ever sent in clear.

The standard library's clients block, so each conversation runs in a thread, whole and with a time limit of its own.
"""

import asyncio
import imaplib
import smtplib
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from providers.errors import Rejected, Unauthorized, Unavailable, Unconfirmed

T = TypeVar("T")

TIMEOUT_SECONDS = 20.0
FOLDERS = ("INBOX", "Junk")
AUTH_REFUSED = frozenset({530, 534, 535, 538})
PERMANENT = 500


@dataclass(frozen=True, slots=True)
class Submitted:
    """The server took responsibility for a message."""

    reply: str
    tls_version: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """A message as a mailbox holds it."""

    raw: bytes = field(repr=False)
    folder: str


class Submission:
    """One account at one submission port."""

    def __init__(
        self,
        host: str,
        port: int = 587,
        *,
        user: str,
        password: SecretStr,
        ca_file: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """STARTTLS is demanded and the certificate must name `host`."""
        self._host, self._port, self._user, self._password = host, port, user, password
        self._ca_file, self._timeout = ca_file, timeout_seconds

    async def send(self, message: bytes, *, sender: str, recipients: Sequence[str]) -> Submitted:
        """Hand over one message. Unavailable for a 4xx, Rejected for a 5xx, Unconfirmed when the end was not heard."""
        return await asyncio.to_thread(self._send, message, sender, list(recipients))

    def _send(self, message: bytes, sender: str, recipients: list[str]) -> Submitted:
        with _connection(lambda: smtplib.SMTP(self._host, self._port, timeout=self._timeout)) as smtp:
            tls_version = self._open(smtp)
            self._envelope(smtp, sender, recipients)
            code, reply = _data(smtp, message)
            _judge("data", code, reply)
            with suppress(smtplib.SMTPException, OSError):
                smtp.quit()
        return Submitted(reply.decode("utf-8", "replace"), tls_version, datetime.now(UTC))

    def _open(self, smtp: smtplib.SMTP) -> str:
        try:
            smtp.starttls(context=ssl.create_default_context(cafile=self._ca_file))
            smtp.login(self._user, self._password.get_secret_value())
        except smtplib.SMTPAuthenticationError as error:
            kind = Unauthorized if error.smtp_code in AUTH_REFUSED else Unavailable
            raise kind("mail", "login", f"{self._user}: {error.smtp_code} {_text(error.smtp_error)}") from None
        except smtplib.SMTPNotSupportedError as error:
            raise Rejected("mail", "starttls", f"{self._host} offers no TLS or no login: {error}") from error
        except ssl.SSLCertVerificationError as error:
            raise Rejected("mail", "starttls", f"{self._host}: {error.verify_message}") from error
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable("mail", "login", f"{self._host}: {type(error).__name__}") from error
        version = smtp.sock.version() if isinstance(smtp.sock, ssl.SSLSocket) else None
        return version or ""

    @staticmethod
    def _envelope(smtp: smtplib.SMTP, sender: str, recipients: list[str]) -> None:
        try:
            _judge("mail", *smtp.mail(sender))
            for recipient in recipients:
                _judge("rcpt", *smtp.rcpt(recipient))
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable("mail", "envelope", type(error).__name__) from error


class _connection:  # noqa: N801  a context manager reads as a word
    """An SMTP connection that is always closed; not reaching it means nothing happened."""

    def __init__(self, dial: Callable[[], smtplib.SMTP]) -> None:
        self._dial = dial
        self._smtp: smtplib.SMTP | None = None

    def __enter__(self) -> smtplib.SMTP:
        try:
            self._smtp = self._dial()
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable("mail", "connect", f"{type(error).__name__}: {error}") from error
        return self._smtp

    def __exit__(self, *_: object) -> None:
        if self._smtp is not None:
            self._smtp.close()


def _data(smtp: smtplib.SMTP, message: bytes) -> tuple[int, bytes]:
    """Once the text has begun to travel, silence no longer means that nothing happened."""
    try:
        return smtp.data(message)
    except smtplib.SMTPDataError as error:
        return error.smtp_code, _bytes(error.smtp_error)
    except (smtplib.SMTPException, OSError) as error:
        raise Unconfirmed("mail", "data", f"no final answer: {type(error).__name__}") from error


def _judge(action: str, code: int, reply: bytes) -> None:
    if code < 400:  # noqa: PLR2004  RFC 5321 section 4.2.1
        return
    kind = Rejected if code >= PERMANENT else Unavailable
    raise kind("mail", action, f"{code} {_text(reply)}")


def _text(reply: bytes | str) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply


def _bytes(reply: bytes | str) -> bytes:
    return reply if isinstance(reply, bytes) else reply.encode()


class Mailbox:
    """One account at one IMAP server."""

    def __init__(
        self,
        host: str,
        port: int = 993,
        *,
        user: str,
        password: SecretStr,
        ca_file: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """TLS from the first byte; the certificate must name `host`."""
        self._host, self._port, self._user, self._password = host, port, user, password
        self._ca_file, self._timeout = ca_file, timeout_seconds

    async def find(self, header: str, value: str) -> tuple[Found, ...]:
        """Messages in INBOX and Junk whose header holds exactly this value."""
        return await asyncio.to_thread(self._find, header, value)

    def _find(self, header: str, value: str) -> tuple[Found, ...]:
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
            with imaplib.IMAP4_SSL(self._host, self._port, ssl_context=context, timeout=self._timeout) as imap:
                self._login(imap)
                return tuple(found for folder in FOLDERS for found in _search(imap, folder, header, value))
        except ssl.SSLCertVerificationError as error:
            raise Rejected("mail", "imap", f"{self._host}: {error.verify_message}") from error
        except (imaplib.IMAP4.error, OSError) as error:
            raise Unavailable("mail", "imap", f"{self._host}: {type(error).__name__}") from error

    def _login(self, imap: imaplib.IMAP4) -> None:
        try:
            imap.login(self._user, self._password.get_secret_value())
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            raise Unauthorized("mail", "imap", f"{self._user}: the login was refused") from None


def _search(imap: imaplib.IMAP4, folder: str, header: str, value: str) -> list[Found]:
    """Exact, although IMAP's HEADER search finds substrings (RFC 3501 section 6.4.4)."""
    status, _ = imap.select(folder, readonly=True)
    if status != "OK":
        return []
    _, hits = imap.search(None, "HEADER", header, f'"{value}"')
    numbers: list[bytes] = (hits[0] or b"").split()
    bodies = [_body(imap, number.decode()) for number in numbers]
    return [Found(body, folder) for body in bodies if body and _has(body, header, value)]


def _body(imap: imaplib.IMAP4, number: str) -> bytes | None:
    _, parts = imap.fetch(number, "(BODY.PEEK[])")
    return next((part[1] for part in parts if isinstance(part, tuple)), None)


def _has(body: bytes, header: str, value: str) -> bool:
    head = body.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]
    return any(line.lower() == f"{header}: {value}".lower().encode() for line in head.split(b"\n"))
