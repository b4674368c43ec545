"""What to do with a record set so that ours stands there and nobody is worse off."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from flows.policy.dmarc import DmarcPolicy, DmarcSyntax, dmarc_texts, merged, parse_dmarc
from flows.policy.records.nouns import ExpectedRecord, Holder, Merge, RecordSet
from flows.policy.records.reading import canonical, read, spf_fault
from flows.policy.spf import (
    SpfOutcome,
    SpfSyntax,
    authorises,
    costly_terms,
    own_terms,
    parse_spf,
    spf_texts,
    with_terms,
)
from flows.policy.verdict import Truth

MAX_LOOKUPS: Final = 10  # RFC 7208 section 4.6.4
LARGE_ANSWER_BYTES: Final = 450  # RFC 7208 section 3.4


@dataclass(frozen=True, slots=True)
class Change:
    """Replace the whole set by `values`; `before` is what stood there, kept for the undo and as prerequisite."""

    name: str
    rtype: str
    values: tuple[str, ...]
    ttl: int
    before: tuple[str, ...]
    reason: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave it: it is right, or it is the tenant's own affair."""

    reason: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Only a person may decide this; one line says what to do."""

    reason: str
    fix: str


def publication(
    expected: ExpectedRecord,
    existing: RecordSet | None,
    *,
    ours_before: Collection[str] = (),
    alias: str | None = None,
    spf_lookups: int | None = None,
    spf_passes: bool = False,
) -> Change | Keep | Conflict:
    """The one act that brings our record about.

    `ours_before`: values that we published there ourselves and may replace. `alias`: the target of a CNAME that holds
    the name. `spf_lookups`: what the existing SPF record costs with everything it includes, when that was counted.
    `spf_passes`: evaluation lets all of our addresses pass as it is, by whatever path.
    """
    if verdict := untouchable(expected, alias):
        return verdict
    values = existing.values if existing else ()
    if expected.holder is Holder.PLATFORM:
        return Keep("it stands") if same_set(expected, values) else whole(expected, values, "our own zone")
    if expected.merge is Merge.MERGE_SPF:
        return Keep("our addresses pass already") if spf_passes else spf_publication(expected, existing, spf_lookups)
    if expected.merge is Merge.MERGE_DMARC:
        return dmarc_publication(expected, existing)
    return plain_publication(expected, values, ours_before)


def untouchable(expected: ExpectedRecord, alias: str | None) -> Keep | Conflict | None:
    """Why nothing may be written at this name, whatever stands there."""
    if not expected.consent:
        return Keep(f"no consent to change the {expected.rtype} records of {expected.name}")
    if expected.holder is Holder.PROVIDER:
        return Keep("the provider of the server sets this record on request")
    if alias is not None and expected.rtype != "CNAME":
        return Conflict("alias", f"{expected.name} is a CNAME to {alias}: remove it, or name another host")
    return None


def plain_publication(
    expected: ExpectedRecord, values: Sequence[str], ours_before: Collection[str]
) -> Change | Keep | Conflict:
    """Ours alone or ours beside others; what is not ours is never overwritten."""
    if values and read(expected, values).truth is Truth.PASS:
        return Keep("it stands")
    if expected.merge is Merge.ADD:
        kept = [value for value in values if value not in ours_before]
        return Change(
            expected.name, expected.rtype, (*kept, *expected.values), expected.ttl, tuple(values), "add our value"
        )
    own = {canonical(expected.rtype, value) for value in (*ours_before, *expected.values)}
    foreign = [value for value in values if canonical(expected.rtype, value) not in own]
    if not foreign:
        return whole(expected, values, "replace our former value" if values else "nothing stands there")
    if expected.key == "mx":
        return whole(expected, values, "consent to take over the mail of the domain is recorded")
    return Conflict("foreign", f"{expected.name} {expected.rtype} is {foreign[0]}, which is not ours: move it away")


def spf_publication(
    expected: ExpectedRecord, existing: RecordSet | None, lookups: int | None
) -> Change | Keep | Conflict:
    """One SPF record with our terms in it, and not a word of the tenant's changed."""
    values = existing.values if existing else ()
    texts = spf_texts(values)
    if not texts:
        return beside(expected, existing, expected.values[0], None, "no SPF record stands there")
    if fault := spf_fault(expected, texts):
        keep = f" ({union(texts, expected)})" if fault[0] == "spf_multiple" else ""
        return Conflict(fault[0], f"{expected.name}: {fault[1]}{keep}")
    text, record = texts[0], parse_spf(texts[0])
    added = with_terms(text, own_terms(expected.values[0]))
    if added == text or all(authorises(record, ip) is SpfOutcome.PASS for ip in expected.ips):
        return Keep("the SPF record covers our addresses")
    used = record.lookups if lookups is None else lookups
    if used > MAX_LOOKUPS:
        costly = " ".join(costly_terms(record))
        return Conflict("spf_too_many_lookups", f"{expected.name} needs {used} look-ups, 10 are allowed: {costly}")
    if used + parse_spf(added).lookups - record.lookups > MAX_LOOKUPS:
        added = with_terms(text, [f"ip4:{ip}" for ip in expected.ips])
    return beside(expected, existing, added, text, "add our terms to the SPF record")


