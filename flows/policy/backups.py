"""Which dumps stay: names that carry their time, one a day, a week and a month, and never the last proven one away."""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

KEY: Final = re.compile(r"(?P<target>core|analytics)/(?P<at>\d{8}T\d{6}Z)-[0-9a-f]{8}\.sealed")
STAMP: Final = "%Y%m%dT%H%M%SZ"
LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Dump:
    """One stored dump. `verified`: a restore has shown that it is whole."""

    key: str
    made_at: datetime
    verified: bool


@dataclass(frozen=True, slots=True)
class Keep:
    """How many days, weeks and months keep a dump each; counted over those that have one, so a pause costs none."""

    daily: int
    weekly: int
    monthly: int


def name_of(target: str, made_at: datetime, token: str) -> str:
    """The object's name: target, UTC time, 8 hex digits that make it the only one."""
    return f"{target}/{made_at.astimezone(UTC).strftime(STAMP)}-{token[:8]}.sealed"


def made_at(key: str) -> datetime | None:
    """When the dump of this name was made; None for a name that is none of ours."""
    matched = KEY.fullmatch(key)
    return None if matched is None else datetime.strptime(matched["at"], STAMP).replace(tzinfo=UTC)


def superfluous(dumps: Iterable[Dump], keep: Keep) -> tuple[str, ...]:
    """Names that may go: each older than the newest proven dump, and kept by no day, week or month."""
    ordered = sorted(dumps, key=lambda dump: dump.made_at, reverse=True)
    newest_proven = next((dump for dump in ordered if dump.verified), None)
    if newest_proven is None:
        return ()
    kept = {
        newest_proven.key,
        *_one_each(ordered, keep.daily, lambda at: at.date()),
        *_one_each(ordered, keep.weekly, lambda at: at.isocalendar()[:2]),
        *_one_each(ordered, keep.monthly, lambda at: (at.year, at.month)),
    }
    return tuple(dump.key for dump in ordered if dump.made_at < newest_proven.made_at and dump.key not in kept)


def _one_each(ordered: Sequence[Dump], periods: int, period_of: Callable[[datetime], Hashable]) -> set[str]:
    """Of each of the newest periods its newest proven dump, else its newest."""
    chosen: dict[Hashable, Dump] = {}
    for dump in ordered:
        period = period_of(dump.made_at)
        if period not in chosen:
            if len(chosen) == periods:
                break
            chosen[period] = dump
        elif dump.verified and not chosen[period].verified:
            chosen[period] = dump
    return {dump.key for dump in chosen.values()}


def with_note(note: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A note, then the stream it tells of."""
    yield len(note).to_bytes(LENGTH_BYTES, "big") + note
    yield from pieces


def note_and_rest(pieces: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The same two again. Raises ValueError when the stream ends within its note."""
    source = iter(pieces)
    start = bytearray()
    wanted = LENGTH_BYTES
    while len(start) < wanted:
        piece = next(source, b"")
        if not piece:
            raise ValueError("the stream ends within its note")
        start += piece
        if len(start) >= LENGTH_BYTES:
            wanted = LENGTH_BYTES + int.from_bytes(start[:LENGTH_BYTES], "big")

    def rest() -> Iterator[bytes]:
        yield bytes(start[wanted:])
        yield from source

    return bytes(start[LENGTH_BYTES:wanted]), rest()
