"""DMARC records (RFC 9989, and what RFC 7489 left behind): reading, strictness, merging, discovery, alignment."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from flows.policy.names import is_under, same_form
from flows.policy.verdict import Truth, Verdict

VERSION: Final = re.compile(r"[ \t]*[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
MAILTO: Final = re.compile(r"mailto:[^@\s,!]+@([^@\s,!]+)(?:![0-9]+[kmgt]?)?", re.IGNORECASE)
MAX_QUERIES: Final = 8  # RFC 9989 section 4.10
KEPT_WHEN_DEEP: Final = 7
OBSOLETE: Final = ("pct", "rf", "ri")
FIRST: Final = "v=DMARC1; p=none"  # how the record of a domain begins that was under no policy before


class DmarcSyntax(ValueError):
    """The text is no DMARC record."""


class DmarcPolicy(StrEnum):
    """What the owner asks of receivers, from weak to strict."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    @property
    def rank(self) -> int:
        """0 to 2, rising with strictness."""
        return tuple(DmarcPolicy).index(self)


class DmarcRecord(NamedTuple):
    """A record as a receiver of today reads it; `tags` holds every tag in its order, unknown ones too."""

    text: str
    policy: DmarcPolicy
    subdomains: DmarcPolicy | None
    nonexistent: DmarcPolicy | None
    reports_to: tuple[str, ...]
    strict_dkim: bool
    strict_spf: bool
    testing: bool
    public_suffix: bool | None  # psd=y, psd=n, or unsaid
    tags: Mapping[str, str]

    @property
    def effective(self) -> DmarcPolicy:
        """The policy after `t=y`, which makes it one step weaker."""
        return weaker(self.policy) if self.testing else self.policy


def dmarc_texts(values: Iterable[str]) -> tuple[str, ...]:
    """Those of the TXT values that claim to be DMARC records."""
    return tuple(value for value in values if VERSION.match(value))


def unseen(text: str) -> str | None:
    """Why receivers that keep to the grammar see no record, which must begin with its version; None when they do."""
    return "the record begins with a space: receivers see none" if text[:1] in {" ", "\t"} else None


def parse_dmarc(text: str) -> DmarcRecord:
    """The record; DmarcSyntax when receivers must act as if it were not there."""
    if not VERSION.match(text):
        raise DmarcSyntax("the text does not begin with v=DMARC1")
    tags = tags_of(text)
    reports_to = report_addresses(tags.get("rua", ""))
    policy = policy_of(tags.get("p"))
    if policy is None:
        # Without a usable p a record that asks for reports still counts, as p=none.
        if not reports_to:
            raise DmarcSyntax("there is neither a valid p= nor a usable rua=")
        policy = DmarcPolicy.NONE
    return DmarcRecord(
        text,
        policy,
        policy_of(tags.get("sp")),
        policy_of(tags.get("np")),
        reports_to,
        tags.get("adkim", "r").lower() == "s",
        tags.get("aspf", "r").lower() == "s",
        tags.get("t", "n").lower() == "y",
        {"y": True, "n": False}.get(tags.get("psd", "").lower()),
        tags,
    )


def seen_dmarc(text: str) -> DmarcRecord:
    """The record as receivers read it that keep to the grammar."""
    if why := unseen(text):
        raise DmarcSyntax(why)
    return parse_dmarc(text)


