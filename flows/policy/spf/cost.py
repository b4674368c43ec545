"""What an SPF record costs with everything it includes: the look-ups that RFC 7208 section 4.6.4 allows ten of."""

from typing import Final

from flows.policy.spf.evaluation import Lookup, is_askable
from flows.policy.spf.syntax import COSTS_A_LOOKUP, SpfRecord, SpfSyntax, parse_spf, spf_texts

# Counting goes on beyond ten, so that a person sees how far beyond; it stops here whatever a loop would like.
MOST: Final = 40


async def lookup_cost(text: str, lookup: Lookup, *, most: int = MOST) -> int | None:
    """Look-up terms of the record and of all it leads to, at most `most`; None when a name gave no answer.

    A target that depends on the message (a macro) counts once: what it leads to nobody can say beforehand.
    """
    waiting, cost = [text], 0
    while waiting and cost < most:
        try:
            record = parse_spf(waiting.pop())
        except SpfSyntax:
            continue  # the evaluation says that it is broken; here it only costs nothing more
        cost += record.lookups
        for target in targets(record) if cost < most else ():
            answer = await lookup(target, "TXT")
            if answer.outcome not in {"found", "absent"}:
                return None
            waiting += spf_texts(answer.values)[:1]
    return min(cost, most)


def targets(record: SpfRecord) -> list[str]:
    """Names whose records count too."""
    named = [term.domain for term in record.directives if term.name == "include"]
    if record.final is None:
        named.append(record.redirect)
    return [name for name in named if name is not None and "%" not in name and is_askable(name)]


def costly_terms(record: SpfRecord) -> tuple[str, ...]:
    """The terms that cost a look-up, for a person who has to save some."""
    redirect = (f"redirect={record.redirect}",) if record.redirect is not None and record.final is None else ()
    return (*(term.text for term in record.directives if term.name in COSTS_A_LOOKUP), *redirect)
