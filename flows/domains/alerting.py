"""Alerts about what domains publish: one for each record and cause, closed once it no longer holds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from flows.domains.looking import Seen
from flows.policy.dns_status import Notice, RecordStatus
from flows.policy.records import entries
from flows.policy.records import repair as rules
from flows.resources import Resources
from sql import alerts, tenants
from sql.session import as_orchestrator

ACTOR = "verify_due_domains"
CATEGORY = "dns"
FOR_STAFF = (Notice.NOBODY_ANSWERS, Notice.ANSWERED_AGAIN)
LOUDNESS: Mapping[Notice, Literal["low", "medium", "high"]] = {
    Notice.FIRST_FAIL: "medium", Notice.FAILED: "high", Notice.NOBODY_ANSWERS: "medium",
}  # fmt: skip


def record_key(domain: str, record: str, *, silent: bool = False) -> str:
    """One open alert for what a record says, and one for nobody saying anything."""
    return f"dns:{domain}:{record}{':silent' if silent else ''}"


def repair_key(domain: str) -> str:
    """One open alert for all that is not put back at a domain."""
    return f"dns-repair:{domain}"


async def tell(r: Resources, one: Seen) -> None:
    """Open an alert for each step down, the louder the surer, however often it is seen."""
    async with as_orchestrator(r.pool) as conn:
        tenant = await tenants.get_tenant_by_id(conn, one.domain.tenant_id)
    name = one.domain.domain_name
    async with as_orchestrator(r.analytics) as conn:
        for verdict, notice in one.outcome.notices:
            if notice not in LOUDNESS:
                continue
            silent = notice in FOR_STAFF
            await alerts.raise_alert(
                conn, dedupe_key=record_key(name, verdict.subject, silent=silent), category=CATEGORY,
                severity=LOUDNESS[notice], title=f"{name}: {verdict.subject} {verdict.reason}",
                message=verdict.fix or verdict.reason, tenant_id=tenant.tenant_id if tenant and not silent else None,
            )  # fmt: skip


async def close_what_is_over(r: Resources, seen: Sequence[Seen]) -> None:
    """Close what no longer holds: a run may have seen the record come right first, or want it no more."""
    async with as_orchestrator(r.analytics) as conn:
        told: dict[str, set[str]] = defaultdict(set)
        for alert in await alerts.open_alerts(conn, category=CATEGORY):
            told[str(alert.dedupe_key).split(":")[1]].add(str(alert.dedupe_key))
        for one in seen:
            for key in sorted(told[one.domain.domain_name] - holding(one)):
                await alerts.resolve(conn, key, ACTOR)


def holding(one: Seen) -> set[str]:
    """Keys of the alerts that a domain deserves as it was seen."""
    name, picture = one.domain.domain_name, entries(one.outcome.picture)
    wrong = {
        record_key(name, entry.expected.key)
        for entry in picture
        if entry.state.fails or entry.state.status is RecordStatus.FAILED
    }
    silent = {record_key(name, entry.expected.key, silent=True) for entry in picture if entry.state.unknowns}
    unmended = {repair_key(name)} if one.domain.dns_host is not None and rules.wrong(picture) else set[str]()
    return wrong | silent | unmended
