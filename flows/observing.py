"""Questions to DNS for the records that policy judges: authority and recursive vantage, and SPF evaluated."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from flows.policy.records import ExpectedRecord, Merge, Observations, ObservedAnswer, judge
from flows.policy.spf import SpfResult, check_host
from flows.policy.verdict import Verdict
from providers.resolver import Answer, Resolver

AT_ONCE = 8  # records of one domain looked at together


async def judge_all(resolver: Resolver, expected: Sequence[ExpectedRecord]) -> list[Verdict]:
    """One verdict for each expected record, in their order."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def judged(record: ExpectedRecord) -> Verdict:
        async with limit:
            return judge(record, await observe(resolver, record))

    return list(await asyncio.gather(*map(judged, expected)))


async def observe(resolver: Resolver, record: ExpectedRecord) -> Observations:
    """Everything that is seen of one record."""
    name = record.name.rstrip(".")
    authority, recursive = await asyncio.gather(
        resolver.ask_authorities(name, record.rtype), resolver.ask(name, record.rtype)
    )
    spf = await spf_results(resolver, record, name) if record.merge is Merge.MERGE_SPF else ()
    return Observations(tuple(map(observed, authority)), (observed(recursive),), spf)


async def spf_results(resolver: Resolver, record: ExpectedRecord, name: str) -> tuple[SpfResult, ...]:
    """What a receiver would conclude for each address that the record is about."""
    lookup = spf_lookup(resolver)
    return tuple(await asyncio.gather(*(check_host(ip, name, lookup) for ip in record.ips)))


@dataclass(frozen=True, slots=True)
class Looked:
    """An answer in the words of the SPF evaluation."""

    outcome: str
    values: tuple[str, ...]


def spf_lookup(resolver: Resolver) -> Callable[[str, str], Awaitable[Looked]]:
    """The one-method look-up that SPF is evaluated over."""

    async def look(name: str, rtype: str) -> Looked:
        answer = await resolver.ask(name, rtype)
        return Looked(answer.outcome.value, answer.values)

    return look


def observed(answer: Answer) -> ObservedAnswer:
    """A resolver's answer in the judge's words."""
    return ObservedAnswer(answer.outcome.value, answer.values, answer.ttl_seconds, answer.server, answer.asked_at)