def union(texts: Sequence[str], expected: ExpectedRecord) -> str:
    """One record with the terms of all, ended by the first one's `all`."""
    try:
        text = texts[0]
        for other in (*texts[1:], expected.values[0]):
            text = with_terms(text, own_terms(other))
    except SpfSyntax:
        return expected.values[0]
    return text


def dmarc_publication(expected: ExpectedRecord, existing: RecordSet | None) -> Change | Keep | Conflict:
    """The tenant's policy with our report address; a stricter word is never weakened."""
    values = existing.values if existing else ()
    texts = dmarc_texts(values)
    if not texts:
        lent = parse_dmarc(expected.values[0]).policy
        why = "" if lent is DmarcPolicy.NONE else f", and a domain above asks for {lent} already"
        return beside(expected, existing, expected.values[0], None, f"no DMARC record stands there{why}")
    text, *others = texts
    if others:
        return Conflict("dmarc_multiple", f"{expected.name} has {len(texts)} DMARC records: keep one")
    try:
        wanted = merged(text, expected.values[0])
    except DmarcSyntax as error:
        return Conflict("dmarc_syntax", f"{expected.name}: the DMARC record cannot be read: {error}")
    if wanted == text:
        return Keep("the DMARC record is as strict and sends reports where they belong")
    return beside(expected, existing, wanted, text, "add what the DMARC record lacks")


def beside(
    expected: ExpectedRecord, existing: RecordSet | None, text: str, replaced: str | None, reason: str
) -> Change:
    """Our text instead of `replaced`, among everything else at the name, with the TTL that stands."""
    values = existing.values if existing else ()
    after = tuple(text if value == replaced else value for value in values)
    after = after if replaced is not None else (*after, text)
    size = sum(len(value.encode()) for value in after)
    warnings = (f"the answer has {size} bytes and may not fit one packet",) if size > LARGE_ANSWER_BYTES else ()
    ttl = existing.ttl if existing else expected.ttl
    return Change(expected.name, expected.rtype, after, ttl, tuple(values), reason, warnings)


def whole(expected: ExpectedRecord, values: Sequence[str], reason: str) -> Change:
    """Our set instead of what stands there."""
    return Change(expected.name, expected.rtype, expected.values, expected.ttl, tuple(values), reason)


def same_set(expected: ExpectedRecord, values: Sequence[str]) -> bool:
    """Whether exactly our values stand there."""
    have = sorted(canonical(expected.rtype, value) for value in values)
    return have == sorted(canonical(expected.rtype, value) for value in expected.values)
