"""Which of our records that went missing are put back by themselves, and where a person decides instead."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from flows.policy.dmarc import DmarcPolicy, DmarcSyntax, dmarc_texts, merged, parse_dmarc
from flows.policy.dns_status import RecordStatus
from flows.policy.records.nouns import ExpectedRecord, Holder, Merge
from flows.policy.records.picture import Entry
from flows.policy.records.publication import Change
from flows.policy.records.reading import canonical
from flows.policy.records.safety import MOST_REPLACED, STRICTNESS, weaker_dmarc
from flows.policy.spf import SpfSyntax, own_terms, parse_spf, spf_texts, with_terms
from flows.policy.verdict import Truth

# Nobody can say from these what stands: the servers are at odds, or their signatures do not hold.
UNSURE: Final = frozenset({"authorities_disagree", "dnssec_broken"})
NEVER_MANY: Final = 2  # records wrong at once: an address and its SPF record go together
DAY: Final = timedelta(days=1)
WEEK: Final = timedelta(days=7)

Place = tuple[str, str]
"""Name and type of a record set."""


@dataclass(frozen=True, slots=True)
class RepairRules:
    """The figures."""

    looks: int = 3  # wrong in a row, each at every authority, before anything is written
    most_a_day: int = 3  # publications of one domain; 0: nothing is ever put back
    most_of_one_a_week: int = 2  # of one record set: who takes it away a third time means it


SHIPPED: Final = RepairRules()


@dataclass(frozen=True, slots=True)
class Publication:
    """One act of ours at a DNS host: what each place held afterwards; `repair` where nobody had asked for it."""

    at: datetime
    sets: tuple[tuple[Place, tuple[str, ...]], ...]
    repair: bool


def drifted(picture: Sequence[Entry], rules: RepairRules = SHIPPED) -> tuple[Entry, ...]:
    """Records in the tenant's zone that were right once and are now surely and repeatedly wrong."""
    return tuple(entry for entry in wrong(picture) if entry.state.fails >= rules.looks)


def wrong(picture: Sequence[Entry]) -> tuple[Entry, ...]:
    """The same, however often it was seen. What nobody could say, or never stood, is none."""
    return tuple(
        entry
        for entry in picture
        if entry.expected.holder is Holder.TENANT
        and entry.expected.consent
        and entry.state.status in {RecordStatus.VERIFIED, RecordStatus.FAILED}
        and entry.truth == Truth.FAIL
        and entry.reason not in UNSURE
    )


def spent(past: Sequence[Publication], now: datetime, rules: RepairRules = SHIPPED) -> str | None:
    """Why no further repair of a domain goes out by itself today; None while there is room."""
    if sum(one.repair and now - one.at < DAY for one in past) >= rules.most_a_day:
        return f"{rules.most_a_day} repairs went out within a day"
    return None


def insisted(past: Sequence[Publication], place: Place, now: datetime, rules: RepairRules = SHIPPED) -> str | None:
    """Why one record is not put back once more: somebody takes it out again and again."""
    times = sum(one.repair and now - one.at < WEEK and place in dict(one.sets) for one in past)
    if times < rules.most_of_one_a_week:
        return None
    return f"it was put back {times} times within a week and is gone again"


def too_many(picture: Sequence[Entry]) -> str | None:
    """Why this is no drift: so much of the zone is another at once that somebody replaced it, or moved it away."""
    held = [entry for entry in picture if entry.expected.holder is Holder.TENANT and entry.expected.consent]
    gone = wrong(picture)
    if len(gone) <= max(NEVER_MANY, MOST_REPLACED * len(held)):
        return None
    return f"{len(gone)} of {len(held)} records are wrong at once, more than 30 %: the zone was replaced, or moved away"


def published_at(past: Sequence[Publication], place: Place) -> tuple[str, ...]:
    """What our newest publication left at a place; nothing where we never published, or took it away."""
    newest = max((one for one in past if place in dict(one.sets)), key=lambda one: one.at, default=None)
    return dict(newest.sets)[place] if newest else ()


def as_left(expected: ExpectedRecord, published: Sequence[str]) -> ExpectedRecord:
    """The record as we left it, the tenant's own words in it: no sender, no strictness is lost."""
    spf, dmarc = spf_texts(published), dmarc_texts(published)
    try:
        if expected.merge is Merge.MERGE_SPF and len(spf) == 1:
            return replace(expected, values=(with_terms(spf[0], own_terms(expected.values[0])),))
        if expected.merge is Merge.MERGE_DMARC and len(dmarc) == 1:
            return replace(expected, values=(merged(dmarc[0], expected.values[0]),))
    except (SpfSyntax, DmarcSyntax):
        return expected
    return expected


def held_back(entry: Entry, change: Change, published: Sequence[str], above: DmarcPolicy | None = None) -> str | None:
    """Why a person decides over this change; None when it may go out by itself.

    `published`: what we left there. `above`: the DMARC policy that a parent domain lends while there is no own one.
    """
    expected = entry.expected
    if not published:
        return "it was not published by us"
    if expected.merge is Merge.MERGE_DMARC:
        return weaker_dmarc(published, change.values) or weaker_than(above, change)
    if expected.merge is Merge.MERGE_SPF:
        return stricter_now(published, change.before)
    ours = {canonical(expected.rtype, value) for value in (*published, *entry.former, *expected.values)}
    left = {canonical(expected.rtype, value) for value in change.values}
    taken = [value for value in change.before if canonical(expected.rtype, value) not in ours | left]
    return f"{taken[0]} stands there now, which is not ours" if taken else None


def weaker_than(above: DmarcPolicy | None, change: Change) -> str | None:
    """A record of our own would undo the stricter policy of a parent domain."""
    texts = dmarc_texts(change.values)
    if above is None or not texts or dmarc_texts(change.before):
        return None
    try:
        ours = parse_dmarc(texts[0]).effective
    except DmarcSyntax:
        return "the DMARC record would be void"
    return f"without it the stricter policy of a parent domain holds: {above}" if ours.rank < above.rank else None


def stricter_now(published: Sequence[str], standing: Sequence[str]) -> str | None:
    """Somebody took our addresses out and closed the record harder than it was: that is no slip."""
    was, now = closing(published), closing(standing)
    if was is None or now is None or now <= was:
        return None
    return "somebody made the SPF record stricter and took our addresses out of it"


def closing(values: Sequence[str]) -> int | None:
    """How hard the one SPF record ends; None where there is no single readable one, or no end."""
    texts = spf_texts(values)
    try:
        record = parse_spf(texts[0]) if len(texts) == 1 else None
    except SpfSyntax:
        return None
    return STRICTNESS[record.final.qualifier] if record and record.final else None
