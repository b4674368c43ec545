"""Write the warm-up plans; until they are carried out the host's first-day cap holds."""

from flows.hosts import instance_of
from flows.outcomes import Done, Outcome
from flows.policy.presets import Preset, first_day, last_step, preset
from flows.resources import Resources
from flows.steps import step
from sql import email_accounts, policy_presets, smtp_ip_addresses, warmup_schedules
from sql.provisioning import Run
from sql.session import Connection, as_orchestrator

MAILBOX_RAMP = "penguin-careful-40"
ADDRESS_RAMP = "ip-standard-30"


@step(name="start_warmup")
async def ensure_warmup_planned(r: Resources, run: Run) -> Outcome:
    """One live ramp for every mailbox and every address; those that have one keep it."""
    instance = await instance_of(r, run)
    mailbox_ramp, address_ramp = preset("warmup_ramp", MAILBOX_RAMP), preset("warmup_ramp", ADDRESS_RAMP)
    async with as_orchestrator(r.pool) as conn:
        await policy_presets.sync_presets(conn, [mailbox_ramp, address_ramp])
        mailbox_preset = await preset_id(conn, mailbox_ramp)
        address_preset = await preset_id(conn, address_ramp)
        planned = 0
        for box in await email_accounts.list_mailboxes(conn, run.tenant_id):
            planned += await warmup_schedules.plan_mailbox(
                conn, tenant_id=run.tenant_id, email_account_id=box.id, policy_preset_id=mailbox_preset,
                start_volume=first_day(mailbox_ramp), target_volume=mailbox_ramp.body["cap"],
                total_days=last_step(mailbox_ramp),
            )  # fmt: skip
        for address in await smtp_ip_addresses.list_addresses(conn, instance.id):
            planned += await warmup_schedules.plan_address(
                conn, tenant_id=run.tenant_id, smtp_ip_address_id=address.id, policy_preset_id=address_preset,
                start_volume=first_day(address_ramp), target_volume=address_ramp.body["cap"],
                total_days=last_step(address_ramp),
            )  # fmt: skip
    return Done({"planned": planned})


async def preset_id(conn: Connection, shipped: Preset) -> int:
    """The row of a shipped preset."""
    row = await policy_presets.get_preset(conn, shipped.kind, shipped.name, shipped.version)
    if row is None:
        raise LookupError(f"policy_presets lacks {shipped.kind} {shipped.name} {shipped.version}")
    return row.id
