"""What strangers wrote, made fit for a table, a terminal and a log."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

MOST_VALUES: Final = 8
MOST_TEXT: Final = 600  # characters; the text of a 2048-bit key fits
MOST_LINE: Final = 3000


def shown(values: Iterable[str]) -> tuple[str, ...]:
    """Values that strangers published as they may be stored and printed: at most eight, each of bounded length."""
    return tuple(map(plain, islice(values, MOST_VALUES)))


def plain(text: str, most: int = MOST_TEXT) -> str:
    """The text without anything that a database or a terminal would take amiss."""
    if len(text) > most:
        text = f"{text[:most]}…"
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
