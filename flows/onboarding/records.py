"""Publish what a domain needs, and verify what the world sees of it."""

from datetime import UTC, datetime, timedelta

from flows import observing, vault
from flows.onboarding.plans import ALGORITHMS, Estate, estate_of, plan_of
from flows.outcomes import Done, Outcome, Waiting
from flows.policy.dns_ids import dkim_selector
from flows.policy.lifecycle import DkimKeyStatus, DomainStatus, allowed_from
from flows.policy.records import (
    Change,
    Conflict,
    ExpectedRecord,
    Holder,
    Keep,
    Merge,
    Need,
    entries,
    expected_records,
    line,
    looked,
    publication,
    renewed,
)
from flows.policy.spf import SpfOutcome
from flows.policy.verdict import Truth, Verdict
from flows.publishing import dns_host_of, publish
from flows.resources import Resources
from flows.runs import actor
from flows.steps import step
from flows.waiting import short_looks
from providers.dns_host import DnsHost
from providers.keys import DkimKey, new_dkim_ed25519, new_dkim_rsa
from sql import dkim_keys, dns_checks, domains, infrastructure_events
from sql.domains import Domain
from sql.provisioning import Run
from sql.session import AlreadyExists, as_orchestrator

LOOK_AGAIN = timedelta(minutes=5)


@step(name="publish_dns")
async def ensure_dns_published(r: Resources, run: Run) -> Outcome:
    """Keys made, expected records written down, and published where the tenant gave us its DNS host."""
    estate = await with_keys(r, run, await estate_of(r, run))
    lines: list[str] = []
    for domain in estate.domains:
        expected = expected_records(plan_of(r, estate, domain))
        async with as_orchestrator(r.pool) as conn:
            await domains.note_expected(conn, domain.id, renewed(domain.dns_records, expected))
        if domain.dns_host is None:
            lines.append(f"{domain.domain_name}: the tenant publishes {len(expected)} records by hand")
            continue
        lines += await publish_domain(r, run, domain, expected)
    return Done({"lines": lines})


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


async def publish_domain(r: Resources, run: Run, domain: Domain, expected: tuple[ExpectedRecord, ...]) -> list[str]:
    """Look at each name, change only what is missing, never what is not ours; one line for each change or conflict."""
    host = await dns_host_of(r, domain)
    wanted = [
        record
        for record in expected
        if record.holder is Holder.TENANT and (record.need is not Need.OPTIONAL or record.consent)
    ]
    decisions = [(record, await decision_on(r, host, domain, record)) for record in wanted]
    changes = [decision for _, decision in decisions if isinstance(decision, Change)]
    if changes:
        await publish(host, changes)
        await note_publication(r, run, domain, changes)
    return [f"{change.name} {change.rtype}: {change.reason}" for change in changes] + [
        f"{record.name} {record.rtype}: conflict, {decision.fix}"
        for record, decision in decisions
        if isinstance(decision, Conflict)
    ]


async def decision_on(r: Resources, host: DnsHost, domain: Domain, record: ExpectedRecord) -> Change | Keep | Conflict:
    """Hold what stands at the name against what should, knowing what we put there ourselves."""
    existing = await host.read(record.name, record.rtype)
    alias = await host.read(record.name, "CNAME") if record.rtype != "CNAME" else None
    spf_passes = False
    if record.merge is Merge.MERGE_SPF and existing is not None:
        results = await observing.spf_results(r.resolver, record, record.name.rstrip("."))
        spf_passes = bool(results) and all(result.outcome is SpfOutcome.PASS for result in results)
    return publication(
        record, existing, ours_before=ours_before(domain, record), alias=alias.values[0] if alias else None,
        spf_passes=spf_passes,
    )  # fmt: skip


