"""Publish what a domain needs, and verify what the world sees of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from flows import vault
from flows.domains import observing
from flows.domains.lent import start_of
from flows.domains.publishing import carry_out, planned
from flows.onboarding.plans import ALGORITHMS, Estate, estate_of, plan_of
from flows.outcomes import Done, Outcome, Waiting
from flows.policy.dns_ids import dkim_selector
from flows.policy.lifecycle import DkimKeyStatus, DomainStatus, allowed_from
from flows.policy.records import (
    WHO_ACTS,
    ExpectedRecord,
    Holder,
    Need,
    entries,
    expected_records,
    line,
    looked,
    renewed,
)
from flows.policy.verdict import Truth, Verdict
from flows.resources import Resources
from flows.runs import actor
from flows.steps import step
from flows.waiting import short_looks
from providers.keys import DkimKey, new_dkim_ed25519, new_dkim_rsa
from sql import dkim_keys, dns_checks, domains, infrastructure_events
from sql.domains import Domain
from sql.provisioning import Run
from sql.session import AlreadyExists, Connection, as_orchestrator

LOOK_AGAIN = timedelta(minutes=5)
OWNERSHIP = "own"  # the record by which a tenant shows that a name is its own


@step(name="publish_dns")
async def ensure_dns_published(r: Resources, run: Run) -> Outcome:
    """Keys made, expected records written down, and published where the tenant gave us its DNS host."""
    estate = await written_down(r, run, await with_keys(r, run, await estate_of(r, run)))
    lines: list[str] = []
    unowned: list[str] = []
    for domain in estate.domains:
        expected = expected_records(plan_of(r, estate, domain))
        if domain.dns_host is None:
            lines.append(f"{domain.domain_name}: the tenant publishes {len(expected)} records by hand")
            try:
                unowned += [lacking] if (lacking := await owned(r, run, estate, domain)) else []
            except AlreadyExists:
                return another_has(domain)
            continue
        plan = await planned(r, domain, expected)
        await carry_out(r, plan, actor=actor(run), flow_run_id=run.flow_run_id)
        lines += plan.lines
    return Waiting("dns", unowned[0], LOOK_AGAIN) if unowned else Done({"lines": lines})


async def written_down(r: Resources, run: Run, estate: Estate) -> Estate:
    """What each domain should publish, in its row; a first DMARC record as strict as what holds without it."""
    for domain in estate.domains:
        expected = expected_records(replace(plan_of(r, estate, domain), dmarc_start=await start_of(r.resolver, domain)))
        async with as_orchestrator(r.pool) as conn:
            await domains.note_expected(conn, domain.id, renewed(domain.dns_records, expected))
    return await estate_of(r, run)


async def with_keys(r: Resources, run: Run, estate: Estate) -> Estate:
    """An RSA and an Ed25519 key for each domain that lacks one; private halves are sealed."""
    for domain in estate.domains:
        have = {ALGORITHMS[key.algorithm] for key in estate.keys[domain.id]}
        for key in (
            make() for name, make in (("rsa", new_dkim_rsa), ("ed25519", new_dkim_ed25519)) if name not in have
        ):
            await keep_key(r, run, domain, key, taken=[other.selector for other in estate.keys[domain.id]])
    return await estate_of(r, run)


async def keep_key(r: Resources, run: Run, domain: Domain, key: DkimKey, taken: list[str]) -> None:
    """Seal the private half and write both rows in one transaction."""
    selector = dkim_selector(key.algorithm, datetime.now(UTC).date(), taken)
    async with as_orchestrator(r.pool) as conn:
        secret_id = await vault.store(
            r, conn, tenant_id=run.tenant_id, purpose="dkim_private_key",
            path=f"dkim/{domain.domain_name}/{selector}", secret=key.private_pem,
        )  # fmt: skip
        await dkim_keys.add_key(
            conn, tenant_id=run.tenant_id, domain_id=domain.id, selector=selector, algorithm=f"{key.algorithm}-sha256",
            public_key=key.public_b64, private_key_secret_id=secret_id,
        )  # fmt: skip


async def owned(r: Resources, run: Run, estate: Estate, domain: Domain) -> str | None:
    """Nothing more is done for a name before its owner is known: what is missing, or None once the token was seen."""
    if domain.verification_status == DomainStatus.VERIFIED:
        return None
    judged = await judged_until_settled(r, estate, domain)
    lacking = [verdict for record, verdict in judged if gates(record, verdict)]
    if lacking:
        await remember(r, run, estate, domain, judged)
    ownership = next((verdict for verdict in lacking if verdict.subject == OWNERSHIP), None)
    if ownership is None:
        return None
    return f"{domain.domain_name} {line(ownership)}{and_more(domain, len(lacking) - 1)}"


def and_more(domain: Domain, others: int) -> str:
    """Where the rest is to be seen."""
    return f" (and {others} more: python -m flows dns records {domain.domain_name})" if others > 0 else ""


def another_has(domain: Domain) -> Waiting:
    """A name belongs to whoever proved it first."""
    return Waiting("operator", f"{domain.domain_name} was verified by another tenant in the meantime")


@step(name="verify_dns")
async def ensure_dns_verified(r: Resources, run: Run) -> Outcome:
    """Every required record of every domain judged PASS; otherwise the process ends here until the tenant published."""
    estate = await estate_of(r, run)
    missing: list[tuple[Domain, ExpectedRecord, str]] = []
    flapping: list[str] = []
    for domain in estate.domains:
        verdicts = await judged_until_settled(r, estate, domain)
        try:
            status = await remember(r, run, estate, domain, verdicts)
        except AlreadyExists:
            return another_has(domain)
        lacking = [(domain, record, line(verdict)) for record, verdict in verdicts if gates(record, verdict)]
        if not lacking and status is not DomainStatus.VERIFIED:
            flapping += [f"{domain.domain_name} is right at this look and was not for long: it has to stay so"]
        missing += lacking
    if missing:
        domain, record, first = min(missing, key=lambda one: one[1].holder is not Holder.TENANT)
        sentence = f"{domain.domain_name} {first}{and_more(domain, len(missing) - 1)}"
        return Waiting(WHO_ACTS[record.holder], sentence, LOOK_AGAIN)
    if flapping:
        return Waiting("dns", flapping[0], LOOK_AGAIN)
    return Done({"domains": [domain.domain_name for domain in estate.domains]})


Judged = list[tuple[ExpectedRecord, Verdict]]


async def judged_until_settled(r: Resources, estate: Estate, domain: Domain) -> Judged:
    """Judge; what we published ourselves is given a moment to become visible."""
    expected = [record for record in expected_records(plan_of(r, estate, domain)) if record.need is not Need.OPTIONAL]
    patience = r.settings.dns.publish_wait_seconds if domain.dns_host else 0
    judged: Judged = []
    async for _ in short_looks(patience):
        verdicts = await observing.judge_all(r.resolver, expected, domain.domain_name)
        judged = list(zip(expected, verdicts, strict=True))
        if not any(gates(record, verdict) for record, verdict in judged):
            break
    return judged


def gates(record: ExpectedRecord, verdict: Verdict) -> bool:
    """Whether this keeps the domain from going live."""
    return record.need is Need.REQUIRED and verdict.truth is not Truth.PASS


async def remember(r: Resources, run: Run, estate: Estate, domain: Domain, judged: Judged) -> DomainStatus:
    """The picture, its history, the domain's status and that of its keys, in one transaction; the domain's word.

    The sweep may have looked in the meantime: what it wrote is gone on from, not what this run read before.
    """
    async with as_orchestrator(r.pool) as conn:
        before = await domains.hold_live(conn, domain.id)
        if before is None:
            return DomainStatus.DELETED
        picture = entries(renewed(before.dns_records, [record for record, _ in judged]))
        verdicts = [verdict for _, verdict in judged]
        seen = looked(picture, verdicts, datetime.now(UTC), before=before.verification_status)
        await domains.note_look(conn, domain.id, records=seen.picture, error=seen.error, next_at=seen.next_at)
        await dns_checks.add_checks(
            conn, tenant_id=run.tenant_id, domain_id=domain.id, flow_run_id=run.flow_run_id,
            checks=[observing.check_of(record, verdict) for record, verdict in judged],
        )  # fmt: skip
        if seen.status != before.verification_status:
            await note_word(conn, run, domain, seen.status)
        await note_keys(conn, estate, domain, judged)
    return seen.status


async def note_word(conn: Connection, run: Run, domain: Domain, to: DomainStatus) -> None:
    """The domain's new word, and a line of its trail."""
    moved = await domains.move(conn, domain.id, to=to, allowed_from=allowed_from(to))
    if moved:
        await infrastructure_events.record_event(
            conn, tenant_id=run.tenant_id, subject_type="domain", subject_id=domain.domain_name,
            event=f"domain_{to}", from_status=moved, to_status=to, reason=None, actor=actor(run),
            flow_run_id=run.flow_run_id, details={},
        )  # fmt: skip


async def note_keys(conn: Connection, estate: Estate, domain: Domain, judged: Judged) -> None:
    """A key whose record was seen may sign."""
    truths = {record.key: verdict.truth for record, verdict in judged}
    for key in estate.keys[domain.id]:
        word = "dkim-rsa" if ALGORITHMS[key.algorithm] == "rsa" else "dkim-ed"
        if truths.get(f"{word}:{key.selector}") is Truth.PASS:
            for to in (DkimKeyStatus.PUBLISHED, DkimKeyStatus.VERIFIED):
                if key.status in {DkimKeyStatus.GENERATED, DkimKeyStatus.PUBLISHED}:
                    await dkim_keys.move(conn, key.id, to=to, allowed_from=allowed_from(to))
