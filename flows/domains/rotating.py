"""Give each domain a new DKIM key before its old one is too old, with mail in flight all the while.

A successor is made, published, seen at every authority and by a resolver, and left to settle; then it signs instead of
the old key, which stays published until no message that it signed can still be under way. Each act is safe to repeat.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import states
from flows.acting import actor
from flows.domains import observing, publishing
from flows.hosts import converge
from flows.onboarding.desired import desired_host
from flows.onboarding.plans import ALGORITHMS, estate_of, plan_of
from flows.onboarding.records import keep_key
from flows.policy import dkim_life, mail_host
from flows.policy.dkim_life import Act, Due
from flows.policy.lifecycle import DkimKeyStatus, allowed_from
from flows.policy.records import Change, DkimRecord, ExpectedRecord, dated_key, expected_records, renewed
from flows.policy.verdict import Truth
from flows.policy.zone_lines import panel_name, quoted
from flows.resources import Resources, direct_dsn, resources
from providers.errors import ProviderError
from providers.keys import new_dkim_ed25519, new_dkim_rsa
from sql import dkim_keys, domains, infrastructure_events, provisioning, vps_instances
from sql.dkim_keys import KeyOfDomain
from sql.domains import Domain
from sql.provisioning import Run
from sql.session import Contended, as_orchestrator, run_lock

log = logging.getLogger(__name__)

CHUNK = 200
ASKED = "dkim_to_publish"
MAKERS = {"rsa-sha256": new_dkim_rsa, "ed25519-sha256": new_dkim_ed25519}


@flow(name="rotate_dkim_keys", retries=0)
async def rotate_dkim_keys(domain_id: int | None = None, force: bool = False) -> State[None]:
    """Hourly for every domain with something due; for one domain with `force` at once, whatever its keys' age."""
    lines = await tend_keys(domain_id, force=force)
    return states.succeeded("; ".join(lines)[:1000] or "nothing is due")


@task(name="tend_dkim_keys", cache_policy=NO_CACHE, persist_result=False)
async def tend_keys(domain_id: int | None = None, *, force: bool = False) -> list[str]:
    """One line for each thing that was done, or could not be."""
    async with resources() as r:
        ids = [domain_id] if domain_id is not None else await to_tend(r)
        lines: list[str] = []
        for one in ids:
            try:
                lines += await tend(r, one, force=force)
            except (ProviderError, Contended, LookupError) as error:
                log.warning("domain=%d error=%s", one, error)
                lines.append(f"domain {one}: {error}")
            except Exception as error:  # one domain must not keep the keys of all others
                log.exception("domain=%d", one)
                lines.append(f"domain {one}: {type(error).__name__}, see the log")
        return lines


async def to_tend(r: Resources) -> list[int]:
    """Domains with a key that is old, coming or going."""
    before = datetime.now(UTC) - dkim_life.SHIPPED.rotate_after
    async with as_orchestrator(r.pool) as conn:
        return await dkim_keys.domains_to_tend(conn, active_before=before, limit=CHUNK)


async def tend(r: Resources, domain_id: int, *, force: bool = False) -> list[str]:
    """Do what is due at one domain, one act after the other, unless a run is at its tenant."""
    async with as_orchestrator(r.pool) as conn:
        live = await domains.get_live(conn, domain_id)
        runs = await provisioning.list_runs(conn, live.tenant_id, limit=1) if live else []
    if live is None or not runs:
        return [f"domain {domain_id}: nothing was onboarded"]
    async with run_lock(await direct_dsn(), runs[0].id) as mine:
        if not mine:
            return [f"{live.domain_name}: a run is at work on its tenant"]
        return await tended(r, runs[0], domain_id, force=force)


async def tended(r: Resources, run: Run, domain_id: int, *, force: bool) -> list[str]:
    """The same with the tenant to ourselves."""
    lines: list[str] = []
    for _ in Act:  # a key may go several steps at once; never more than there are
        domain, keys = await domain_and_keys(r, run, domain_id)
        acts = dkim_life.due([life(key) for key in keys], datetime.now(UTC), force=force)
        done = [line for act in acts if (line := await carry_out(r, run, domain, keys, act))]
        lines += done
        force = False
        if not done:
            break
        await note_plan(r, run, domain_id)
    async with as_orchestrator(r.pool) as conn:
        waits = await dkim_keys.signing_changed_since_converged(conn, run.tenant_id)
    return lines + ([await converged(r, run)] if waits else [])


