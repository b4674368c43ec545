"""Give a tenant everything that was bought: server, addresses, DNS, mailboxes, and mail that is proven.

The tables say what is wanted; each step looks whether it is already true, writes down what it is about to do, does
it, and reads it back. A wait ends the process; whoever ends the wait starts the same run again, and it goes on where
it stood.
"""

from datetime import UTC, datetime
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows import artifacts, nudges, states
from flows.onboarding.activation import ensure_active
from flows.onboarding.addresses import ensure_addresses, ensure_egress, ensure_reverse_dns
from flows.onboarding.admission import ensure_admitted
from flows.onboarding.certificates import ensure_certificate
from flows.onboarding.hosts import ensure_host_secured, ensure_mail_server
from flows.onboarding.mailboxes import ensure_mailboxes
from flows.onboarding.proof import ensure_delivery_proven
from flows.onboarding.readiness import ensure_server_ready
from flows.onboarding.records import ensure_dns_published, ensure_dns_verified
from flows.onboarding.servers import ensure_server
from flows.onboarding.warmup import ensure_warmup_planned
from flows.outcomes import Done
from flows.resources import Resources, resources
from flows.runs import cancel, is_cancelled, open_run, park, settle_failure, succeed
from sql import provisioning, tenants
from sql.provisioning import Run
from sql.session import as_orchestrator

JOURNEY = (
    ensure_admitted,
    ensure_server,
    ensure_server_ready,
    ensure_host_secured,
    ensure_egress,
    ensure_addresses,
    ensure_mail_server,
    ensure_dns_published,
    ensure_reverse_dns,
    ensure_certificate,
    ensure_dns_verified,
    ensure_mailboxes,
    ensure_delivery_proven,
    ensure_warmup_planned,
    ensure_active,
)


@flow(name="onboard_tenant", flow_run_name="onboard_tenant-{tenant_id}", retries=0)
async def onboard_tenant(tenant_id: UUID, run_id: UUID | None = None, request_id: str | None = None) -> State[None]:
    """Onboard `tenants.tenant_id`; without `run_id` join its live run or begin one, once per `request_id`."""
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            tenant = await tenants.get_tenant(conn, tenant_id)
        if tenant is None:
            return states.rejected(f"no tenant {tenant_id}: nothing was done; check the id in tenants.tenant_id")
        key = request_id or f"flow:{flow_run.id or datetime.now(UTC).isoformat()}"
        async with open_run(r, tenant=tenant, kind="onboard", run_id=run_id, idempotency_key=key) as run:
            if not isinstance(run, Run):
                return run
            state = await travel(r, run, tenant_id)
            await artifacts.show_run(r, run.id)
            await tell(r, run.id)
            return state


async def travel(r: Resources, run: Run, tenant_id: UUID) -> State[None]:
    """Every step in turn, until all are true or one is not."""
    progress = artifacts.Progress(f"{artifacts.key_of(tenant_id)}-progress", len(JOURNEY))
    for done, ensure in enumerate(JOURNEY, start=1):
        if await is_cancelled(r, run):
            return await cancel(r, run, ensure.name)
        try:
            outcome = await ensure(run.id)
        except Exception as error:  # noqa: BLE001  every way to end is a row first
            return await settle_failure(r, run, ensure.name, error)
        if not isinstance(outcome, Done):
            return await park(r, run, ensure.name, outcome)
        await progress.reached(done, ensure.name)
    return await succeed(r, run, f"tenant {tenant_id} is active")


async def tell(r: Resources, run_id: UUID) -> None:
    """Nudge whoever follows runs."""
    async with as_orchestrator(r.pool) as conn:
        run = await provisioning.get_run(conn, run_id)
    if run is not None:
        nudges.run_rests(run)