def tags_of(text: str) -> dict[str, str]:
    """Tag names in lower case with their values; what is no tag is passed over, the first of two counts."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    return tags


def policy_of(word: str | None) -> DmarcPolicy | None:
    """The policy a tag names, None when it names none."""
    try:
        return DmarcPolicy(word.lower()) if word is not None else None
    except ValueError:
        return None


def report_addresses(text: str) -> tuple[str, ...]:
    """The mailto URIs of a rua tag that can be used, as written."""
    return tuple(uri for part in text.split(",") if MAILTO.fullmatch(uri := part.strip()))


def report_host(uri: str) -> str:
    """The host part of a mailto URI; empty when it is none."""
    match = MAILTO.fullmatch(uri)
    return same_form(match[1]) if match else ""


def weaker(policy: DmarcPolicy) -> DmarcPolicy:
    """One step down."""
    return tuple(DmarcPolicy)[max(0, policy.rank - 1)]


def stricter(one: DmarcPolicy, other: DmarcPolicy) -> DmarcPolicy:
    """The stricter of the two."""
    return max(one, other, key=lambda policy: policy.rank)


def merged(existing: str, wanted: str) -> str:
    """The owner's record with our report address, never a tag weakened, no space before it; else the same text."""
    have, want = parse_dmarc(existing), parse_dmarc(wanted)
    text = existing.lstrip(" \t")
    if want.policy.rank > have.policy.rank or policy_of(have.tags.get("p")) is None:
        text = with_tag(text, "p", stricter(have.policy, want.policy))
    for tag, ours, theirs in (("sp", want.subdomains, have.subdomains), ("np", want.nonexistent, have.nonexistent)):
        if ours is not None and ours.rank > (theirs or inherited(have, tag)).rank:
            text = with_tag(text, tag, ours)
    lacking = [uri for uri in want.reports_to if not reports_reach(have, uri)]
    if lacking:
        text = with_tag(text, "rua", ",".join(filter(None, (have.tags.get("rua", ""), *lacking))))
    return text


def inherited(record: DmarcRecord, tag: str) -> DmarcPolicy:
    """What holds for subdomains (sp) and for names that do not exist (np) when their own tag is missing."""
    if tag == "np" and record.subdomains is not None:
        return record.subdomains
    return record.policy


def reports_reach(record: DmarcRecord, uri: str) -> bool:
    """Whether the record already sends reports to this address, whatever size limit it names."""
    bare = uri.lower().partition("!")[0]
    return any(have.lower().partition("!")[0] == bare for have in record.reports_to)


def with_tag(text: str, name: str, value: str) -> str:
    """The text with one tag set: in its place when it stands there, else at the end (p: right after v)."""
    parts = text.split(";")
    for at, part in enumerate(parts):
        tag, equals, old = part.partition("=")
        if equals and tag.strip().lower() == name:
            parts[at] = f"{tag}={old[: len(old) - len(old.lstrip())]}{value}"
            return ";".join(parts)
    while len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    parts.insert(1 if name == "p" else len(parts), f" {name}={value}")
    return ";".join(parts)


def judge_dmarc(subject: str, expected: str, values: Sequence[str]) -> Verdict:
    """Whether the TXT values at `_dmarc.D` ask for at least what we publish; a missing report address only warns."""
    want = parse_dmarc(expected)
    texts = dmarc_texts(values)
    if len(texts) != 1:
        reason, fix = (
            ("dmarc_multiple", "receivers ignore all when there are several: keep one")
            if texts
            else ("missing", f"publish {expected}")
        )
        return Verdict(subject, Truth.FAIL, reason, expected, texts or tuple(values), fix)
    try:
        found = seen_dmarc(texts[0])
    except DmarcSyntax as error:
        return Verdict(subject, Truth.FAIL, "dmarc_syntax", expected, texts, f"the record cannot be read: {error}")
    if found.effective.rank < want.effective.rank:
        fix = f"the record asks for {found.effective}, {want.effective} is needed"
        return Verdict(subject, Truth.FAIL, "dmarc_weaker", expected, texts, fix)
    return Verdict(subject, Truth.PASS, expected=expected, found=texts, warnings=tuple(remarks(found, want)))


def remarks(found: DmarcRecord, want: DmarcRecord) -> list[str]:
    """What is not wrong but should be known."""
    said = [f"{tag}= is ignored by receivers of today" for tag in OBSOLETE if tag in found.tags]
    said += doubled(found.text)
    said += [f"reports do not reach {uri}" for uri in want.reports_to if not reports_reach(found, uri)]
    if any("!" in uri for uri in found.reports_to):
        said.append("a size limit on a report address is ignored by receivers of today")
    if found.strict_spf:
        said.append("aspf=s: the return path cannot align, so DKIM must carry DMARC")
    if found.testing:
        said.append("t=y: one step weaker to receivers of today, the full policy to older ones")
    return said


