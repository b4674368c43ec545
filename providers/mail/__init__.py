"""Submit one message, read a mailbox, listen to a greeting."""

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Address

from providers.mail.mailbox import Found, Mailbox
from providers.mail.submission import Submission, Submitted

__all__ = ["Banner", "Found", "Mailbox", "Submission", "Submitted", "probe"]

GREETING_BYTES = 4096
CODE_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Banner:
    """The first line a mail server says: reply code and text, whose first word is the server's name."""

    code: int
    text: str


async def probe(address: IPv4Address | str, port: int = 25, *, timeout_seconds: float) -> Banner | None:
    """Listen to the greeting at an address; None for refusal, silence, or words that are not SMTP."""
    try:
        async with asyncio.timeout(timeout_seconds):
            line = await _first_line(str(address), port)
    except (OSError, ValueError):  # a TimeoutError is an OSError; ValueError is a line without an end
        return None
    words = line.decode(errors="replace").strip()
    code, text = words[:CODE_DIGITS], words[CODE_DIGITS + 1 :]
    return Banner(int(code), text) if code.isascii() and code.isdecimal() and len(code) == CODE_DIGITS else None


async def _first_line(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port, limit=GREETING_BYTES)
    try:
        line = await reader.readline()
        writer.write(b"QUIT\r\n")
        return line
    finally:
        writer.close()
