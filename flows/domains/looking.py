"""One look at one domain: in full, or routinely where everything was right before."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flows.domains import observing
from flows.policy.records import Entry, Looked, Need, entries, is_settled, looked
from flows.policy.verdict import Truth, Verdict
from providers.resolver import Resolver
from sql.domains import DueDomain


@dataclass(frozen=True, slots=True)
class Seen:
    """One domain, what was looked at and what came of it."""

    domain: DueDomain
    entries: tuple[Entry, ...]
    verdicts: tuple[Verdict, ...]
    outcome: Looked
    full: bool


async def look_at(resolver: Resolver, domain: DueDomain, *, full: bool = False) -> Seen | None:
    """Look at one domain; None when nothing is expected of it yet."""
    gates = tuple(entry for entry in entries(domain.dns_records) if entry.expected.need is not Need.OPTIONAL)
    if not gates:
        return None
    full = full or not is_settled(gates)
    verdicts = await (in_full(resolver, domain, gates) if full else routinely(resolver, domain, gates))
    jitter = random.uniform(-1, 1)  # noqa: S311  jitter
    outcome = looked(gates, verdicts, datetime.now(UTC), before=domain.verification_status, jitter=jitter)
    return Seen(domain, gates, tuple(verdicts), outcome, full)


async def in_full(resolver: Resolver, domain: DueDomain, gates: Sequence[Entry]) -> list[Verdict]:
    """Every server and a resolver, for every record."""
    since = {entry.expected.key: entry.state.disagreeing_since for entry in gates if entry.state.disagreeing_since}
    return await observing.judge_all(
        resolver, [entry.expected for entry in gates], domain.domain_name, disagreeing_since=since
    )


async def routinely(resolver: Resolver, domain: DueDomain, gates: Sequence[Entry]) -> list[Verdict]:
    """One authority and a resolver; what is not as it was is looked at in full at once."""
    inquiry = resolver.inquiry(observing.ROUTINE_QUESTIONS, seconds=observing.ROUTINE_SECONDS)
    turn = random.randrange(observing.TURNS)  # noqa: S311  whose turn it is
    verdicts = [await observing.judge_routinely(inquiry, entry.expected, turn) for entry in gates]
    odd = [place for place, verdict in enumerate(verdicts) if verdict.truth is not Truth.PASS]
    if odd:
        for place, verdict in zip(odd, await in_full(resolver, domain, [gates[place] for place in odd]), strict=True):
            verdicts[place] = verdict
    return verdicts
