"""From a name as somebody wrote it to a question as it travels, and names among themselves."""

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


def question_under(zone: str, label: str, rtype: int) -> Question | None:
    """The question about a name below a zone, for many names below few zones: neither is written anew each time."""
    above, below = wire.encoded(zone), wire.encoded(label)
    if above is None or below is None or len(below) + len(above) > wire.MAX_NAME or label.endswith("."):
        return new_question(f"{label}.{zone}", rtype, RD)
    return Question.about(f"{label}.{zone.removesuffix('.')}.".lower(), below[:-1] + above, rtype)


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