def doubled(text: str) -> list[str]:
    """A remark on each tag that stands twice."""
    names = Counter(
        name.strip().lower() for name, equals, _ in (part.partition("=") for part in text.split(";")) if equals
    )
    return [f"{name}= stands twice: receivers differ in which one counts" for name, times in names.items() if times > 1]


@lru_cache(maxsize=1024)  # one survey asks for its own several times
def discovery_names(domain: str) -> tuple[str, ...]:
    """Where to look for a policy, in order: the name, then upwards, eight names at most (RFC 9989 section 4.10)."""
    labels = same_form(domain).split(".")
    above = labels[1:] if len(labels) <= KEPT_WHEN_DEEP else labels[-KEPT_WHEN_DEEP:]
    names = (labels, *(above[at:] for at in range(len(above))))
    return tuple(".".join(name) for name in names)[:MAX_QUERIES]


def organisational_domain(domain: str, records: Mapping[str, DmarcRecord]) -> str:
    """The organisational domain from the records found on the walk up, by the name they stand at."""
    walked = [name for name in discovery_names(domain) if name in records]
    for name in walked:
        if records[name].public_suffix is False:
            return name
        if records[name].public_suffix and name != same_form(domain):
            return one_label_below(name, domain)
    return walked[-1] if walked else same_form(domain)


def one_label_below(name: str, domain: str) -> str:
    """The ancestor of `domain` (or itself) that is a child of `name`."""
    return ".".join(same_form(domain).split(".")[-(name.count(".") + 2) :])


def applied_policy(domain: str, records: Mapping[str, DmarcRecord], *, exists: bool) -> DmarcPolicy | None:
    """What a receiver applies to mail from `domain`; None when nobody published a policy."""
    where = governing(domain, records)
    if where is None:
        return None
    record = records[where]
    if where == same_form(domain):
        return record.effective
    policy = record.subdomains or record.policy
    if not exists:
        policy = record.nonexistent or policy
    return weaker(policy) if record.testing else policy


def governing(domain: str, records: Mapping[str, DmarcRecord]) -> str | None:
    """The name whose record holds for a domain: its own, else its organisation's, else its public suffix's."""
    suffixes = (name for name in discovery_names(domain)[1:] if name in records and records[name].public_suffix)
    names = (same_form(domain), organisational_domain(domain, records), next(suffixes, ""))
    return next((name for name in names if name in records), None)


def beginning(above: DmarcRecord | None) -> str:
    """How a domain's first record begins, so that it weakens nothing of what it is under so far.

    From then on receivers read the domain's own record alone (RFC 9989 section 4.10.1, RFC 7489 section 6.6.3).
    """
    if above is None:
        return FIRST
    strict = (("adkim", above.strict_dkim), ("aspf", above.strict_spf))
    words = [f"v=DMARC1; p={above.subdomains or above.policy}", *(f"{tag}=s" for tag, set_ in strict if set_)]
    return "; ".join([*words, *(["t=y"] if above.testing else [])])


def is_aligned(author: str, authenticated: str, organisation_of: Callable[[str], str], *, strict: bool) -> bool:
    """Whether an authenticated domain speaks for the author domain (RFC 9989 section 4.4)."""
    if same_form(author) == same_form(authenticated):
        return True
    return not strict and organisation_of(author) == organisation_of(authenticated)


def authorisation_name(domain: str, uri: str) -> str | None:
    """Where the owner of a report address must consent to reports about `domain`; None when it needs no consent."""
    host = report_host(uri)
    # The walk decides in full; a host at or below the domain is always the same organisation.
    return None if not host or is_under(host, domain) else f"{same_form(domain)}._report._dmarc.{host}"