def ours_before(domain: Domain, record: ExpectedRecord) -> list[str]:
    """Values that an earlier picture of the domain asked for at this name: ours to replace."""
    return [
        value
        for entry in entries(domain.dns_records)
        if (entry.expected.name, entry.expected.rtype) == (record.name, record.rtype)
        for value in (*entry.expected.values, *entry.former)
    ]


async def note_publication(r: Resources, run: Run, domain: Domain, changes: list[Change]) -> None:
    """The trail of what was published, with what stood there before, so that it can be undone."""
    async with as_orchestrator(r.pool) as conn:
        await infrastructure_events.record_event(
            conn, tenant_id=run.tenant_id, subject_type="domain", subject_id=domain.domain_name,
            event="dns_published", reason=f"{len(changes)} record sets", actor=actor(run), flow_run_id=run.flow_run_id,
            details={"undo": [{"name": c.name, "type": c.rtype, "before": list(c.before)} for c in changes]},
        )  # fmt: skip


@step(name="verify_dns")
async def ensure_dns_verified(r: Resources, run: Run) -> Outcome:
    """Every required record of every domain judged PASS; otherwise the process ends here until the tenant published."""
    estate = await estate_of(r, run)
    missing: list[str] = []
    for domain in estate.domains:
        verdicts = await judged_until_settled(r, estate, domain)
        try:
            await remember(r, run, estate, domain, verdicts)
        except AlreadyExists:
            return Waiting("operator", f"{domain.domain_name} was verified by another tenant in the meantime")
        missing += [f"{domain.domain_name} {line(verdict)}" for _, verdict in verdicts if gates(_, verdict)]
    if missing:
        more = f" (and {len(missing) - 1} more: python -m flows status)" if len(missing) > 1 else ""
        return Waiting("dns", missing[0] + more, LOOK_AGAIN)
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


async def remember(r: Resources, run: Run, estate: Estate, domain: Domain, judged: Judged) -> None:
    """The picture, its history, the domain's status and that of its keys, in one transaction."""
    blocked = [verdict for record, verdict in judged if gates(record, verdict)]
    status = DomainStatus.VERIFIED if not blocked else next_status(judged)
    picture = entries(renewed(domain.dns_records, [record for record, _ in judged]))
    seen = looked(picture, [verdict for _, verdict in judged], datetime.now(UTC))
    async with as_orchestrator(r.pool) as conn:
        await domains.note_look(conn, domain.id, records=seen.picture, error=seen.error, next_at=seen.next_at)
        await dns_checks.add_checks(
            conn, tenant_id=run.tenant_id, domain_id=domain.id, flow_run_id=run.flow_run_id,
            checks=[observing.check_of(record, verdict) for record, verdict in judged],
        )  # fmt: skip
        moved = await domains.move(conn, domain.id, to=status, allowed_from=allowed_from(status))
        if moved:
            await infrastructure_events.record_event(
                conn, tenant_id=run.tenant_id, subject_type="domain", subject_id=domain.domain_name,
                event=f"domain_{status}", from_status=moved, to_status=status, reason=None, actor=actor(run),
                flow_run_id=run.flow_run_id, details={},
            )  # fmt: skip
        truths = {record.key: verdict.truth for record, verdict in judged}
        for key in estate.keys[domain.id]:
            word = "dkim-rsa" if ALGORITHMS[key.algorithm] == "rsa" else "dkim-ed"
            if truths.get(f"{word}:{key.selector}") is Truth.PASS:
                for to in (DkimKeyStatus.PUBLISHED, DkimKeyStatus.VERIFIED):
                    if key.status in {DkimKeyStatus.GENERATED, DkimKeyStatus.PUBLISHED}:
                        await dkim_keys.move(conn, key.id, to=to, allowed_from=allowed_from(to))


def next_status(judged: Judged) -> DomainStatus:
    """The word for a domain that does not pass yet."""
    some = any(verdict.truth is Truth.PASS for record, verdict in judged if record.need is Need.REQUIRED)
    return DomainStatus.PARTIALLY_VERIFIED if some else DomainStatus.PENDING
