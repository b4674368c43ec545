"""Questions to DNS for the records that policy judges: two vantages, SPF evaluated, the usual slips looked for.

A full look asks every authority and a resolver; a routine look, for what was right before, one authority and a
resolver. Either ends with its budget of questions: what was not asked any more is UNKNOWN, never missing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from flows.policy.records import (
    ExpectedRecord,
    Merge,
    Observations,
    ObservedAnswer,
    Stray,
    judge,
    judge_dnssec,
    read,
    suspects,
)
from flows.policy.spf import SpfResult, check_host
from flows.policy.verdict import Truth, Verdict
from providers.resolver import ENDLESS, Answer, Asker, Inquiry, Outcome, Resolver
from sql.dns_checks import DnsCheck

AT_ONCE = 8  # records of one domain looked at together
FULL_QUESTIONS = 200
FULL_SECONDS = 120.0
ROUTINE_QUESTIONS = 40
ROUTINE_SECONDS = 60.0
TURNS = 840  # divisible by every number of servers up to eight: each has the same share


async def judge_all(
    resolver: Resolver,
    expected: Sequence[ExpectedRecord],
    domain: str | None = None,
    *,
    disagreeing_since: Mapping[str, datetime] | None = None,
) -> list[Verdict]:
    """One verdict for each expected record, in their order; with `domain` a FAIL is looked into for the usual slips.

    `disagreeing_since`: by record key, when the authorities were first seen to differ.
    """
    limit = asyncio.Semaphore(AT_ONCE)
    inquiry = resolver.inquiry(FULL_QUESTIONS, seconds=FULL_SECONDS)

    async def judged(record: ExpectedRecord) -> Verdict:
        async with limit:
            seen = await observe(inquiry, record)
            seen = replace(seen, disagreeing_since=(disagreeing_since or {}).get(record.key))
            verdict = judge(record, seen)
            if verdict.reason == "authorities_disagree":
                return judge(record, await with_serials(inquiry, record, seen))
            if verdict.truth is not Truth.FAIL or domain is None:
                return verdict
            return judge(record, replace(seen, elsewhere=await strays(inquiry, record, domain)))

    return list(await asyncio.gather(*map(judged, expected)))


async def judge_routinely(inquiry: Inquiry, record: ExpectedRecord, turn: int) -> Verdict:
    """The verdict by a resolver and the one authority whose `turn` it is. Only a PASS may be believed."""
    name = record.name.rstrip(".")
    recursive = observed(await inquiry.ask(name, record.rtype))
    authority = observed(await inquiry.ask_an_authority(name, record.rtype, turn=turn))
    spf = await spf_results(inquiry, record, name) if record.merge is Merge.MERGE_SPF else ()
    return judge(record, Observations((authority,), (recursive,), spf))


async def observe(inquiry: Inquiry, record: ExpectedRecord) -> Observations:
    """Everything that is seen of one record."""
    name = record.name.rstrip(".")
    authority, recursive = await asyncio.gather(
        inquiry.ask_authorities(name, record.rtype), inquiry.ask(name, record.rtype)
    )
    spf = await spf_results(inquiry, record, name) if record.merge is Merge.MERGE_SPF else ()
    unvalidated = (
        (observed(await inquiry.ask(name, record.rtype, checking_disabled=True)),)
        if recursive.outcome is Outcome.SERVFAIL
        else ()
    )
    return Observations(tuple(map(observed, authority)), (observed(recursive),), spf, unvalidated)


async def with_serials(inquiry: Inquiry, record: ExpectedRecord, seen: Observations) -> Observations:
    """The same with the serial that each authority has of the zone: it tells which ones lag behind."""
    zone = (await inquiry.authorities(record.name)).zone
    answers = await inquiry.ask_authorities(zone, "SOA")
    serials = {
        answer.server_name or answer.server: int(answer.values[0].split()[2]) for answer in answers if answer.values
    }
    return replace(
        seen, authority=tuple(replace(answer, soa_serial=serials.get(answer.server)) for answer in seen.authority)
    )


async def judged_dnssec(resolver: Asker, domain: str) -> Verdict:
    """Whether the domain's DNSSEC holds, by its SOA record: a resolver that validates holds a bogus one back."""
    recursive = await resolver.ask(domain, "SOA")
    unvalidated = (
        (observed(await resolver.ask(domain, "SOA", checking_disabled=True)),)
        if recursive.outcome is Outcome.SERVFAIL
        else ()
    )
    return judge_dnssec(domain, Observations((), (observed(recursive),), unvalidated=unvalidated))


async def stands_at_authority(resolver: Asker, record: ExpectedRecord) -> bool:
    """Whether every authoritative server that answers has the record; no resolver's cache is asked or filled."""
    answers = await resolver.ask_authorities(record.name.rstrip("."), record.rtype)
    said = [answer.values for answer in answers if answer.outcome.settled]
    return bool(said) and all(read(record, values).truth is Truth.PASS for values in said)


async def spf_results(resolver: Asker, record: ExpectedRecord, name: str) -> tuple[SpfResult, ...]:
    """What a receiver would conclude for each address that the record is about."""
    return tuple([await check_host(ip, name, resolver.ask) for ip in record.ips])


async def strays(resolver: Asker, record: ExpectedRecord, domain: str) -> tuple[Stray, ...]:
    """What stands at the names where people put this record by mistake."""
    names = suspects(record, domain)
    answers = await asyncio.gather(*(resolver.ask(name, record.rtype) for name in names))
    return tuple(Stray(name, answer.values) for name, answer in zip(names, answers, strict=True) if answer.values)


def observed(answer: Answer) -> ObservedAnswer:
    """A resolver's answer in the judge's words."""
    ttl_seconds = answer.negative_ttl_seconds if answer.ttl_seconds is None else answer.ttl_seconds
    who = answer.server_name or answer.server
    endless = answer.cname if answer.rcode == ENDLESS else ()
    return ObservedAnswer(answer.outcome.value, answer.values, ttl_seconds, who, answer.asked_at, endless=endless)


def check_of(record: ExpectedRecord, verdict: Verdict) -> DnsCheck:
    """A verdict as a row of the history."""
    return DnsCheck(
        record_key=record.key[:20], record_type=record.rtype, record_name=record.name, verdict=verdict.truth,
        reason=verdict.reason, expected=verdict.expected, observed=verdict.found,
        ttl=min((item.ttl_seconds for item in verdict.evidence if item.ttl_seconds is not None), default=None),
        evidence={
            "seen": [
                {"by": e.source, "question": e.question, "answer": e.answer, "at": e.asked_at.isoformat()}
                for e in verdict.evidence
            ]
        },
    )  # fmt: skip
