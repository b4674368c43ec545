"""Truth with three values, and what it rests on."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Truth(StrEnum):
    """UNKNOWN turns nothing off, deletes nothing and turns nothing green."""

    PASS = "pass"  # noqa: S105  a verdict, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"


class Evidence(NamedTuple):
    """One observation a verdict rests on: who said what, when, and how long it holds."""

    source: str  # server, receiver or host that said it
    question: str
    answer: str
    asked_at: datetime
    ttl_seconds: int | None = None


class Verdict(NamedTuple):
    """One judgement. `reason` is a short code, `fix` one line for the person who can mend it."""

    subject: str  # the record key, address or check that was judged
    truth: Truth
    reason: str = "ok"
    expected: str = ""
    found: tuple[str, ...] = ()
    fix: str = ""
    evidence: tuple[Evidence, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it is true, and known to be."""
        return self.truth is Truth.PASS


def overall(verdicts: Iterable[Verdict]) -> Truth:
    """FAIL if any fails, else UNKNOWN if any is unknown or there is none, else PASS."""
    truths = {verdict.truth for verdict in verdicts}
    if Truth.FAIL in truths:
        return Truth.FAIL
    if truths == {Truth.PASS}:
        return Truth.PASS
    return Truth.UNKNOWN
