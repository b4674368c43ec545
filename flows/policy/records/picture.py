"""A domain's picture in `domains.dns_records`: what should stand, how it stood when last seen, and since when.

The web application reads it; the scheduled check needs nothing else to look again, so a sweep costs one row a domain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any, Final

from flows.policy.dns_status import RecordState, RecordStatus
from flows.policy.records.nouns import ExpectedRecord, Holder, Merge, Need
from flows.policy.verdict import Truth, Verdict

FRESH: Final = RecordState()
MOST_FORMER: Final = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the picture."""

    expected: ExpectedRecord
    state: RecordState = FRESH
    truth: str = ""  # of the last look, with the next two; empty: never looked at
    reason: str = ""
    found: tuple[str, ...] = ()
    former: tuple[str, ...] = ()  # values that earlier plans put at this name: ours to replace


def as_json(entry: Entry, verdict: Verdict | None = None, at: datetime | None = None) -> dict[str, Any]:
    """The entry after a look (with its verdict and time), or as it was; the shape that the web application reads."""
    expected, state = entry.expected, entry.state
    row: dict[str, Any] = {
        "record_key": expected.key, "record_type": expected.rtype, "name": expected.name,
        "value": list(expected.values), "ttl": expected.ttl, "need": expected.need, "holder": expected.holder,
        "merge": expected.merge, "consent": expected.consent, "ips": [str(ip) for ip in expected.ips],
        "verification_status": state.status, "memory": memory(state),
        "former": list(entry.former),
        "verdict": entry.truth, "reason": entry.reason, "found": list(entry.found), "fix": None,
    }  # fmt: skip
    if verdict is not None:
        row |= {
            "verdict": verdict.truth, "reason": verdict.reason, "found": list(verdict.found),
            "fix": None if verdict.truth is Truth.PASS else line(verdict),
            "warnings": list(verdict.warnings), "last_verified_at": at.isoformat() if at else None,
        }  # fmt: skip
    return row


def line(verdict: Verdict) -> str:
    """One line for the tenant."""
    if verdict.truth is Truth.UNKNOWN:
        return f"{verdict.subject}: not known yet ({verdict.reason}); it is looked at again"
    return verdict.fix or f"{verdict.subject}: {verdict.reason}"


def memory(state: RecordState) -> dict[str, Any]:
    """What the next look needs of the looks before; empty values are left out."""
    fields: dict[str, Any] = {
        "since": stamp(state.since), "fails": state.fails, "failing_since": stamp(state.failing_since),
        "passes": state.passes, "unknowns": state.unknowns, "error": state.error, "conclusive": state.conclusive,
        "flaps": [flap.isoformat() for flap in state.flaps], "disagreeing_since": stamp(state.disagreeing_since),
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value}


def entries(picture: Mapping[str, Any]) -> tuple[Entry, ...]:
    """Every record of a stored picture; none when there is none yet."""
    return tuple(entry_of(row) for row in picture.get("records") or ())


def entry_of(row: Mapping[str, Any]) -> Entry:
    """One record as it was stored. A row of before this shape lacks some words: what they say is the usual."""
    expected = ExpectedRecord(
        key=row["record_key"], name=row["name"], rtype=row["record_type"], values=tuple(row["value"]),
        need=Need(row["need"]), merge=Merge(row.get("merge", Merge.EXACT)), ttl=int(row.get("ttl") or 0),
        holder=Holder(row["holder"]), consent=bool(row.get("consent", True)),
        ips=tuple(map(IPv4Address, row.get("ips") or ())),
    )  # fmt: skip
    return Entry(
        expected, state_of(row), row.get("verdict") or "", row.get("reason") or "", tuple(row.get("found") or ()),
        tuple(row.get("former") or ()),
    )  # fmt: skip


def state_of(row: Mapping[str, Any]) -> RecordState:
    """What is remembered of the record."""
    kept: Mapping[str, Any] = row.get("memory") or {}
    words = set(RecordStatus)
    status = row.get("verification_status")
    return RecordState(
        status=RecordStatus(status) if status in words else RecordStatus.PENDING,
        since=instant(kept.get("since")), fails=int(kept.get("fails") or 0),
        failing_since=instant(kept.get("failing_since")), passes=int(kept.get("passes") or 0),
        unknowns=int(kept.get("unknowns") or 0), error=str(kept.get("error") or ""),
        conclusive=bool(kept.get("conclusive")),
        flaps=tuple(datetime.fromisoformat(flap) for flap in kept.get("flaps") or ()),
        disagreeing_since=instant(kept.get("disagreeing_since")),
    )  # fmt: skip


def renewed(picture: Mapping[str, Any], expected: Iterable[ExpectedRecord]) -> dict[str, Any]:
    """The picture for a changed plan: records that ask for the same as before keep what was seen of them."""
    known = entries(picture)
    before = {identity(entry.expected): entry for entry in known}
    fresh = [replace(before.get(identity(record), Entry(record)), expected=record) for record in expected]
    return {"records": [as_json(replace(entry, former=formerly(entry.expected, known))) for entry in fresh]}


def formerly(expected: ExpectedRecord, known: Iterable[Entry]) -> tuple[str, ...]:
    """Every other value that we ever asked for at this name, the latest ones first."""
    values = [
        value
        for entry in known
        if (entry.expected.name, entry.expected.rtype) == (expected.name, expected.rtype)
        for value in (*entry.expected.values, *entry.former)
        if value not in expected.values
    ]
    return tuple(dict.fromkeys(values))[:MOST_FORMER]


def identity(record: ExpectedRecord) -> tuple[str, str, str, tuple[str, ...]]:
    """What makes a record the same as before."""
    return record.key, record.name, record.rtype, record.values


def stamp(at: datetime | None) -> str | None:
    """An instant as it is stored."""
    return at.isoformat() if at else None


def instant(text: str | None) -> datetime | None:
    """A stored instant."""
    return datetime.fromisoformat(text) if text else None
