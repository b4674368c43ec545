"""Mailboxes on the host: passwords made and sealed here, only salted hashes travel."""

import secrets

from pydantic import SecretStr

from flows import vault
from flows.hosts import converge, instance_of
from flows.onboarding.desired import desired_host, hash_path, password_path, postmaster, return_path_keys_path
from flows.onboarding.plans import ALGORITHMS, estate_of, signing_keys
from flows.outcomes import Done, Outcome
from flows.policy import mail_host, verp
from flows.policy.lifecycle import DkimKeyStatus, MailboxStatus, allowed_from
from flows.resources import Resources
from flows.runs import actor
from flows.steps import step
from providers.keys import hash_password, new_password
from sql import dkim_keys, email_accounts, infrastructure_events, vps_instances
from sql.domains import Domain
from sql.email_accounts import Mailbox
from sql.provisioning import Run
from sql.session import as_orchestrator


@step(name="create_mailboxes")
async def ensure_mailboxes(r: Resources, run: Run) -> Outcome:
    """Every mailbox and every postmaster on the host, and the verified keys signing."""
    instance = await instance_of(r, run)
    estate = await estate_of(r, run)
    async with as_orchestrator(r.pool) as conn:
        boxes = await email_accounts.list_mailboxes(conn, run.tenant_id)
    for box in boxes:
        if box.password_hash is None:
            await give_password(r, box)
    for domain in estate.domains:
        await give_postmaster(r, domain)
        await give_return_path_key(r, domain)
    host = await desired_host(r, run)
    changed = await converge(r, instance, mail_host.desired(host))
    async with as_orchestrator(r.pool) as conn:
        await vps_instances.note_converged(conn, instance.id, host.hostname)
        signing = (key for domain in estate.domains for key in signing_keys(estate, domain))
        for key in (key for key in signing if key.status == DkimKeyStatus.VERIFIED):
            await dkim_keys.move(conn, key.id, to=DkimKeyStatus.ACTIVE, allowed_from=allowed_from(DkimKeyStatus.ACTIVE))
            await infrastructure_events.record_event(
                conn, tenant_id=run.tenant_id, subject_type="domain", subject_id=key.domain_id, event="dkim_active",
                from_status=key.status, to_status=DkimKeyStatus.ACTIVE, actor=actor(run), flow_run_id=run.flow_run_id,
                details={"selector": key.selector, "algorithm": ALGORITHMS[key.algorithm]},
            )  # fmt: skip
    return Done({"mailboxes": [box.email_address for box in boxes if box.status != MailboxStatus.SUSPENDED],
                 "changed": list(changed)})  # fmt: skip


async def give_password(r: Resources, box: Mailbox) -> None:
    """A first password, sealed and hashed in one transaction; a second process finds it there."""
    password = new_password()
    async with as_orchestrator(r.pool) as conn:
        secret_id = await vault.store(
            r, conn, tenant_id=box.tenant_id, purpose="mailbox_password", path=password_path(box.email_address),
            secret=password,
        )  # fmt: skip
        await email_accounts.set_password(conn, box.id, password_hash=hash_password(password), secret_id=secret_id)


async def give_postmaster(r: Resources, domain: Domain) -> None:
    """The postmaster's password and hash, both sealed, made once."""
    address = postmaster(domain)
    if await vault.fetch(r, tenant_id=domain.tenant_id, path=hash_path(address)):
        return
    password = new_password()
    both = {password_path(address): password, hash_path(address): SecretStr(hash_password(password))}
    async with as_orchestrator(r.pool) as conn:
        for path, secret in both.items():
            await vault.store(r, conn, tenant_id=domain.tenant_id, purpose="mailbox_password", path=path, secret=secret)


async def give_return_path_key(r: Resources, domain: Domain) -> None:
    """The key that signs return paths of one domain of one tenant, made once."""
    path = return_path_keys_path(domain.domain_name)
    if await vault.fetch(r, tenant_id=domain.tenant_id, path=path):
        return
    key = SecretStr(secrets.token_hex(verp.KEY_BYTES))
    async with as_orchestrator(r.pool) as conn:
        await vault.store(r, conn, tenant_id=domain.tenant_id, purpose="signing_key", path=path, secret=key)
