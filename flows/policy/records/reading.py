"""What one set of values is worth against one expected record, whoever said it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from flows.policy.dkim import judge_key
from flows.policy.dmarc import dmarc_texts, judge_dmarc
from flows.policy.names import same_form
from flows.policy.records.nouns import ExpectedRecord, Merge
from flows.policy.reverse_dns import judge_ptr
from flows.policy.spf import SpfOutcome, SpfSyntax, authorises, is_open, own_terms, parse_spf, spf_texts
from flows.policy.verdict import Truth, Verdict

NULL_MX: Final = "."
# Types whose values are names and numbers, where case and a final dot mean nothing.
NAMES: Final = frozenset({"A", "AAAA", "CNAME", "MX", "NS", "PTR", "SRV"})


def read(expected: ExpectedRecord, values: Sequence[str]) -> Verdict:
    """PASS, FAIL, or UNKNOWN where only an evaluation can tell (SPF)."""
    return READERS.get(kind(expected), read_set)(expected, values)


def kind(expected: ExpectedRecord) -> str:
    """By which rule the record is read; a word that READERS does not know means plain comparison."""
    if not expected.consent:
        return "external"
    if expected.merge in {Merge.MERGE_SPF, Merge.MERGE_DMARC}:
        return expected.merge
    if expected.rtype == "TXT":
        return "dkim" if expected.key.startswith("dkim-") else expected.key
    return expected.rtype


def external(expected: ExpectedRecord, values: Sequence[str]) -> Verdict:
    """What the tenant keeps elsewhere is right as it is."""
    return Verdict(expected.key, Truth.PASS, f"{expected.rtype.lower()}_external", "", tuple(values))


def read_consent(expected: ExpectedRecord, values: Sequence[str]) -> Verdict:
    """Any DMARC version tag at the name consents to reports (RFC 9990 section 4)."""
    if dmarc_texts(values):
        return Verdict(expected.key, Truth.PASS, expected=shown(expected), found=tuple(values))
    return failed(expected, values, "missing", f"publish TXT {expected.values[0]}")


def read_set(expected: ExpectedRecord, values: Sequence[str]) -> Verdict:
    """All of our values are there; others may stand beside them."""
    have = {canonical(expected.rtype, value) for value in values}
    lacking = [value for value in expected.values if canonical(expected.rtype, value) not in have]
    if not lacking:
        return Verdict(expected.key, Truth.PASS, expected=shown(expected), found=tuple(values))
    reason = "mismatch" if values else "missing"
    return failed(expected, values, reason, f"publish {expected.rtype} {lacking[0]}")


def read_mx(expected: ExpectedRecord, values: Sequence[str]) -> Verdict:
    """Our host is an exchange and the only one; preferences do not matter then (RFC 5321 section 5.1)."""
    targets = {same_form(value.split()[-1]) for value in values if value.split()}
    ours = {same_form(value.split()[-1]) for value in expected.values}
    if targets == ours:
        return Verdict(expected.key, Truth.PASS, expected=shown(expected), found=tuple(values))
    if any(value.split()[-1:] == [NULL_MX] for value in values):
        return failed(expected, values, "mx_null", "this says that the name takes no mail: replace it")
    if ours <= targets:
        return failed(expected, values, "mx_foreign", "other exchanges stand beside ours: mail may be lost to them")
    return read_set(expected, values)


def read_dmarc(expected: ExpectedRecord, values: Sequence[str]) -> Verdict:
    """A policy at least as strict as ours."""
    return judge_dmarc(expected.key, expected.values[0], values)


def read_key(expected: ExpectedRecord, values: Sequence[str]) -> Verdict:
    """Our key at its selector."""
    return judge_key(expected.key, expected.values[0], values)


def read_ptr(expected: ExpectedRecord, values: Sequence[str]) -> Verdict:
    """The host's own name."""
    return judge_ptr(expected.key, expected.ips[0], expected.values[0], values)


def read_spf(expected: ExpectedRecord, values: Sequence[str]) -> Verdict:
    """What the text alone says of our addresses; UNKNOWN `spf_not_evaluated` when that depends on look-ups."""
    texts = spf_texts(values)
    if fault := spf_fault(expected, texts):
        return failed(expected, texts or values, *fault)
    text = texts[0]
    outcomes = {authorises(parse_spf(text), ip) for ip in expected.ips}
    if outcomes == {SpfOutcome.PASS}:
        return Verdict(expected.key, Truth.PASS, expected=shown(expected), found=texts, warnings=remarks(text))
    if None in outcomes:
        return Verdict(expected.key, Truth.UNKNOWN, "spf_not_evaluated", shown(expected), texts, warnings=remarks(text))
    return failed(expected, texts, "spf_not_authorised", f"add {' '.join(own_terms(expected.values[0]))} before all")


def spf_fault(expected: ExpectedRecord, texts: Sequence[str]) -> tuple[str, str] | None:
    """Reason and remedy when the SPF texts at a name are not one readable, closed record."""
    if not texts:
        return "missing", f"publish TXT {expected.values[0]}"
    if len(texts) > 1:
        return "spf_multiple", "receivers refuse several SPF records: make them one"
    try:
        record = parse_spf(texts[0])
    except SpfSyntax as error:
        return "spf_syntax", f"the record cannot be read: {error}"
    return ("spf_open", "+all lets the whole world send as this domain: end in ~all") if is_open(record) else None


def remarks(text: str) -> tuple[str, ...]:
    """What is not wrong but should be known of a record that reads well."""
    record = parse_spf(text)
    said: list[str] = []
    if record.redirect is None and (record.final is None or record.final.qualifier == "?"):
        said.append("the record ends in neither ~all nor -all")
    if any(term.name == "ptr" for term in record.directives):
        said.append("ptr is obsolete and slow (RFC 7208 section 5.5)")
    return tuple(said)


def failed(expected: ExpectedRecord, values: Sequence[str], reason: str, fix: str) -> Verdict:
    """A FAIL of one record."""
    return Verdict(expected.key, Truth.FAIL, reason, shown(expected), tuple(values), fix)


def shown(expected: ExpectedRecord) -> str:
    """The expected values as text."""
    return ", ".join(expected.values)


def canonical(rtype: str, value: str) -> str:
    """A value in the form in which it is compared."""
    if rtype not in NAMES:
        return value
    return " ".join(same_form(word) for word in value.split())


READERS: Final[Mapping[str, Callable[[ExpectedRecord, Sequence[str]], Verdict]]] = {
    "external": external,
    Merge.MERGE_SPF: read_spf,
    Merge.MERGE_DMARC: read_dmarc,
    "dkim": read_key,
    "dmarc-ext": read_consent,
    "PTR": read_ptr,
    "MX": read_mx,
}
