"""Find messages in an IMAP mailbox by an exact header."""

import email.parser
import imaplib
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from pydantic import SecretStr

from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable
from providers.mail.line import Line, in_thread

PROVIDER = "imap"
ACTION = "find"
FOLDERS = ("INBOX", "Junk")
FETCH_LIMIT = 20  # newest messages of one folder that are looked at; a nonce stands in one
TEXT = re.compile(r"[ !#-\[\]-~]+")  # what may stand in an IMAP quoted string, without quotes
INTERNAL_DATE = re.compile(rb'INTERNALDATE "([^"]+)"')
NOT_THE_CREDENTIAL = re.compile(r"\[(UNAVAILABLE|INUSE|LIMIT|SERVERBUG|CONTACTADMIN)\]", re.IGNORECASE)  # RFC 5530


@dataclass(frozen=True, slots=True)
class Found:
    """One message as it lies in the mailbox; `received_at` is UTC."""

    raw: bytes = field(repr=False)
    folder: str
    received_at: datetime | None


class Mailbox:
    """One user's mailbox at one IMAP server, read only."""

    def __init__(
        self,
        host: str,
        port: int = 993,
        *,
        user: str,
        password: SecretStr,
        ca_file: Path | None,
        address: IPv4Address | None = None,
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
        self._timeout_seconds = timeout_seconds
        self._limit_seconds = limit_seconds

    async def find(self, header: str, value: str) -> tuple[Found, ...]:
        """Give the messages in INBOX and Junk whose header equals the value; nothing is marked as read.

        Unavailable: not reached, lost, or an unreadable answer. Unauthorized: the credential was refused.
        """
        if not TEXT.fullmatch(header) or not TEXT.fullmatch(value):
            raise Rejected(PROVIDER, ACTION, "header and value must be plain ASCII without quotes")
        line = Line(self._host, self._port, self._ca_file, self._timeout_seconds)

        def work() -> tuple[Found, ...]:
            try:
                client = _Client(line, self._address, self._timeout_seconds)
                try:
                    return client.last(tuple(self._search(client, header, value)))
                finally:
                    client.hang_up()
            except (imaplib.IMAP4.error, OSError, EOFError, ValueError) as error:
                raise self._failed(Unavailable, self._clean(error)) from error
            finally:
                line.close()

        return await in_thread(work, line, self._limit_seconds)

    def _search(self, client: "_Client", header: str, value: str) -> Iterator[Found]:
        self._log_in(client)
        for folder in FOLDERS:
            answer, _ = client.select(folder, readonly=True)
            if answer == "OK":
                yield from _matching(client, folder, header, value)
            elif folder == "INBOX":
                raise self._failed(Unavailable, "INBOX does not open")

    def _log_in(self, client: "_Client") -> None:
        credential = f"\0{self._user}\0{self._password.get_secret_value()}".encode()
        try:
            client.authenticate("PLAIN", lambda _: credential)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            words = self._clean(error)
            raise self._failed(Unavailable if NOT_THE_CREDENTIAL.search(words) else Unauthorized, words) from None

    def _clean(self, error: Exception) -> str:
        # A server may quote what it was sent.
        return (str(error) or type(error).__name__).replace(self._password.get_secret_value(), "***")

    def _failed(self, kind: type[ProviderError], words: str) -> ProviderError:
        return kind(PROVIDER, ACTION, f"{self._host}: {words}")


class _Client(imaplib.IMAP4):
    """The library's client on a line of ours."""

    def __init__(self, line: Line, address: IPv4Address | None, timeout_seconds: float) -> None:
        self._line = line
        self._address = address
        super().__init__(timeout=timeout_seconds)

    def _create_socket(self, timeout: float | None) -> socket.socket:  # noqa: ARG002 (the line has it)
        # The seam that the library's own TLS client uses; it takes no address apart from the name.
        return self._line.secure(self._line.dial(self._address, None))

    def last(self, found: tuple[Found, ...]) -> tuple[Found, ...]:
        """Say goodbye if the server listens; what was found stays found."""
        with suppress(imaplib.IMAP4.error, OSError):
            self.logout()
        return found

    def hang_up(self) -> None:
        """Release file and socket, whatever happened before."""
        with suppress(OSError):
            self.shutdown()


def _matching(client: _Client, folder: str, header: str, value: str) -> Iterator[Found]:
    _, numbers = client.search(None, "HEADER", f'"{header}"', f'"{value}"')
    for number in numbers[0].split()[-FETCH_LIMIT:]:
        _, parts = client.fetch(number.decode(), "(INTERNALDATE BODY.PEEK[])")
        for part in parts:
            if isinstance(part, tuple):
                facts, raw = part
                if _bears(raw, header, value):
                    yield Found(raw, folder, _received_at(facts))


def _bears(raw: bytes, header: str, value: str) -> bool:
    # IMAP looks for a part of a header; a nonce must be the whole of it.
    headers = email.parser.BytesHeaderParser().parsebytes(raw)
    return any(str(found).strip() == value for found in headers.get_all(header, []))


def _received_at(facts: bytes) -> datetime | None:
    match = INTERNAL_DATE.search(facts)
    try:
        return datetime.strptime(match[1].decode().strip(), "%d-%b-%Y %H:%M:%S %z").astimezone(UTC) if match else None
    except ValueError:
        return None
