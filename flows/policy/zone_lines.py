"""Records as a person enters them: the name that a panel wants, and lines for a zone file."""

from collections.abc import Iterable, Iterator
from typing import Final

from flows.policy.names import same_form

STRING_BYTES: Final = 255  # RFC 1035 section 3.3: one character-string
SPECIAL: Final = {ord("\\"): "\\\\", ord('"'): '\\"'}
PRINTABLE: Final = range(0x20, 0x7F)


def panel_name(name: str, domain: str) -> str:
    """What to enter where a panel appends the domain itself: `@` for the domain, else the part before it."""
    name, domain = same_form(name), same_form(domain)
    if name == domain:
        return "@"
    return name.removesuffix(f".{domain}") if name.endswith(f".{domain}") else f"{name}."


def quoted(text: str) -> str:
    """A text as strings of at most 255 bytes each in quotes (RFC 1035 section 5.1), never cut inside an escape."""
    raw = text.encode()
    parts = [raw[start : start + STRING_BYTES] for start in range(0, len(raw), STRING_BYTES)] or [b""]
    return " ".join('"' + "".join(map(escaped, part)) + '"' for part in parts)


def escaped(byte: int) -> str:
    """One byte inside quotes."""
    if byte in SPECIAL:
        return SPECIAL[byte]
    return chr(byte) if byte in PRINTABLE else f"\\{byte:03d}"


def zone_lines(records: Iterable[tuple[str, str, int, Iterable[str]]]) -> Iterator[str]:
    """Lines of a zone file from name, type, TTL and values; names are absolute, so they hold under any origin."""
    for name, rtype, ttl, values in records:
        for value in values:
            content = quoted(value) if rtype == "TXT" else value
            yield f"{same_form(name)}. {ttl} IN {rtype} {content}"
