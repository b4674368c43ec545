"""Subscriptions after their money: past due, grace, suspended, released at the end of the paid month, or paid.

The tables move first and say why; then every host whose submission is not as its tenant's subscription has it is
converged, and says so. A host out of reach is looked at again by the next sweep, and staff are told. The clock is an
argument, so that a sandbox can play a month.
"""

import logging
from datetime import UTC, datetime, timedelta

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import states
from flows.acting import actor
from flows.hosts import converge
from flows.onboarding.desired import desired_host
from flows.policy import mail_host
from flows.policy.unpaid import release_at
from flows.resources import Resources, direct_dsn, resources
from providers.errors import ProviderError
from sql import alerts, infrastructure_events, provisioning, submission, subscriptions, vps_instances
from sql.session import Contended, as_orchestrator, run_lock
from sql.submission import HostToChange

log = logging.getLogger(__name__)

CHUNK = 100


async def followed(r: Resources, now: datetime) -> list[str]:
    """Move what is due, then see to the hosts; one line for each thing that changed."""
    grace = timedelta(days=r.settings.billing.grace_days)
    async with as_orchestrator(r.pool) as conn:
        lapsed = await subscriptions.lapse(conn, now, actor=actor())
        suspended = await subscriptions.suspend(conn, now, grace=grace, actor=actor())
    lines = [f"subscription {one.id} is past due" for one in lapsed]
    lines += [f"subscription {one.id} is suspended" for one in suspended]
    return lines + await released(r, now) + await hosts_settled(r)


async def released(r: Resources, now: datetime) -> list[str]:
    """Plan the end of what suspended tenants have; a row and nothing else, which a payment takes back."""
    lines: list[str] = []
    async with as_orchestrator(r.pool) as conn:
        for due in await submission.unplanned_releases(conn, CHUNK):
            at = release_at(now, period_ends_on=due.period_ends_on, bought_at=due.bought_at)
            if await subscriptions.plan_release(conn, due.subscription_id, at, actor=actor()):
                lines.append(f"subscription {due.subscription_id}: release planned for {at:%Y-%m-%d}")
    return lines


async def hosts_settled(r: Resources, tenant_id: int | None = None) -> list[str]:
    """Bring every host whose submission is not as paid for to what it should be; of one tenant or of all."""
    async with as_orchestrator(r.pool) as conn:
        wrong = await submission.hosts_to_change(conn, tenant_id, CHUNK)
    return [line for host in wrong if (line := await host_settled(r, host))]


async def host_settled(r: Resources, host: HostToChange) -> str | None:
    """Converge one host; None when a run is at it, which leaves it to the next sweep."""
    async with as_orchestrator(r.pool) as conn:
        runs = await provisioning.list_runs(conn, host.tenant_id, limit=1)
        instance = await vps_instances.get_instance(conn, host.instance_id)
    if not runs:
        return None
    async with run_lock(await direct_dsn(), runs[0].id) as mine:
        if not mine:
            return None
        try:
            await converge(r, instance, mail_host.desired(await desired_host(r, runs[0])))
        except (ProviderError, Contended, LookupError) as error:  # LookupError: the tables lack something of this host
            return await unreached(r, host, error)
        word = await settled(r, host)
    return f"{instance.token}: submission {word}"


async def settled(r: Resources, host: HostToChange) -> str:
    """Note what the host does now, in one transaction with the line of the trail."""
    word = "refused" if host.refuse else "restored"
    async with as_orchestrator(r.pool) as conn:
        await submission.note_submission(conn, host.instance_id, refused=host.refuse)
        await infrastructure_events.record_event(
            conn, tenant_id=host.tenant_id, subject_type="vps", subject_id=host.token, event=f"submission_{word}",
            actor=actor(),
        )  # fmt: skip
    async with as_orchestrator(r.analytics) as conn:
        await alerts.resolve(conn, alert_key(host), actor())
    return word


async def unreached(r: Resources, host: HostToChange, error: Exception) -> str:
    """Tell staff once; the next sweep tries again."""
    log.warning("host=%s refuse=%s error=%s", host.token, host.refuse, error)
    async with as_orchestrator(r.analytics) as conn:
        await alerts.raise_alert(
            conn, dedupe_key=alert_key(host), category="billing", severity="medium" if host.refuse else "high",
            title=f"{host.token} cannot be told to {'refuse' if host.refuse else 'take'} submission",
            message=str(error), tenant_id=host.tenant_uuid,
        )  # fmt: skip
    return f"{host.token}: out of reach"


def alert_key(host: HostToChange) -> str:
    """One open alert a host."""
    return f"submission:{host.token}"


@task(name="follow_due_subscriptions", cache_policy=NO_CACHE, persist_result=False)
async def follow_due_subscriptions(now: datetime) -> list[str]:
    """One line per change."""
    async with resources() as r:
        return await followed(r, now)


@flow(name="follow_subscriptions", retries=0)
async def follow_subscriptions(as_of: str | None = None) -> State[None]:
    """Every hour. `as_of` (ISO 8601) plays another time, in a sandbox only."""
    async with resources() as r:
        if as_of is not None and not r.terms.practice:
            return states.rejected("as_of is for the sandbox: outside it the clock is the clock")
        lines = await follow_due_subscriptions(moment(as_of))
    return states.succeeded("; ".join(lines)[:900] or "nothing changed")


def moment(as_of: str | None) -> datetime:
    """The time that is meant; ValueError for one without a zone."""
    if as_of is None:
        return datetime.now(UTC)
    at = datetime.fromisoformat(as_of)
    if at.tzinfo is None:
        raise ValueError(f"as_of {as_of} needs a time zone, e.g. {as_of}+00:00")
    return at
