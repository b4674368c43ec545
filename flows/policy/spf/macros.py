"""SPF macros (RFC 7208 section 7): what `%{ir}.%{v}._spf.%{d2}` means for one message."""

import re
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import quote

from flows.policy.spf.syntax import Address

EXPANSION: Final = re.compile(r"%(?:([%_-])|\{([a-z])([0-9]*)(r?)([-.+,/_=]*)\})", re.IGNORECASE | re.ASCII)
LITERAL: Final = {"%": "%", "_": " ", "-": "%20"}
UNRESERVED: Final = "-._~"  # RFC 3986 section 2.3, with letters and digits
MAX_NAME: Final = 253


class Message(NamedTuple):
    """What a receiver knows of a message when it evaluates SPF."""

    ip: Address
    local: str
    sender_domain: str
    helo: str
    receiver: str = "unknown"
    at_epoch_seconds: int = 0

    @property
    def dotted_ip(self) -> str:
        """The address as macros spell it: dotted octets, or dotted nibbles in upper case."""
        if isinstance(self.ip, IPv4Address):
            return str(self.ip)
        return ".".join(f"{int(self.ip):032X}")


def letters(message: Message, domain: str) -> dict[str, str]:
    """The value of each macro letter but `p`, which costs look-ups."""
    return {
        "s": f"{message.local}@{message.sender_domain}",
        "l": message.local,
        "o": message.sender_domain,
        "d": domain,
        "i": message.dotted_ip,
        "h": message.helo,
        "v": "ip6" if isinstance(message.ip, IPv6Address) else "in-addr",
        "c": str(message.ip),
        "r": message.receiver,
        "t": str(message.at_epoch_seconds),
    }


async def expand(text: str, message: Message, domain: str, validated: Callable[[], Awaitable[str]]) -> str:
    """A macro string with everything filled in; `validated` gives the value of `p` when it is asked for."""
    if "%" not in text:
        return text
    values = letters(message, domain)
    pieces: list[str] = []
    at = 0
    for match in EXPANSION.finditer(text):
        pieces.append(text[at : match.start()])
        at = match.end()
        literal, letter, digits, reverse, delimiters = match.groups()
        if literal:
            pieces.append(LITERAL[literal])
            continue
        value = await validated() if letter.lower() == "p" else values[letter.lower()]
        value = transformed(value, digits, reverse, delimiters)
        pieces.append(quote(value, safe=UNRESERVED) if letter.isupper() else value)
    return "".join((*pieces, text[at:]))


def transformed(value: str, digits: str, reverse: str, delimiters: str) -> str:
    """The value split, turned round and cut to its right-most parts (section 7.3)."""
    parts = re.split(f"[{re.escape(delimiters or '.')}]", value)
    if reverse:
        parts.reverse()
    # More digits than a name can have labels is the whole name; int() of a long text would be slow.
    kept = int(digits) if digits and len(digits) < len("1000") else len(parts)
    return ".".join(parts[-kept:])


def fitted(name: str) -> str:
    """A name beyond 253 characters loses labels on the left until it fits (section 7.3)."""
    name = name.removesuffix(".")
    while len(name) > MAX_NAME and "." in name:
        name = name.partition(".")[2]
    return name
