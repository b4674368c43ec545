"""Put back what of ours went missing from a zone that we publish, or tell a person why not.

What several looks found wrong at every authority is held against what we published there, against the plan as it is
now, and against what the DNS host itself holds; only then is it planned and applied like every publication.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from flows.domains import publishing
from flows.domains.alerting import CATEGORY, repair_key
from flows.domains.lent import record_above
from flows.domains.looking import Seen
from flows.domains.publishing import Decision, Plan
from flows.onboarding.plans import estate_of, plan_of
from flows.policy.dmarc import DmarcPolicy, beginning, parse_dmarc
from flows.policy.records import Change, Conflict, Entry, ExpectedRecord, Merge, entries, expected_records
from flows.policy.records import repair as rules
from flows.policy.records.repair import Publication, RepairRules
from flows.resources import Resources, direct_dsn
from providers.dns_host import Changed
from providers.errors import ProviderError, Rejected
from sql import alerts, infrastructure_events, provisioning, tenants
from sql.domains import Domain
from sql.infrastructure_events import Event
from sql.provisioning import Run
from sql.session import Contended, as_orchestrator, run_lock

log = logging.getLogger(__name__)

ACTOR = "repair"
AT_ONCE = 8  # of a chunk; the others' next look comes within the hour
LOOK_SECONDS = 60.0


async def mend(r: Resources, seen: Sequence[Seen]) -> None:
    """After a look: repair where we publish."""
    gone = [one for one in seen if one.domain.dns_host is not None and rules.drifted(entries(one.outcome.picture))]
    await asyncio.gather(*(mend_one(r, one) for one in gone[:AT_ONCE]))


async def mend_one(r: Resources, one: Seen) -> None:
    """One domain; what cannot be done now is tried at its next look, what may not be done is told once."""
    name, tenant_id = one.domain.domain_name, one.domain.tenant_id
    try:
        refused = await repaired(r, one)
    except Rejected as error:
        refused = "" if isinstance(error, Changed) else error.detail
        log.warning("domain=%s error=%s", name, error)
    except (ProviderError, Contended, LookupError, TimeoutError) as error:
        log.warning("domain=%s not repaired now: %s", name, error)
        return
    except Exception:  # what one tenant's DNS host does must not end the sweep of all
        log.exception("domain=%s not repaired", name)
        return
    if refused:
        await tell(r, name, tenant_id, refused)


async def repaired(r: Resources, one: Seen) -> str:
    """Repair with the tenant to ourselves; why a person must decide, empty when there is nothing to decide."""
    async with as_orchestrator(r.pool) as conn:
        runs = await provisioning.list_runs(conn, one.domain.tenant_id, limit=1)
    if not runs:
        return ""
    async with run_lock(await direct_dsn(), runs[0].id) as mine:
        return await carried_out(r, runs[0], one.domain.id) if mine else ""


async def carried_out(r: Resources, run: Run, domain_id: int) -> str:
    """Plan from the rows as they are now, and apply what may go out by itself.

    A publication under way is not broken off: the DNS host has a limit of its own, after which nothing more is written.
    """
    async with asyncio.timeout(LOOK_SECONDS):
        plan, why = await decided(r, run, domain_id)
    if plan is not None and plan.changes:
        await publishing.carry_out(r, plan, actor=ACTOR)
        names = ", ".join(f"{change.name} {change.rtype}" for change in plan.changes)
        details = {"domain": plan.domain.domain_name, "names": names}
        await publishing.note(r, plan.domain, "dns_repaired", ACTOR, None, details)
    return why


async def decided(r: Resources, run: Run, domain_id: int) -> tuple[Plan | None, str]:
    """What may be put back by itself, and why a person decides over the rest."""
    domain, asked = await as_of_now(r, run, domain_id)
    figures = RepairRules(most_a_day=r.settings.dns.repairs_a_day)
    if domain is None or domain.dns_host is None or not asked or not figures.most_a_day:
        return None, ""
    past = [publication_of(event) for event in await publishing.publications(r, domain)]
    now = datetime.now(UTC)
    if why := rules.too_many(entries(domain.dns_records)) or rules.spent(past, now, figures):
        return None, why
    tired = {
        entry.expected.key: why
        for entry in asked
        if (why := rules.insisted(past, (entry.expected.name, entry.expected.rtype), now, figures))
    }
    asked = [entry for entry in asked if entry.expected.key not in tired]
    plan, refused = await judged(r, await wanted(r, domain, asked, past), asked, past)
    refused += [f"{key}: {why}" for key, why in tired.items()]
    return plan, "; ".join(refused)


async def as_of_now(r: Resources, run: Run, domain_id: int) -> tuple[Domain | None, list[Entry]]:
    """The domain, and those of its drifted records that the plan of today still asks for."""
    estate = await estate_of(r, run)
    domain = next((domain for domain in estate.domains if domain.id == domain_id), None)
    if domain is None or domain_id not in estate.sends_from:
        return None, []
    today = {(record.name, record.rtype, record.values) for record in expected_records(plan_of(r, estate, domain))}
    return domain, [
        entry
        for entry in rules.drifted(entries(domain.dns_records))
        if (entry.expected.name, entry.expected.rtype, entry.expected.values) in today
    ]


async def wanted(r: Resources, domain: Domain, asked: Sequence[Entry], past: Sequence[Publication]) -> Plan:
    """What publishing would change for these records; where nothing is left of ours, as it was when we left it."""
    plan = await publishing.planned(r, domain, [entry.expected for entry in asked])
    bare = [record for record, decision in plan.decisions if isinstance(decision, Change) and not of_its_kind(decision)]
    left = [rules.as_left(record, rules.published_at(past, (record.name, record.rtype))) for record in bare]
    if left == bare:
        return plan
    again = await publishing.planned(r, domain, left)
    instead = {record.key: decision for record, decision in again.decisions}
    return replace(
        plan, decisions=tuple((record, instead.get(record.key, decision)) for record, decision in plan.decisions)
    )


def of_its_kind(change: Change) -> bool:
    """Whether a policy of somebody's stands at the name, so that ours would only join it."""
    return any(value.lower().startswith(("v=spf1", "v=dmarc1")) for value in change.before)


