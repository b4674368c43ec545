"""What people usually get wrong at a DNS panel, found again in what the servers say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flows.policy.dkim import DkimSyntax, tag_list
from flows.policy.names import same_form
from flows.policy.records.nouns import CONCLUSIVE, ExpectedRecord, Merge, Observations, Stray
from flows.policy.records.reading import read
from flows.policy.verdict import Truth

CUT_AT: Final = 255  # bytes of one string in a TXT record, RFC 1035 section 3.3


@dataclass(frozen=True, slots=True)
class Hint:
    """The likely slip, and the name where the value was found instead, if it was."""

    code: str
    advice: str
    stray_name: str = ""


def suspects(expected: ExpectedRecord, domain: str) -> tuple[str, ...]:
    """Names that are worth one question each when the record is not where it belongs."""
    name, domain = same_form(expected.name), same_form(domain)
    above = name.removesuffix(f".{domain}")
    names = [f"{name}.{domain}"]
    # Only for values that have no business at the domain itself: its SPF record and MX are right where they are.
    if expected.rtype == "TXT" and expected.merge is not Merge.MERGE_SPF and above != name:
        names.append(domain)
        # Panels that take one label only drop the middle: selector.domain for selector._domainkey.domain.
        names += [f"{above.partition('.')[0]}.{domain}"] if "." in above else []
    return tuple(names)


def hint(expected: ExpectedRecord, observations: Observations) -> Hint | None:
    """The first slip that explains a FAIL; None when the answer itself says enough."""
    said = next((answer for answer in observations.authority if answer.outcome in CONCLUSIVE), None)
    values = said.values if said else ()
    for found in (
        misplaced(expected, observations.elsewhere),
        appended_target(expected, values),
        quoted(expected, values),
        damaged_key(expected, values),
        undone(expected, observations),
    ):
        if found is not None:
            return found
    return None


def misplaced(expected: ExpectedRecord, elsewhere: Sequence[Stray]) -> Hint | None:
    """The right value at the wrong name."""
    name = same_form(expected.name)
    for stray in elsewhere:
        found_at = same_form(stray.name)
        if found_at == name or read(expected, stray.values).truth is Truth.FAIL:
            continue
        if found_at.startswith(f"{name}."):
            entered = name.removesuffix(found_at.removeprefix(f"{name}.")).removesuffix(".")
            return Hint("zone_appended", f'the panel appends the zone: enter only "{entered or "@"}"', found_at)
        return Hint("wrong_name", f"the value is at {found_at} and must be at {name}", found_at)
    return None


def appended_target(expected: ExpectedRecord, values: Sequence[str]) -> Hint | None:
    """A target without its final dot, to which the panel added the zone."""
    if expected.rtype not in {"CNAME", "MX", "PTR", "SRV"}:
        return None
    for wanted in expected.values:
        target = same_form(wanted.split()[-1])
        if any(form.split()[-1].startswith(f"{target}.") for form in map(same_form, values) if form.strip()):
            return Hint("target_appended", f'the panel appends the zone to the target: end it with a dot, "{target}."')
    return None


def quoted(expected: ExpectedRecord, values: Sequence[str]) -> Hint | None:
    """Quotes or backslashes that belong to a zone file and were entered into a form."""
    if expected.rtype != "TXT" or not values:
        return None
    plain = tuple(value.strip().strip('"').replace("\\;", ";").replace('" "', "") for value in values)
    if plain != tuple(values) and read(expected, plain).truth is not Truth.FAIL:
        return Hint("quoted", "remove the quotes and backslashes: the panel adds what is needed")
    return None


def damaged_key(expected: ExpectedRecord, values: Sequence[str]) -> Hint | None:
    """A DKIM key with one character lost or added, or cut where a string ends."""
    if not expected.key.startswith("dkim-") or expected.rtype != "TXT" or len(values) != 1:
        return None
    ours, found = key_text(expected.values[0]), key_text(values[0])
    if not ours or not found or ours == found:
        return None
    is_cut = len(found) < len(ours) and ours.startswith(found) and len(values[0]) <= CUT_AT
    if is_cut or differs_by_one(ours, found):
        return Hint("key_damaged", "the value was cut: paste it again as two quoted parts")
    return None


def key_text(text: str) -> str:
    """The base64 of a key record without white space; empty when there is none."""
    try:
        return "".join(tag_list(text).get("p", "").split())
    except DkimSyntax:
        return ""


def differs_by_one(one: str, other: str) -> bool:
    """Whether one text is the other with a single character taken out."""
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    if len(longer) != len(shorter) + 1:
        return False
    at = next((at for at, sign in enumerate(shorter) if sign != longer[at]), len(shorter))
    return longer[at + 1 :] == shorter[at:]


def undone(expected: ExpectedRecord, observations: Observations) -> Hint | None:
    """The authority is wrong and a resolver still right: somebody took the value back."""
    for answer in observations.recursive:
        if answer.outcome == "found" and read(expected, answer.values).truth is Truth.PASS:
            hides = f"for {answer.ttl_seconds} s" if answer.ttl_seconds is not None else "for a while"
            return Hint("undone", f"the change was undone at the panel; a cache hides it {hides}")
    return None
