"""The last look before a publication: what no plan may do to a tenant's zone, however it came about."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from flows.policy.dmarc import DmarcRecord, DmarcSyntax, dmarc_texts, inherited, parse_dmarc, seen_dmarc
from flows.policy.records.publication import Change
from flows.policy.records.reading import canonical
from flows.policy.spf import SpfRecord, SpfSyntax, own_terms, parse_spf, spf_texts

MOST_REPLACED: Final = 0.30  # of the record sets that the plan has looked at
ALWAYS_ALLOWED: Final = 1  # set: less than one cannot be replaced, and of a fresh zone one is a third
STRICTNESS: Final = {"+": 0, "?": 1, "~": 2, "-": 3}
UNKNOWN_END: Final = -1

Ours = Mapping[tuple[str, str], Collection[str]]
"""By name and type of a record set: values that we put there ourselves."""


def refusal(changes: Sequence[Change], looked_at: int, ours: Ours | None = None) -> str | None:
    """Why the publication must not go out by itself; None when it may. `looked_at`: record sets, kept ones included."""
    for change in changes:
        if why := weakens(change):
            return f"{change.name} {change.rtype}: {why}"
    replaced = [change for change in changes if lost(change, (ours or {}).get((change.name, change.rtype), ()))]
    if len(replaced) > max(ALWAYS_ALLOWED, MOST_REPLACED * looked_at):
        names = ", ".join(change.name for change in replaced[:3])
        return f"{len(replaced)} of {looked_at} record sets would be replaced ({names} …), more than 30 %"
    return None


def lost(change: Change, ours: Collection[str] = ()) -> set[str]:
    """Values of the tenant's that would be gone; SPF and DMARC texts are merged with, else `weakens` has refused."""
    own = {canonical(change.rtype, value) for value in ours}
    gone = {value for value in set(change.before) - set(change.values) if canonical(change.rtype, value) not in own}
    return gone if change.rtype != "TXT" else gone - {*spf_texts(gone), *dmarc_texts(gone)}


def weakens(change: Change) -> str | None:
    """What the change would make laxer than what stands there."""
    if change.rtype != "TXT":
        return None
    return weaker_dmarc(change.before, change.values) or weaker_spf(change.before, change.values)


def weaker_dmarc(before: Sequence[str], after: Sequence[str]) -> str | None:
    """A policy, a policy for subdomains or an alignment that would be laxer, or a record that would be gone."""
    texts = dmarc_texts(before)
    if len(texts) != 1:
        return None
    try:
        have = parse_dmarc(texts[0])
    except DmarcSyntax:
        return None
    left = dmarc_texts(after)
    if len(left) != 1:
        return "the DMARC record would be gone or doubled"
    try:
        want = seen_dmarc(left[0])
    except DmarcSyntax as error:
        return f"the DMARC record would be void: {error}"
    if want.effective.rank < have.effective.rank or below(want, have) or laxer(want, have):
        return f"the DMARC policy would be weaker than {texts[0]}"
    return None


def below(want: DmarcRecord, have: DmarcRecord) -> bool:
    """Whether names below the domain would be worse protected."""
    return any(
        (theirs or inherited(want, tag)).rank < (ours or inherited(have, tag)).rank
        for tag, theirs, ours in (("sp", want.subdomains, have.subdomains), ("np", want.nonexistent, have.nonexistent))
    )


def laxer(want: DmarcRecord, have: DmarcRecord) -> bool:
    """Whether an alignment would no longer be strict."""
    return (have.strict_dkim and not want.strict_dkim) or (have.strict_spf and not want.strict_spf)


def weaker_spf(before: Sequence[str], after: Sequence[str]) -> str | None:
    """A laxer end, a sender of the tenant's that would be lost, or a second record."""
    texts = spf_texts(before)
    if len(texts) != 1:
        return None
    left = spf_texts(after)
    if len(left) != 1:
        return "the SPF record would be gone or doubled"
    try:
        have, want = parse_spf(texts[0]), parse_spf(left[0])
    except SpfSyntax:
        return None
    missing = set(own_terms(texts[0])) - set(own_terms(left[0]))
    if led_to(have) is not None and led_to(want) != led_to(have):
        missing.add(f"redirect={led_to(have)}")
    if missing:
        return f"the SPF record would lose {min(missing)}"
    if ending(want) < ending(have):
        return f"the SPF record would end laxer than in {have.final.qualifier if have.final else '?'}all"
    return None


def led_to(record: SpfRecord) -> str | None:
    """The domain whose record takes over at the end; `all` switches a redirect off (RFC 7208 section 6.1)."""
    return record.redirect if record.final is None else None


def ending(record: SpfRecord) -> int:
    """How hard the record ends, in `?all` where nothing is said (section 4.7); what a redirect says nobody knows."""
    if record.final is not None:
        return STRICTNESS[record.final.qualifier]
    return STRICTNESS["?"] if record.redirect is None else UNKNOWN_END
