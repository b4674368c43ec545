"""Say that everything is true: statuses, and the events the tenant is shown."""

from flows.freshness import is_fresh
from flows.hosts import instance_of
from flows.onboarding.plans import Estate, estate_of
from flows.outcomes import Done, Outcome, Waiting
from flows.policy.lifecycle import DomainStatus, InstanceStatus, MailboxStatus, allowed_from
from flows.resources import Resources
from flows.runs import actor
from flows.steps import step
from sql import delivery_proofs, email_accounts, infrastructure_events, vps_instances
from sql.domains import Domain
from sql.provisioning import Run
from sql.session import as_orchestrator


@step(name="activate")
async def ensure_active(r: Resources, run: Run) -> Outcome:
    """Gate, then move: nothing is active whose domain is not verified or whose delivery is not proven."""
    instance = await instance_of(r, run)
    if instance.status not in {InstanceStatus.ACTIVE, *allowed_from(InstanceStatus.ACTIVE)}:
        return Waiting(
            "operator",
            f"the tables call server {instance.token} {instance.status}: it cannot go live;"
            f" python -m flows retry {run.id} --from order_server",
        )
    estate = await estate_of(r, run)
    async with as_orchestrator(r.pool) as conn:
        proofs = await delivery_proofs.proofs_of(conn, run.tenant_id)
        fresh = {(proof.domain_id, proof.smtp_ip_address_id, proof.receiver) for proof in proofs if is_fresh(r, proof)}
        lacking = [
            domain.domain_name
            for domain in estate.domains
            if domain.verification_status != DomainStatus.VERIFIED or not paths(r, estate, domain) <= fresh
        ]
        if lacking:
            return Waiting(
                "operator",
                f"not verified, or not proven of late: {', '.join(lacking)};"
                f" python -m flows retry {run.id} --from verify_dns",
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


def paths(r: Resources, estate: Estate, domain: Domain) -> set[tuple[int, int, str]]:
    """Domain, address and receiver of every canary that must have passed; a LookupError when nobody receives one."""
    receivers = r.settings.mail.proof_receivers
    if not receivers:
        raise LookupError("mail.proof_receivers is empty: nothing can be proven")
    return {(domain.id, estate.sends_from[domain.id].id, receiver.address) for receiver in receivers}
