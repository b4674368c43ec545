"""Admit an order: what the tenant wants, held against what was bought, frozen before anything is done."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.outcomes import Done, Outcome, Refused, Waiting
from flows.policy import names
from flows.policy.limits import PlanLimits, Wanted, admit
from flows.policy.mail_host import LOCAL_PART
from flows.ready_to_order import missing_settings
from flows.resources import Resources
from flows.steps import step
from sql import domains, email_accounts, tenants
from sql.domains import Domain
from sql.email_accounts import Mailbox
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.tenants import Tenant

PAYING = frozenset({"active", "trialing"})
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
LABEL_LENGTH = 10
POSTMASTER = "postmaster"


class Infrastructure(BaseModel):
    """`tenants.settings.infrastructure`, written by the back end; nothing else decides what is bought."""

    model_config = ConfigDict(frozen=True, extra="allow")

    ips: int = Field(default=1, ge=1, le=64)
    region: str | None = Field(default=None, pattern=r"^\S{1,40}$")  # the provider's id of a place
    canary: bool = True


@step(name="admit")
async def ensure_admitted(r: Resources, run: Run) -> Outcome:
    """Refuse with every reason at once, or freeze the order into the step's output."""
    if missing := missing_settings(r.settings):
        return Waiting("operator", f"settings are missing, nothing was ordered: {', '.join(missing)}")
    async with as_orchestrator(r.pool) as conn:
        tenant = await tenants.get_tenant_by_id(conn, run.tenant_id)
        if tenant is None:
            return Refused("the tenant is gone")
        wanted_domains = await domains.list_domains(conn, run.tenant_id)
        wanted_mailboxes = await email_accounts.list_mailboxes(conn, run.tenant_id)
        try:
            by_domain = {names.host_name(domain.domain_name): domain for domain in wanted_domains}
            by_address = {names.mailbox_address(box.email_address): box for box in wanted_mailboxes}
            wish = Infrastructure.model_validate(tenant.settings.get("infrastructure") or {})
        except ValidationError as error:
            return Refused(f"tenants.settings.infrastructure: {error.errors()[0]['msg']}")
        except ValueError as error:
            return Refused(str(error))
        taken = await domains.owned_elsewhere(conn, tenant_id=run.tenant_id, names=list(by_domain))
        if refusals := objections(tenant, by_domain, by_address, wish, taken):
            return Refused("; ".join(refusals))
        for name, domain in by_domain.items():
            await domains.settle_identity(conn, domain.id, name=name, token=secrets.token_hex(16), label=new_label())
        for (local, host), box in by_address.items():
            await email_accounts.link_domain(conn, box.id, domain_id=by_domain[host].id, address=f"{local}@{host}")
    return Done({"domains": list(by_domain), "mailboxes": len(by_address), "ips": wish.ips, "region": wish.region})


def objections(
    tenant: Tenant,
    by_domain: Mapping[str, Domain],
    by_address: Mapping[tuple[str, str], Mailbox],
    wish: Infrastructure,
    taken: Sequence[str],
) -> list[str]:
    """Every reason against the order, one sentence each."""
    found: list[str] = []
    if tenant.status != "active":
        found.append(f"the tenant is {tenant.status}, not active")
    if not pays(tenant):
        found.append(f"no active subscription (it is {tenant.subscription_status or 'missing'})")
    if not wish.canary:
        found.append("tenants.settings.infrastructure.canary is false: nothing goes live without its proof of delivery")
    if not by_domain:
        found.append("the tenant has no domain; add a row to domains")
    found += [f"{name} is verified by another tenant" for name in taken]
    found += [f"{local}@{host} is outside the tenant's domains" for local, host in by_address if host not in by_domain]
    found += [
        f"{local}@{host}: a mailbox name holds letters, digits and . _ ' = & - and begins with a letter or digit"
        for local, host in by_address
        if not LOCAL_PART.fullmatch(local)
    ]
    found += [
        f"{POSTMASTER}@{host} is ours on every domain: it is not to be ordered"
        for local, host in by_address
        if local == POSTMASTER
    ]
    wanted = Wanted(servers=1, ips=wish.ips, domains=len(by_domain), mailboxes=len(by_address))
    limits = PlanLimits.from_json(plan_limits(tenant))
    return found + [refusal.sentence for refusal in (admit(limits, wanted) if tenant.plan_name else ())]


def plan_limits(tenant: Tenant) -> Mapping[str, Any]:
    """The plan's limits as the back end wrote them."""
    return tenant.limits or {}


def pays(tenant: Tenant) -> bool:
    """Active or trialing, and not past its end."""
    if tenant.subscription_status not in PAYING:
        return False
    return tenant.subscription_expires_at is None or tenant.subscription_expires_at > datetime.now(UTC)


def new_label() -> str:
    """An opaque name for a domain below our own zone: it tells nobody which tenant it is."""
    return "".join(secrets.choice(BASE32) for _ in range(LABEL_LENGTH))
