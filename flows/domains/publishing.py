"""Publish at a tenant's DNS host: look, plan, write down what stands there, change only what is ours, and undo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows import vault
from flows.domains import observing
from flows.policy.records import (
    Change,
    Conflict,
    ExpectedRecord,
    Holder,
    Keep,
    Merge,
    Need,
    entries,
    publication,
)
from flows.policy.records.safety import refusal
from flows.policy.spf import SpfOutcome, SpfResult
from flows.resources import Resources
from providers.dns_host import DnsHost, RecordChange, Rfc2136
from providers.dns_host_lexicon import Lexicon
from providers.errors import Rejected
from sql import dns_hosts, infrastructure_events
from sql.domains import Domain
from sql.infrastructure_events import Event
from sql.session import as_orchestrator

PUBLISHING = "dns_publishing"
UNDONE = "dns_undone"
MOST_LOOKUPS = 10  # RFC 7208 section 4.6.4: as if spent, where the DNS would not tell

Decision = Change | Keep | Conflict


class Rfc2136Settings(BaseModel):
    """`domains.dns_host_settings` where `dns_host` is rfc2136."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    server: str
    key_name: str
    zone: str | None = None
    algorithm: str = "hmac-sha256"
    port: int = Field(default=53, ge=1, le=65535)
    secret_path: str


