"""Say that everything is true: statuses, and the events the tenant is shown."""

from flows.onboarding.plans import estate_of
from flows.outcomes import Done, Outcome, Waiting
from flows.policy.lifecycle import DomainStatus, InstanceStatus, MailboxStatus, allowed_from
from flows.policy.verdict import Truth
from flows.resources import Resources
from flows.runs import actor, instance_of
from flows.steps import step
from sql import delivery_proofs, email_accounts, infrastructure_events, vps_instances
from sql.provisioning import Run
from sql.session import as_orchestrator


@step(name="activate")
async def ensure_active(r: Resources, run: Run) -> Outcome:
    """Gate, then move: nothing is active whose domain is not verified or whose delivery is not proven."""
    instance = await instance_of(r, run)
    estate = await estate_of(r, run)
    async with as_orchestrator(r.pool) as conn:
        proofs = await delivery_proofs.proofs_of(conn, run.tenant_id)
        proven = {proof.domain_id for proof in proofs if proof.verdict == Truth.PASS}
        lacking = [
            domain.domain_name
            for domain in estate.domains
            if domain.id not in proven or domain.verification_status != DomainStatus.VERIFIED
        ]
        if lacking:
            return Waiting(
                "operator", f"not verified or not proven: {', '.join(lacking)}; python -m flows retry {run.id}"
            )
        for box in await email_accounts.list_mailboxes(conn, run.tenant_id):
            await email_accounts.move(
                conn, box.id, to=MailboxStatus.ACTIVE, allowed_from=(MailboxStatus.PENDING, MailboxStatus.ISSUE)
            )
        moved = await vps_instances.move(
            conn, instance.id, to=InstanceStatus.ACTIVE, allowed_from=allowed_from(InstanceStatus.ACTIVE)
        )
        if moved:
            await infrastructure_events.record_event(
                conn, tenant_id=run.tenant_id, subject_type="vps", subject_id=instance.token, event="tenant_active",
                from_status=moved, to_status=InstanceStatus.ACTIVE, actor=actor(run), flow_run_id=run.flow_run_id,
                details={"domains": [domain.domain_name for domain in estate.domains]},
            )  # fmt: skip
    return Done({"active": True})
