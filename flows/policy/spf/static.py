"""What an SPF record says without any look-up, and how our term is added to somebody else's record."""

import re
from collections.abc import Iterable
from typing import Final

from flows.policy.spf.evaluation import QUALIFIED, SpfOutcome
from flows.policy.spf.syntax import Address, SpfRecord, parse_spf

# The place where our term goes: before `all`, else before `redirect=`.
ALL: Final = re.compile(r"(?<= )[-+?~]?all(?= |\Z)", re.IGNORECASE)
REDIRECT: Final = re.compile(r"(?<= )redirect=", re.IGNORECASE)


def authorises(record: SpfRecord, ip: Address) -> SpfOutcome | None:
    """The outcome for `ip` when no look-up can change it, else None: even a passing include may turn out broken."""
    for term in record.directives:
        if term.name == "all" or (term.network is not None and ip in term.network):
            return QUALIFIED[term.qualifier]
        if term.network is None:
            return None
    return SpfOutcome.NEUTRAL if record.redirect is None else None


def is_open(record: SpfRecord) -> bool:
    """Whether the record lets the whole world pass."""
    return record.final is not None and record.final.qualifier == "+"


def with_terms(text: str, terms: Iterable[str]) -> str:
    """The record with those of `terms` it lacks, put before `all`; nothing else changes, not even a space."""
    record = parse_spf(text)
    have = {term.text.lower().removeprefix("+") for term in record.directives}
    added = [term for term in terms if term.lower().removeprefix("+") not in have]
    if not added:
        return text
    place = ALL.search(text) or REDIRECT.search(text)
    if place is None:
        return f"{text.rstrip(' ')} {' '.join(added)}"
    return f"{text[: place.start()]}{' '.join(added)} {text[place.start() :]}"


def own_terms(text: str) -> tuple[str, ...]:
    """The terms of a record of ours that authorise, without its `all`."""
    return tuple(term.text for term in parse_spf(text).directives if term.name != "all")