async def carry_out(r: Resources, run: Run, domain: Domain, keys: Sequence[KeyOfDomain], act: Due) -> str | None:
    """One act; what was done, or None when its time has not come."""
    key = next((key for key in keys if act.key and key.id == act.key.id), None)
    if key is None:
        return await generate(r, run, domain, act.algorithm)
    if act.act is Act.ACTIVATE:
        return await activate(r, domain, keys, key)
    if act.act is Act.REVOKE:
        return await withdraw(r, domain, key, (dkim_life.revoked_text(key.algorithm),), DkimKeyStatus.REVOKED)
    if act.act is Act.DELETE:
        return await withdraw(r, domain, key, (), DkimKeyStatus.DELETED)
    return await (publish if act.act is Act.PUBLISH else verify)(r, domain, key)


async def generate(r: Resources, run: Run, domain: Domain, algorithm: str) -> str:
    """A new pair under a selector that was never used; the private half is sealed."""
    async with as_orchestrator(r.pool) as conn:
        taken = await dkim_keys.selectors_of(conn, domain.id)
    await keep_key(r, run, domain, MAKERS[algorithm](), taken)
    return f"{domain.domain_name}: a new {algorithm} key was made"


async def publish(r: Resources, domain: Domain, key: KeyOfDomain) -> str | None:
    """At the tenant's DNS host where we may; else it is the tenant who publishes, and we look."""
    record = record_of(domain, key)
    if domain.dns_host is not None:
        plan = await publishing.planned(r, domain, [record])
        await publishing.carry_out(r, plan, actor=actor())
        if not plan.changes and not await stands(r, record):
            return None
    elif not await stands(r, record):
        await ask_tenant(r, domain, key, record)
        return None
    return await moved(r, domain, key, DkimKeyStatus.PUBLISHED)


async def ask_tenant(r: Resources, domain: Domain, key: KeyOfDomain, record: ExpectedRecord) -> None:
    """Once for each key: a line of the trail, from which a notice and a mail say what to enter."""
    async with as_orchestrator(r.pool) as conn:
        told = await infrastructure_events.list_events(
            conn, domain.tenant_id, subject_type="dkim_key", subject_id=subject(domain, key)
        )
        if any(event.event == ASKED for event in told):
            return
        enter = panel_name(record.name, domain.domain_name)
        await infrastructure_events.record_event(
            conn, tenant_id=domain.tenant_id, subject_type="dkim_key", subject_id=subject(domain, key), event=ASKED,
            actor=actor(), details={"domain": domain.domain_name, "enter": enter, "value": quoted(record.values[0])},
        )  # fmt: skip


async def verify(r: Resources, domain: Domain, key: KeyOfDomain) -> str | None:
    """Seen at every authority that answers, and by a resolver."""
    return await moved(r, domain, key, DkimKeyStatus.VERIFIED) if await stands(r, record_of(domain, key)) else None


async def activate(r: Resources, domain: Domain, keys: Sequence[KeyOfDomain], key: KeyOfDomain) -> str | None:
    """The tables first, then the host: until it is converged it signs with the old key, which stays published."""
    if not await stands(r, record_of(domain, key)):
        return None
    before = next(k for k in keys if k.algorithm == key.algorithm and k.status == DkimKeyStatus.ACTIVE)
    async with as_orchestrator(r.pool) as conn:
        if not await dkim_keys.succeed(conn, active_id=before.id, next_id=key.id):
            return None
        for one, old, new in (
            (before, DkimKeyStatus.ACTIVE, DkimKeyStatus.RETIRING), (key, DkimKeyStatus.VERIFIED, DkimKeyStatus.ACTIVE),
        ):  # fmt: skip
            await infrastructure_events.record_event(
                conn, tenant_id=domain.tenant_id, subject_type="dkim_key", subject_id=subject(domain, one),
                event=f"dkim_{new}", from_status=old, to_status=new, actor=actor(),
            )  # fmt: skip
    return f"{domain.domain_name}: {key.selector} signs instead of {before.selector}"


