"""From a name as somebody wrote it to a question as it travels, and names among themselves."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from providers.resolver import library, wire
from providers.resolver.nouns import RD, Question

TYPES: Final = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16}


def new_question(name: str, rtype: int, flags: int) -> Question | None:
    """The question about a name, which is made absolute and lower case; None when no message can carry it."""
    encoded = wire.encoded(name)
    if encoded is not None:
        return Question.about(name.lower().removesuffix(".") + ".", encoded, rtype, flags)
    odd = library.name_on_wire(name)
    return None if odd is None else Question.about(*odd, rtype, flags)


question: Final = lru_cache(maxsize=4096)(new_question)
"""The same for names that come again soon: one domain's are asked for several times in a look."""


def questions_under(zones: Iterable[str], label: str, rtype: int) -> Iterator[Question | None]:
    """The questions about a name below each of these zones: neither the name nor a zone is written anew each time."""
    lower = label.lower()
    below = None if label.endswith(".") else wire.encoded(label)
    for zone in zones:
        above = wire.encoded(zone)
        if below is None or above is None or len(below) + len(above) > wire.MAX_NAME:
            yield new_question(f"{label}.{zone}", rtype, RD)
        else:
            yield Question.about(f"{lower}.{zone.lower().removesuffix('.')}.", below[:-1] + above, rtype)


def rtype_of(text: str) -> int:
    """The number of a record type; ValueError for a word that names none."""
    return TYPES.get(text) or library.rtype_of(text)


def is_under(name: str, zone: str) -> bool:
    """Whether an absolute name is the zone's or below it."""
    return zone in {".", name} or name.endswith(f".{zone}")


def parent(name: str) -> str | None:
    """The name one label up; None above the root."""
    if name == ".":
        return None
    return name.partition(".")[2] or "."
