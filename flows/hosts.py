"""A shell on a host of ours, and convergence over it: facts, plan, apply, and an empty plan to end with."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flows import vault
from flows.policy import convergence
from flows.policy.convergence import Change, Desired
from flows.resources import Resources
from providers.errors import Rejected, Unavailable
from providers.ssh import Output, Shell
from sql.vps_instances import Instance

log = logging.getLogger(__name__)

FACTS_SECONDS = 180  # the boot is waited for inside
CONFIRM_SECONDS = 30


def key_path(instance: Instance) -> str:
    """Where the sealed private key of a server is."""
    return f"ssh/{instance.token}"


@asynccontextmanager
async def shell_on(r: Resources, instance: Instance) -> AsyncGenerator[Shell]:
    """One connection with our key to the pinned host."""
    if instance.ip_address is None or instance.ssh_host_key is None:
        raise LookupError(f"{instance.token} was never reached: no address or no pinned key")
    private_key = await vault.fetch_sure(r, tenant_id=instance.tenant_id, path=key_path(instance))
    async with r.ssh.connect(
        instance.ip_address,
        user=r.settings.hostwinds.login_user,
        port=instance.ssh_port,
        private_key=private_key,
        host_key=instance.ssh_host_key,
    ) as shell:
        yield shell


async def planned(shell: Shell, desired: Desired) -> tuple[Change, ...]:
    """What is missing on the host: one command."""
    output = await shell.run(convergence.facts_script(desired), timeout_seconds=FACTS_SECONDS)
    if output.status != 0:
        raise Unavailable("host", "facts", f"exit {output.status}: {output.stderr.strip()[-150:]}")
    try:
        facts = convergence.parse_facts(output.stdout)
    except convergence.IncompleteFacts as error:
        raise Unavailable("host", "facts", str(error)) from error
    return convergence.plan(desired, facts)


async def converge(r: Resources, instance: Instance, desired: Desired) -> tuple[str, ...]:
    """Make a host as desired; the summaries of what was changed, empty when nothing was.

    One connection and one command when nothing is to be done; a second command applies everything else at once.
    """
    async with shell_on(r, instance) as shell:
        changes = await planned(shell, desired)
        if not changes:
            return ()
        await apply(shell, changes, timeout_seconds=r.settings.mail_host.apt_timeout_seconds)
    if convergence.needs_confirmation(changes):
        await confirm(r, instance)
    async with shell_on(r, instance) as shell:
        if left := await planned(shell, desired):
            raise Rejected("host", "converge", "still to be done after applying: " + "; ".join(c.summary for c in left))
    return tuple(change.summary for change in changes)


async def apply(shell: Shell, changes: tuple[Change, ...], *, timeout_seconds: float) -> None:
    """One command; file contents travel over its standard input."""
    script, payload = convergence.apply_script(changes)
    output = await shell.run(script, stdin=payload, timeout_seconds=timeout_seconds)
    settle("apply", output)


async def confirm(r: Resources, instance: Instance) -> None:
    """Log in a second time and cancel the armed revert; failing that, the host undoes the change by itself."""
    async with shell_on(r, instance) as shell:
        settle("confirm", await shell.run(convergence.confirm_script(), timeout_seconds=CONFIRM_SECONDS))


def settle(action: str, output: Output) -> None:
    """Raise what the host refused: Unavailable when the same may work later, Rejected when somebody must act."""
    outcome = convergence.parse_outcome(output.status, output.stdout)
    if isinstance(outcome, convergence.Refused):
        kind = Unavailable if outcome.passing else Rejected
        raise kind("host", action, f"{outcome.reason}: {outcome.detail}")
