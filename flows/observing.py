"""Questions to DNS for the records that policy judges: two vantages, SPF evaluated, the usual slips looked for."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from flows.policy.records import ExpectedRecord, Merge, Observations, ObservedAnswer, Stray, judge, read, suspects
from flows.policy.spf import SpfResult, check_host
from flows.policy.verdict import Truth, Verdict
from providers.resolver import Answer, Outcome, Resolver

AT_ONCE = 8  # records of one domain looked at together


async def judge_all(resolver: Resolver, expected: Sequence[ExpectedRecord], domain: str | None = None) -> list[Verdict]:
    """One verdict for each expected record, in their order; with `domain` a FAIL is looked into for the usual slips."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def judged(record: ExpectedRecord) -> Verdict:
        async with limit:
            seen = await observe(resolver, record)
            verdict = judge(record, seen)
            if verdict.truth is not Truth.FAIL or domain is None:
                return verdict
            return judge(record, replace(seen, elsewhere=await strays(resolver, record, domain)))

    return list(await asyncio.gather(*map(judged, expected)))


async def observe(resolver: Resolver, record: ExpectedRecord) -> Observations:
    """Everything that is seen of one record."""
    name = record.name.rstrip(".")
    authority, recursive = await asyncio.gather(
        resolver.ask_authorities(name, record.rtype), resolver.ask(name, record.rtype)
    )
    spf = await spf_results(resolver, record, name) if record.merge is Merge.MERGE_SPF else ()
    unvalidated = (
        (observed(await resolver.ask(name, record.rtype, checking_disabled=True)),)
        if recursive.outcome is Outcome.SERVFAIL
        else ()
    )
    return Observations(tuple(map(observed, authority)), (observed(recursive),), spf, unvalidated)


async def stands_at_authority(resolver: Resolver, record: ExpectedRecord) -> bool:
    """Whether every authoritative server that answers has the record; no resolver's cache is asked or filled."""
    answers = await resolver.ask_authorities(record.name.rstrip("."), record.rtype)
    said = [answer.values for answer in answers if answer.outcome.settled]
    return bool(said) and all(read(record, values).truth is Truth.PASS for values in said)


async def spf_results(resolver: Resolver, record: ExpectedRecord, name: str) -> tuple[SpfResult, ...]:
    """What a receiver would conclude for each address that the record is about."""
    return tuple(await asyncio.gather(*(check_host(ip, name, resolver.ask) for ip in record.ips)))


async def strays(resolver: Resolver, record: ExpectedRecord, domain: str) -> tuple[Stray, ...]:
    """What stands at the names where people put this record by mistake."""
    names = suspects(record, domain)
    answers = await asyncio.gather(*(resolver.ask(name, record.rtype) for name in names))
    return tuple(Stray(name, answer.values) for name, answer in zip(names, answers, strict=True) if answer.values)


def observed(answer: Answer) -> ObservedAnswer:
    """A resolver's answer in the judge's words."""
    return ObservedAnswer(
        answer.outcome.value, answer.values, answer.ttl_seconds, answer.server_name or answer.server, answer.asked_at
    )
