"""Look again at every domain whose time has come, and at one domain when somebody asks.

Due rows are claimed in chunks, fair between tenants; any number of workers share them. What was right is looked at
routinely, and everything else in full. A status changes only by agreeing looks; a run that waits for DNS goes on.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import UUID

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows import states
from flows.collector import seldom_collecting
from flows.dispatch import resume
from flows.domains import alerting, observing, repairing
from flows.domains.looking import Seen, look_at
from flows.policy.lifecycle import allowed_from
from flows.resources import Resources, resources
from sql import dns_checks, domains, infrastructure_events, provisioning
from sql.dns_checks import CheckOf
from sql.domains import DueDomain, Look
from sql.session import AlreadyExists, Connection, as_orchestrator

log = logging.getLogger(__name__)

CHUNK = 200
DOMAINS_AT_ONCE = 100
SWEEP_SECONDS = 100.0  # the next one comes within two minutes
NOTHING_KNOWN_SECONDS = 86400
APART = timedelta(seconds=10)


@flow(name="verify_due_domains", retries=0)
async def verify_due_domains() -> State[None]:
    """Every two minutes: nothing but one index look-up when nothing is due."""
    done, until = 0, monotonic() + SWEEP_SECONDS
    async with resources():
        while monotonic() < until and (count := await verify_chunk()):
            done += count
    return states.succeeded(f"{done} domains")


@flow(name="verify_domain", flow_run_name="verify_domain-{domain_id}", retries=0)
async def verify_domain(domain_id: int) -> State[None]:
    """Look at one domain in full, at every authority; at most once in ten seconds."""
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            domain = await domains.get_live(conn, domain_id)
        if domain is None:
            return states.rejected(f"no domain {domain_id}: nothing was done")
        if too_soon(domain):
            return states.succeeded(f"{domain.domain_name} was looked at less than 10 s ago")
        seen = await look_at(r.resolver, domain, full=True)
        if seen is None:
            return states.rejected(f"{domain.domain_name}: nothing is expected of it yet; onboarding writes that down")
        await settle(r, [seen])
    return states.succeeded(f"{domain.domain_name}: {seen.outcome.status}")


@task(name="verify_chunk", cache_policy=NO_CACHE, persist_result=False)
async def verify_chunk() -> int:
    """Claim, look, write: one chunk; how many domains it had."""
    async with resources() as r:
        return await sweep_chunk(r)


async def sweep_chunk(r: Resources, limit: int = CHUNK) -> int:
    """The same for any caller."""
    async with as_orchestrator(r.pool) as conn:
        claimed = await domains.claim_due(conn, limit)
    if not claimed:
        return 0
    began, at_once = monotonic(), asyncio.Semaphore(DOMAINS_AT_ONCE)

    async def one(domain: DueDomain) -> Seen | None:
        async with at_once:
            return await look_at(r.resolver, domain)

    with seldom_collecting():
        found = await asyncio.gather(*map(one, claimed))
    if unknown := [domain.id for domain, seen in zip(claimed, found, strict=True) if seen is None]:
        async with as_orchestrator(r.pool) as conn:
            await domains.put_off(conn, unknown, NOTHING_KNOWN_SECONDS)
    seen = [one for one in found if one is not None]
    await settle(r, seen)
    full = sum(one.full for one in seen)
    log.info("domains=%d full=%d ms=%d", len(claimed), full, (monotonic() - began) * 1000)
    return len(claimed)


async def settle(r: Resources, seen: Sequence[Seen]) -> None:
    """Write what was seen in bulk, then the few changes of status; put back what is ours; wake who waited."""
    run_id = UUID(str(flow_run.id)) if flow_run.id else None
    async with as_orchestrator(r.pool) as conn:
        written = await domains.note_looks(conn, [look_of(one) for one in seen])
        fresh = [one for one in seen if one.domain.id in written]
        await dns_checks.add_many(conn, [check for one in fresh for check in checks_of(one)], run_id)
        for one in fresh:
            await note_notices(conn, one, run_id)
    for one in fresh:
        if one.outcome.notices:
            await alerting.tell(r, one)
        if one.outcome.status != one.domain.verification_status:
            await move(r, one, run_id)
    if ready := {one.domain.tenant_id for one in fresh if one.full and one.outcome.blocked is None}:
        await wake(r, sorted(ready))
    await alerting.close_what_is_over(r, fresh)
    await repairing.mend(r, fresh)


def look_of(one: Seen) -> Look:
    """The row; a routine look that found everything as it was leaves the picture alone."""
    same = not one.full and not one.outcome.changed
    domain, outcome = one.domain, one.outcome
    return Look(domain.id, domain.updated_at, None if same else outcome.picture, outcome.error, outcome.next_at)


def checks_of(one: Seen) -> list[CheckOf]:
    """History has one row for each run of equal verdicts: only news is written."""
    return [
        CheckOf(
            one.domain.tenant_id, one.domain.id,
            observing.check_of(one.entries[place].expected, one.verdicts[place]),
        )
        for place in one.outcome.changed
    ]  # fmt: skip


async def note_notices(conn: Connection, one: Seen, run_id: UUID | None) -> None:
    """Steps of a status that somebody is told of."""
    for verdict, notice in one.outcome.notices:
        who = "operator" if notice in alerting.FOR_STAFF else "tenant"
        await infrastructure_events.record_event(
            conn, tenant_id=one.domain.tenant_id, subject_type="domain", subject_id=one.domain.domain_name,
            event=f"dns_{notice}", reason=verdict.reason, actor=alerting.ACTOR, flow_run_id=run_id,
            details={"record": verdict.subject, "fix": verdict.fix[:1000], "tell": who},
        )  # fmt: skip


async def move(r: Resources, one: Seen, run_id: UUID | None) -> None:
    """Change the domain's word where that is allowed; a name that another tenant has verified stays unverified."""
    domain, to = one.domain, one.outcome.status
    try:
        async with as_orchestrator(r.pool) as conn:
            before = await domains.move(conn, domain.id, to=to, allowed_from=allowed_from(to))
            if before:
                await infrastructure_events.record_event(
                    conn, tenant_id=domain.tenant_id, subject_type="domain", subject_id=domain.domain_name,
                    event=f"domain_{to}", from_status=before, to_status=to, actor=alerting.ACTOR,
                    flow_run_id=run_id,
                )  # fmt: skip
    except AlreadyExists:
        log.warning("domain=%s is verified by another tenant", domain.domain_name)


async def wake(r: Resources, tenant_ids: list[int]) -> None:
    """Bring back runs that waited for what is now there; one that cannot be started now is due again by itself."""
    async with as_orchestrator(r.pool) as conn:
        runs = await provisioning.claim_dns_waits(conn, tenant_ids)
    for run in runs:
        try:
            await resume(r, run)
        except Exception:  # a server that is away must not undo what was seen
            log.warning("run=%s could not be started now: resume_waiting will", run.id, exc_info=True)


def too_soon(domain: DueDomain) -> bool:
    """Whether the last look is too young to ask strangers' servers again."""
    last = domain.dns_last_verified_at
    return last is not None and datetime.now(UTC) - last < APART
