"""Notices and mails: what happened becomes rows, and rows become mail, each once.

Events come from the trail in core, so a crash between the deed and its notice loses nothing: the next sweep finds the
event, and a row that bears the event's number is never written twice. A mail is claimed before it is sent and keeps its
Message-ID over all tries. An answer that was lost after the end of the message is not asked for again: it may have
arrived; staff see it and may send it again.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr, formatdate
from uuid import UUID, uuid4

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import states
from flows.policy.notices import LOUD, TOLD, Rendered, for_a_tenant, render
from flows.redact import redactor
from flows.resources import Resources, resources
from providers.errors import ProviderError, Unavailable
from providers.mail import Submission
from sql import alerts, events_told, notices, provisioning, users
from sql.alerts import Alert
from sql.events_told import ToldEvent
from sql.notices import Message
from sql.session import as_orchestrator
from sql.users import Recipient

log = logging.getLogger(__name__)

AT_ONCE = 5  # mails in hand; together they end well within their lease
ROUNDS = 40  # of a sweep; the rest is the next one's
SMTP_LIMIT_SECONDS = 120
PLATFORM_NAME = "PenguinMails"
RECORDS = "dns:"  # keys of alerts on what a record of a tenant says
LATE = timedelta(minutes=10)  # longer than any transaction of ours: an event may show this long after it was written


async def spread(r: Resources) -> int:
    """Events of the trail into notices and mails; how many rows were new."""
    async with as_orchestrator(r.analytics) as conn:
        since = await notices.told_until(conn)
    async with as_orchestrator(r.pool) as conn:
        found, mark = await events_told.events_since(conn, since - LATE, tuple(TOLD))
    new = 0
    for event in found:
        new += await tell(r, event.tenant, TOLD[event.event], fields_of(event), f"event:{event.id}")
    async with as_orchestrator(r.analytics) as conn:
        await notices.remember_told(conn, mark)
    return new


def fields_of(event: ToldEvent) -> dict[str, str]:
    """What a template may say of an event; a moment is told as its day."""
    details = {name: for_a_tenant(str(value)) for name, value in event.details.items()}
    days = {name: value[:10] for name, value in details.items() if name.endswith(("_at", "_for", "_since"))}
    return {**details, **days, "tenant": event.tenant_name}


async def tell(r: Resources, tenant: UUID, kind: str, fields: Mapping[str, str], cause: str) -> int:
    """A notice and a mail for everybody who decides for a tenant, once a cause; how many rows were new."""
    async with as_orchestrator(r.pool) as conn:
        people = await users.deciders(conn, tenant)
    try:
        words = render(kind, fields)
    except ValueError as error:  # a mistake of ours; it must not keep the other notices
        log.warning("no notice for %s: %s", cause, error)
        return 0
    async with as_orchestrator(r.analytics) as conn:
        return sum([await _rows(conn, tenant, person, kind, fields, words, cause) for person in people])


async def _rows(
    conn: notices.Connection, tenant: UUID, person: Recipient, kind: str, fields: Mapping[str, str], words: Rendered,
    cause: str,
) -> int:  # fmt: skip
    text = words.text.partition("\n")[0]
    shown = await notices.notify(
        conn, tenant_id=tenant, user_id=person.user_id, type=kind, title=words.subject, message=text, dedupe_key=cause
    )
    queued = await notices.put_message(
        conn, tenant_id=tenant, user_id=person.user_id, type=kind, payload=fields,
        dedupe_key=f"{cause}:{person.user_id}",
    )  # fmt: skip
    return shown + (queued is not None)


async def watch_runs(r: Resources) -> None:
    """An open alert for each run that calls for an operator; over when it no longer does, or another came after it.

    A run that only looks again whether the operator acted still calls.
    """
    async with as_orchestrator(r.pool) as conn:
        runs = await provisioning.open_runs(conn)
    calling = {f"run:{run.id}": run for run in runs if run.status == "failed" or run.wait_reason == "operator"}
    async with as_orchestrator(r.analytics) as conn:
        known = {one.dedupe_key for one in await alerts.open_alerts(conn) if one.category == "provisioning"}
        for key, run in calling.items():
            if key not in known:
                await alerts.raise_alert(
                    conn, dedupe_key=key, category="provisioning", severity="high", tenant_id=run.tenant_uuid,
                    title=f"A provisioning run of kind {run.kind} "
                    + ("failed" if run.status == "failed" else "waits for an operator"),
                    message=f"{run.wait_detail or run.last_error_message}; python -m flows status",
                )  # fmt: skip
        looking = {
            f"run:{run.id}" for run in runs
            if run.status in {"pending", "running"} and run.last_wait_reason == "operator"
        }  # fmt: skip
        for key in known - calling.keys() - looking:
            await alerts.resolve(conn, str(key), "platform")


async def spread_alerts(r: Resources) -> int:
    """Open alerts that are high or critical, to the tenant's people and the platform's; how many rows were new."""
    async with as_orchestrator(r.analytics) as conn:
        loud = [one for one in await alerts.open_alerts(conn) if one.severity in LOUD]
    platform = r.settings.staff.platform_tenant
    new = 0
    for alert in loud:
        for tenant in {alert.tenant_id, platform} - {None}:
            if tenant is not None:
                kind = "dns_wrong" if is_curable(alert) and tenant == alert.tenant_id else "alert"
                new += await tell(r, tenant, kind, alert_fields(alert), f"alert:{alert.id}")
    return new


def alert_fields(alert: Alert) -> dict[str, str]:
    """What is told of an alert: its title. The message is for staff, and may name what is theirs alone.

    That of a tenant's own record is the line that cures it, which only the tenant can enter.
    """
    cure = {"cure": alert.message} if is_curable(alert) else {}
    return {"severity": alert.severity, "title": alert.title, "since": alert.created_at.isoformat()[:10], **cure}


def is_curable(alert: Alert) -> bool:
    """Whether the message is a line for the tenant to enter at its DNS host."""
    return str(alert.dedupe_key).startswith(RECORDS)


async def deliver(r: Resources) -> str:
    """Send what is due; one sentence. Without a submission server mails stay queued."""
    if not r.settings.notices.smtp_host:
        return "no submission server is set: mails stay queued"
    if not r.settings.notices.sender:
        raise ValueError("notices.smtp_host is set and notices.sender is not: mails have no author")
    sender = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
    words: list[str] = []
    for _ in range(ROUNDS):
        async with as_orchestrator(r.analytics) as conn:
            taken = await notices.claim_messages(conn, sender, AT_ONCE)
        if not taken:
            break
        words += await asyncio.gather(*(sent(r, sender, message) for message in taken))
    return f"{words.count('sent')} mails sent, {len(words) - words.count('sent')} not"


async def sent(r: Resources, sender: str, message: Message) -> str:
    """One mail to its end or its next try; the word for it."""
    try:
        address = await reader_of(r, message)
        content = written(r.settings.notices.sender, address, message)
        await submission(r).send(content, sender=r.settings.notices.sender, recipients=[address])
    except (ProviderError, ValueError) as error:
        async with as_orchestrator(r.analytics) as conn:
            status = await notices.message_failed(
                conn, sender, message, redactor.clean(str(error)), retryable=isinstance(error, Unavailable)
            )
        log.warning("mail=%s type=%s attempt=%d %s: %s", message.id, message.type, message.attempt, status, error)
        return status or "not ours"
    async with as_orchestrator(r.analytics) as conn:
        return "sent" if await notices.message_sent(conn, sender, message) else "not ours"


async def reader_of(r: Resources, message: Message) -> str:
    """Where it goes; ValueError when nobody reads it any more."""
    async with as_orchestrator(r.pool) as conn:
        address = await users.address_of(conn, message.user_id)
    if address is None:
        raise ValueError("its reader is no user, or no longer an active one")
    return address


def written(author: str, reader: str, message: Message) -> bytes:
    """The mail: the same Message-ID on every try, plain text and HTML."""
    words = render(message.type, message.payload)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = formataddr((PLATFORM_NAME, author))
    mail["To"] = reader
    mail["Subject"] = words.subject
    mail["Date"] = formatdate(usegmt=True)
    mail["Message-ID"] = message.message_id(author.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notice comes back
    mail.set_content(words.text)
    mail.add_alternative(words.html, subtype="html")
    return mail.as_bytes()


def submission(r: Resources) -> Submission:
    """The platform's own way out."""
    group = r.settings.notices
    return Submission(
        group.smtp_host, group.smtp_port, user=group.smtp_user, password=group.smtp_password,
        ca_file=r.settings.mail.ca_file, limit_seconds=SMTP_LIMIT_SECONDS,
    )  # fmt: skip


async def swept(r: Resources) -> Sequence[str]:
    """Everything of one sweep; a sentence each."""
    told = await spread(r)
    await watch_runs(r)
    told += await spread_alerts(r)
    return [f"{told} rows written", await deliver(r)]


@task(name="spread_and_deliver", cache_policy=NO_CACHE, persist_result=False)
async def spread_and_deliver() -> Sequence[str]:
    """One sentence for what was written, one for what was sent."""
    async with resources() as r:
        return await swept(r)


@flow(name="deliver_notifications", retries=0)
async def deliver_notifications() -> State[None]:
    """Every minute."""
    return states.succeeded("; ".join(await spread_and_deliver()))