async def withdraw(
    r: Resources, domain: Domain, key: KeyOfDomain, values: tuple[str, ...], to: DkimKeyStatus
) -> str | None:
    """Empty the record, or take it away, where we publish and what stands there is ours; anything else is left."""
    record = record_of(domain, key)
    if domain.dns_host is not None:
        host = await publishing.dns_host_of(r, domain)
        found = await host.read(record.name, record.rtype)
        ours = {record.values, (dkim_life.revoked_text(key.algorithm),)}
        if found and found.values in ours and found.values != values:
            change = Change(record.name, record.rtype, values, record.ttl, found.values, f"the key is {to}")
            await publishing.carry_out(r, publishing.Plan(domain, host, ((record, change),)), actor=actor())
    return await moved(r, domain, key, to)


async def moved(r: Resources, domain: Domain, key: KeyOfDomain, to: DkimKeyStatus) -> str | None:
    """The key's new word, with its line in the trail."""
    async with as_orchestrator(r.pool) as conn:
        before = await dkim_keys.move(conn, key.id, to=to, allowed_from=allowed_from(to))
        if before is None:
            return None
        await infrastructure_events.record_event(
            conn, tenant_id=domain.tenant_id, subject_type="dkim_key", subject_id=subject(domain, key),
            event=f"dkim_{to}", from_status=before, to_status=to, actor=actor(),
        )  # fmt: skip
    return f"{domain.domain_name}: {key.selector} is {to}"


async def stands(r: Resources, record: ExpectedRecord) -> bool:
    """Whether everybody sees the key."""
    (verdict,) = await observing.judge_all(r.resolver, [record])
    return verdict.truth is Truth.PASS


async def note_plan(r: Resources, run: Run, domain_id: int) -> None:
    """Let the domain's picture ask for what its keys now need; those that come or go decide nothing."""
    domain, keys = await domain_and_keys(r, run, domain_id)
    plan = plan_of(r, await estate_of(r, run), domain)
    expected = expected_records(replace(plan, dkim=needs(keys)))
    async with as_orchestrator(r.pool) as conn:
        await domains.note_expected(conn, domain.id, renewed(domain.dns_records, expected))


def needs(keys: Sequence[KeyOfDomain]) -> tuple[DkimRecord, ...]:
    """The keys that are to be published, and which of them gate."""
    active: Mapping[str, bool] = {key.algorithm: True for key in keys if key.status == DkimKeyStatus.ACTIVE}
    return tuple(
        replace(as_record(key), gates=dkim_life.gates(key.status, has_active=active.get(key.algorithm, False)))
        for key in keys
        if key.status not in {DkimKeyStatus.REVOKED, DkimKeyStatus.DELETED}
    )


async def converged(r: Resources, run: Run) -> str:
    """The host signs with the keys that are active now."""
    async with as_orchestrator(r.pool) as conn:
        instance = await vps_instances.live_instance(conn, run.tenant_id)
    if instance is None:
        raise LookupError(f"tenant {run.tenant_id} has no server")
    host = await desired_host(r, run)
    await converge(r, instance, mail_host.desired(host))
    async with as_orchestrator(r.pool) as conn:
        await vps_instances.note_converged(conn, instance.id, host.hostname)
    return f"{host.hostname} signs with the active keys"


async def domain_and_keys(r: Resources, run: Run, domain_id: int) -> tuple[Domain, list[KeyOfDomain]]:
    """Both as they are now."""
    async with as_orchestrator(r.pool) as conn:
        owned = await domains.list_domains(conn, run.tenant_id)
        keys = await dkim_keys.life_of(conn, domain_id)
    return next(domain for domain in owned if domain.id == domain_id), keys


def record_of(domain: Domain, key: KeyOfDomain) -> ExpectedRecord:
    """What is published for the key."""
    return dated_key(domain.domain_name, as_record(key))


def as_record(key: KeyOfDomain) -> DkimRecord:
    """The key in the words of its record."""
    return DkimRecord(key.selector, ALGORITHMS[key.algorithm], key.public_key)


def life(key: KeyOfDomain) -> dkim_life.KeyLife:
    """The key in policy's words."""
    return dkim_life.KeyLife(
        key.id, key.selector, key.algorithm, key.status, key.created_at, key.published_at, key.activated_at,
        key.retiring_at, key.revoked_at,
    )  # fmt: skip


def subject(domain: Domain, key: KeyOfDomain) -> str:
    """How the trail calls a key."""
    return f"{key.selector}._domainkey.{domain.domain_name}"