async def judged(
    r: Resources, plan: Plan, asked: Sequence[Entry], past: Sequence[Publication]
) -> tuple[Plan, list[str]]:
    """The plan without what a person decides over, and why."""
    by_key = {entry.expected.key: entry for entry in asked}
    kept: list[tuple[ExpectedRecord, Decision]] = []
    refused: list[str] = []
    for record, decision in plan.decisions:
        if isinstance(decision, Conflict):
            refused.append(decision.fix)
            continue
        if isinstance(decision, Change):
            above = await lent_policy(r, plan.domain) if record.merge is Merge.MERGE_DMARC else None
            published = rules.published_at(past, (record.name, record.rtype))
            if why := rules.held_back(by_key[record.key], decision, published, above):
                refused.append(f"{record.name} {record.rtype}: {why}")
                continue
        kept.append((record, decision))
    return replace(plan, decisions=tuple(kept)), refused


async def lent_policy(r: Resources, domain: Domain) -> DmarcPolicy:
    """What receivers apply while the domain has no record of its own."""
    return parse_dmarc(beginning(await record_above(r.resolver, domain.domain_name))).effective


def publication_of(event: Event) -> Publication:
    """A line of the trail in policy's words."""
    sets = tuple(((one["name"], one["type"]), tuple(one["after"])) for one in event.details["sets"])
    return Publication(event.created_at, sets, repair=event.actor == ACTOR)


async def tell(r: Resources, name: str, tenant_id: int, why: str) -> None:
    """One alert and one line of the trail while it stands."""
    async with as_orchestrator(r.pool) as conn:
        tenant = await tenants.get_tenant_by_id(conn, tenant_id)
    async with as_orchestrator(r.analytics) as conn:
        opened = await alerts.raise_alert(
            conn, dedupe_key=repair_key(name), category=CATEGORY, severity="high",
            title=f"{name}: records that we published are gone and are not put back by themselves",
            message=why, tenant_id=tenant.tenant_id if tenant else None,
        )  # fmt: skip
    if opened:
        async with as_orchestrator(r.pool) as conn:
            await infrastructure_events.record_event(
                conn, tenant_id=tenant_id, subject_type="domain", subject_id=name, event="dns_repair_refused",
                reason=why[:200], actor=ACTOR, details={"why": why[:1000]},
            )  # fmt: skip
