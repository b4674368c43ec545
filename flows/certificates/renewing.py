"""Renew what begins its last third, on every host, and make the host show it; sessions that are open stay open.

Due rows are claimed, so any number of workers share them and a dead one's come back. What cannot be renewed is looked
at again after a pause, and staff are told, the louder the nearer the end.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import states
from flows.certificates.issuing import ensure_issued, note_shown
from flows.hosts import converge
from flows.onboarding.desired import CERTIFICATE
from flows.outcomes import Waiting
from flows.policy import mail_host
from flows.redact import redactor
from flows.resources import Resources, resources
from providers.errors import Rejected, Unavailable, Unconfirmed
from providers.keys import certificate_facts
from sql import alerts, certificates, smtp_ip_addresses, tenants
from sql.session import Contended, as_orchestrator
from sql.vps_instances import Instance

log = logging.getLogger(__name__)

CHUNK = 100
AT_ONCE = 8
LEASE = timedelta(minutes=30)  # of a claim: an issue takes a minute, a chunk a few
PAUSE = timedelta(minutes=15)  # after what may pass by itself
FOR_A_PERSON = timedelta(hours=6)  # after what somebody has to mend
ACTOR = "flow:renew_certificates"
LOUD: tuple[tuple[timedelta, Literal["critical", "high"]], ...] = (
    (timedelta(days=1), "critical"),
    (timedelta(days=7), "high"),
)


@task(name="renew_due_certificates", cache_policy=NO_CACHE, persist_result=False)
async def renew_due_certificates() -> list[str]:
    """One line for each server that was looked at."""
    limit = asyncio.Semaphore(AT_ONCE)
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            due = await certificates.claim_due(conn, limit=CHUNK, lease=LEASE)

        async def looked_after(instance: Instance) -> str:
            async with limit:
                return await look_after(r, instance)

        return list(await asyncio.gather(*map(looked_after, due)))


async def look_after(r: Resources, instance: Instance) -> str:
    """Renew one server's certificate, or write down when to try again and why."""
    try:
        outcome = await renewed(r, instance)
    except Exception as error:  # noqa: BLE001  one host's trouble must not keep the others' certificates from renewal
        log.warning("host=%s certificate error=%s", instance.token, type(error).__name__)
        outcome = waiting_after(error)
    if isinstance(outcome, Waiting):
        await put_off(r, instance, outcome)
        return f"{instance.token} waiting_for_{outcome.reason}: {outcome.detail}"
    await all_clear(r, instance)
    return f"{instance.token} {outcome}"


def waiting_after(error: Exception) -> Waiting:
    """What an error means for the next look: soon again where it may pass, else when somebody has mended it."""
    sentence = redactor.clean(f"{type(error).__name__}: {error}")
    if isinstance(error, (Unavailable, Unconfirmed, Contended)):
        return Waiting("provider", sentence, PAUSE)
    return Waiting("operator", sentence, FOR_A_PERSON)


async def renewed(r: Resources, instance: Instance) -> str | Waiting:
    """The certificate renewed where it is due, shown by the host, and the next look written down."""
    async with as_orchestrator(r.pool) as conn:
        addresses = await smtp_ip_addresses.list_addresses(conn, instance.id)
    hosts = {address.rdns_hostname: address.ip_address for address in addresses if address.rdns_hostname}
    if not hosts:
        return Waiting("operator", "no address of this server has a name: the onboarding gives it one", FOR_A_PERSON)
    before = str(instance.configuration[CERTIFICATE])
    issued = await ensure_issued(r, instance, hosts, actor=ACTOR)
    if isinstance(issued, Waiting):
        return issued
    hostname = instance.hostname or next(iter(hosts))
    changed = await converge(r, instance, mail_host.certificate_alone(hostname, issued))
    await note_shown(r, instance, issued)
    ends_at = end_of(issued)
    word = "renewed" if issued != before else "shown" if changed else "good"
    return f"{word}, ends {ends_at:%Y-%m-%d %H:%M} UTC"


async def put_off(r: Resources, instance: Instance, waiting: Waiting) -> None:
    """Look again later, and tell staff; the alert counts up while it lasts."""
    ends_at = end_of(str(instance.configuration[CERTIFICATE]))
    async with as_orchestrator(r.pool) as conn:
        await certificates.put_off(conn, instance.id, waiting.look_again_in or FOR_A_PERSON)
        tenant = await tenants.get_tenant_by_id(conn, instance.tenant_id)
    async with as_orchestrator(r.analytics) as conn:
        await alerts.raise_alert(
            conn, dedupe_key=dedupe_key(instance), category="certificate",
            title=f"the certificate of {instance.hostname or instance.token} is not renewed",
            message=f"it ends {ends_at:%Y-%m-%d %H:%M} UTC; {waiting.detail}", severity=severity(ends_at),
            tenant_id=tenant.tenant_id if tenant else None, details={"waiting_for": waiting.reason},
        )  # fmt: skip


def end_of(pem: str) -> datetime:
    """When it ends; one that cannot be read is over."""
    try:
        return certificate_facts(pem.encode()).not_after
    except Rejected:
        return datetime.now(UTC)


async def all_clear(r: Resources, instance: Instance) -> None:
    """Whatever was told about this certificate is over."""
    async with as_orchestrator(r.analytics) as conn:
        await alerts.resolve(conn, dedupe_key(instance), ACTOR)


def severity(ends_at: datetime) -> alerts.Severity:
    """Low from a month before the end, high in its last week, critical on its last day."""
    left = ends_at - datetime.now(UTC)
    for most, word in LOUD:
        if left <= most:
            return word
    return "low"


def dedupe_key(instance: Instance) -> str:
    """One open alert for each server."""
    return f"certificate:{instance.token}"


@flow(name="renew_certificates", retries=0)
async def renew_certificates() -> State[None]:
    """Every hour: as long as a chunk comes back full there may be more."""
    lines: list[str] = []
    while True:
        chunk = await renew_due_certificates()
        lines += chunk
        for line in chunk:
            log.info("%s", line)
        if len(chunk) < CHUNK:
            return states.succeeded(f"{len(lines)} certificates: " + "; ".join(lines)[:2000])