class LexiconSettings(BaseModel):
    """The same where `dns_host` is dns-lexicon's name of one; `options` are its options that are no secrets."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    zone: str | None = None
    options: dict[str, str] = {}
    secret_path: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What publishing a domain would do; nothing is done yet."""

    domain: Domain
    host: DnsHost
    decisions: tuple[tuple[ExpectedRecord, Decision], ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """Record sets that would be written."""
        return tuple(decision for _, decision in self.decisions if isinstance(decision, Change))

    @property
    def lines(self) -> list[str]:
        """One line for each change and each conflict."""
        return [f"{change.name} {change.rtype}: {change.reason}" for change in self.changes] + [
            f"{record.name} {record.rtype}: conflict, {decision.fix}"
            for record, decision in self.decisions
            if isinstance(decision, Conflict)
        ]


async def dns_host_of(r: Resources, domain: Domain) -> DnsHost:
    """The host that publishes this domain; Rejected when the tenant's settings do not name one we can talk to."""
    if domain.dns_host is None:
        raise Rejected("dns_host", "settings", f"{domain.domain_name} is published by its tenant")
    kind = Rfc2136Settings if domain.dns_host == "rfc2136" else LexiconSettings
    try:
        found = kind.model_validate(domain.dns_host_settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise Rejected(
            "dns_host", "settings", f"{domain.domain_name}: dns_host_settings.{first['loc'][0]}: {first['msg']}"
        ) from error
    secret = await vault.fetch(r, tenant_id=domain.tenant_id, path=found.secret_path)
    if secret is None:
        raise Rejected("dns_host", "settings", f"{domain.domain_name}: no secret at {found.secret_path}")
    zone = found.zone or domain.domain_name
    try:
        if isinstance(found, LexiconSettings):
            return Lexicon(domain.dns_host, zone, secret, found.options)
        return Rfc2136(found.server, zone, found.key_name, secret, algorithm=found.algorithm, port=found.port)
    except ValueError as error:  # names, algorithms and secrets that are none
        raise Rejected("dns_host", "settings", f"{domain.domain_name}: dns_host_settings: {error}") from error


async def planned(r: Resources, domain: Domain, expected: Sequence[ExpectedRecord]) -> Plan:
    """Look at each name and decide; what is optional is left alone without consent."""
    host = await dns_host_of(r, domain)
    wanted = [
        record
        for record in expected
        if record.holder is Holder.TENANT and (record.need is not Need.OPTIONAL or record.consent)
    ]
    return Plan(domain, host, tuple([(record, await decision_on(r, host, domain, record)) for record in wanted]))


async def decision_on(r: Resources, host: DnsHost, domain: Domain, record: ExpectedRecord) -> Decision:
    """Hold what stands at the name against what should, knowing what we put there ourselves."""
    existing = await host.read(record.name, record.rtype)
    alias = await host.read(record.name, "CNAME") if record.rtype != "CNAME" else None
    results: tuple[SpfResult, ...] = ()
    if record.merge is Merge.MERGE_SPF and existing is not None:
        results = await observing.spf_results(r.resolver, record, record.name.rstrip("."))
    return publication(
        record, existing, ours_before=ours_before(domain, record), alias=alias.values[0] if alias else None,
        spf_lookups=spf_lookups(results),
        spf_passes=bool(results) and all(result.outcome is SpfOutcome.PASS for result in results),
    )  # fmt: skip


def spf_lookups(results: Sequence[SpfResult]) -> int | None:
    """What the standing record costs with all it includes; as if all were spent where the DNS would not tell."""
    if any(result.outcome is SpfOutcome.TEMPERROR for result in results):
        return MOST_LOOKUPS
    return max((result.lookups for result in results), default=None)


def ours_before(domain: Domain, record: ExpectedRecord) -> list[str]:
    """Values that an earlier picture of the domain asked for at this name: ours to replace."""
    return [
        value
        for entry in entries(domain.dns_records)
        if (entry.expected.name, entry.expected.rtype) == (record.name, record.rtype)
        for value in (*entry.expected.values, *entry.former)
    ]


async def carry_out(r: Resources, plan: Plan, *, actor: str, flow_run_id: UUID | None = None) -> None:
    """Write down what stands there and what will, then publish; Changed when a set is no longer what was read.

    Rejected for a plan that would replace much of what the tenant has there, or weaken it, however it came about.
    """
    if not plan.changes:
        return
    ours = {(record.name, record.rtype): ours_before(plan.domain, record) for record, _ in plan.decisions}
    if why := refusal(plan.changes, len(plan.decisions), ours):
        raise Rejected("dns_host", "publish", why)
    sets = [
        {"name": c.name, "type": c.rtype, "ttl": c.ttl, "before": list(c.before), "after": list(c.values)}
        for c in plan.changes
    ]
    await note(r, plan.domain, PUBLISHING, actor, flow_run_id, {"sets": sets})
    await publish(plan.host, plan.changes)
    await note(r, plan.domain, "dns_published", actor, flow_run_id, {"names": [c.name for c in plan.changes]})


async def publish(host: DnsHost, changes: Sequence[Change]) -> None:
    """Send all changes of a zone together; refused when a set is no longer what was read."""
    await host.publish(
        [RecordChange(name=c.name, rtype=c.rtype, values=c.values, ttl=c.ttl, expected=c.before) for c in changes]
    )


async def last_publication(r: Resources, domain: Domain) -> Event | None:
    """The newest publication that was not undone yet."""
    return next(iter(await publications(r, domain)), None)


async def publications(r: Resources, domain: Domain) -> list[Event]:
    """Our publications that were not undone, the newest first."""
    async with as_orchestrator(r.pool) as conn:
        events = await infrastructure_events.list_events(
            conn, domain.tenant_id, subject_type="domain", subject_id=domain.domain_name, events=(PUBLISHING, UNDONE),
            limit=1000,
        )  # fmt: skip
    undone = {event.details.get("of") for event in events if event.event == UNDONE}
    return [event for event in events if event.event == PUBLISHING and event.id not in undone]


async def undo(r: Resources, domain: Domain, publication_event: Event, *, actor: str) -> list[str]:
    """Put back what stood before one publication, where it is still ours; one line for each record set.

    The domain is published by its tenant from then on: else the next run would publish again.
    """
    host = await dns_host_of(r, domain)
    backs: list[RecordChange] = []
    lines: list[str] = []
    for one in publication_event.details["sets"]:
        back, line = await way_back(host, one)
        lines.append(line)
        backs += [back] if back else []
    await host.publish(backs)
    async with as_orchestrator(r.pool) as conn:
        await dns_hosts.leave_to_tenant(conn, domain.id)
    await note(r, domain, UNDONE, actor, None, {"of": publication_event.id, "names": [back.name for back in backs]})
    return lines


async def way_back(host: DnsHost, one: Mapping[str, Any]) -> tuple[RecordChange | None, str]:
    """One record set as it was; None when it is so already, or somebody has changed it since."""
    name, rtype, before, after = one["name"], one["type"], tuple(one["before"]), tuple(one["after"])
    found = await host.read(name, rtype)
    now = found.values if found else ()
    if sorted(now) == sorted(before):
        return None, f"{name} {rtype}: is as it was"
    if sorted(now) != sorted(after):
        return None, f"{name} {rtype}: changed by somebody since, left alone"
    back = RecordChange(name=name, rtype=rtype, values=before, ttl=one["ttl"], expected=now)
    return back, f"{name} {rtype}: {', '.join(before) or 'removed'}"


async def note(
    r: Resources, domain: Domain, event: str, actor: str, flow_run_id: UUID | None, details: Mapping[str, Any]
) -> None:
    """One line of the domain's trail."""
    async with as_orchestrator(r.pool) as conn:
        await infrastructure_events.record_event(
            conn, tenant_id=domain.tenant_id, subject_type="domain", subject_id=domain.domain_name, event=event,
            actor=actor, flow_run_id=flow_run_id, details=details,
        )  # fmt: skip
