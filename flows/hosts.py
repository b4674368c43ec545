"""A shell on a host of ours, and convergence over it: facts, plan, apply, and an empty plan to end with."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flows import vault
from flows.policy import convergence, host_clock
from flows.policy.convergence import Change, Desired, Facts
from flows.policy.host_clock import WrongClock
from flows.resources import Resources
from providers.errors import Rejected, Unavailable
from providers.ssh import Output, Shell
from sql import vps_instances
from sql.provisioning import Run
from sql.session import as_orchestrator, time_of
from sql.vps_instances import Instance

log = logging.getLogger(__name__)

FACTS_SECONDS = 180  # the boot is waited for inside
LOOKED = "looked-after"  # between what a script did and what the facts say then


async def instance_of(r: Resources, run: Run) -> Instance:
    """The server of the tenant this run works for; an earlier step has made its row."""
    async with as_orchestrator(r.pool) as conn:
        instance = await vps_instances.live_instance(conn, run.tenant_id)
    if instance is None:
        raise LookupError(f"run {run.id}: the tenant has no server row")
    return instance


def key_path(instance: Instance) -> str:
    """Where the sealed private key of a server is."""
    return f"ssh/{instance.token}"


@asynccontextmanager
async def shell_on(r: Resources, instance: Instance, *, anew: bool = False) -> AsyncGenerator[Shell]:
    """A login with our key on the pinned host: the last one where it still waits, always a new one with `anew`."""
    if instance.ip_address is None or instance.ssh_host_key is None:
        raise LookupError(f"{instance.token} was never reached: no address or no pinned key")
    private_key = await vault.fetch_sure(r, tenant_id=instance.tenant_id, path=key_path(instance))
    log_in = r.ssh.connect if anew else r.ssh.kept
    async with log_in(
        instance.ip_address,
        user=r.terms.login_user,
        port=instance.ssh_port,
        private_key=private_key,
        host_key=instance.ssh_host_key,
    ) as shell:
        yield shell


async def converge(r: Resources, instance: Instance, desired: Desired) -> tuple[str, ...]:
    """Make a host as desired; the summaries of what was changed, empty when nothing was.

    One connection and one command when nothing is to be done; a second command applies everything else at once and
    looks again. Only what is armed against a lock-out takes a second connection, which is its purpose.
    """
    look = convergence.facts_script(desired)
    async with shell_on(r, instance) as shell:
        asked_at = time.time()
        facts = facts_in(await shell.run(look, timeout_seconds=FACTS_SECONDS))
        changes = convergence.plan(desired, facts)
        if wrong := host_clock.wrong_clock(facts, asked_at, answered_at := time.time()):
            await ensure_own_clock_trusted(r)
            changes = (set_or_refused(wrong, changes, facts, answered_at), *changes)
        if not changes:
            return ()
        armed = convergence.needs_confirmation(changes)
        after, waited = await apply(shell, changes, None if armed else look, r.settings.mail_host.apt_timeout_seconds)
    if armed:
        after = await confirm(r, instance, look)
    if left := convergence.plan(desired, facts_in(after)):
        raise Rejected("host", "converge", "still to be done after applying: " + "; ".join(c.summary for c in left))
    return (*(change.summary for change in changes), *waited)


async def ensure_clock_trusted(r: Resources, instance: Instance) -> None:
    """A look at the clock alone, before a host is to sign something that others judge."""
    async with shell_on(r, instance) as shell:
        asked_at = time.time()
        facts = facts_in(await shell.run(convergence.facts_script(Desired()), timeout_seconds=FACTS_SECONDS))
        if wrong := host_clock.wrong_clock(facts, asked_at, answered_at := time.time()):
            await ensure_own_clock_trusted(r)
            set_or_refused(wrong, (), facts, answered_at)


async def ensure_own_clock_trusted(r: Resources) -> None:
    """Judge and set no host by our clock while the database has another time."""
    async with as_orchestrator(r.pool) as conn:
        witness = await time_of(conn)
    if why := host_clock.doubt(time.time(), witness.timestamp()):
        raise Rejected("worker", "clock", why)


def set_or_refused(wrong: WrongClock, changes: tuple[Change, ...], facts: Facts, answered_at: float) -> Change:
    """The change that sets a wrong clock; else go no further: wait where it sets itself, call a person where not."""
    if told := host_clock.setting(wrong, changes, facts, answered_at):
        return told
    kind = Unavailable if wrong.mends_itself else Rejected
    raise kind("host", "clock", wrong.sentence)


async def apply(
    shell: Shell, changes: tuple[Change, ...], look: str | None, timeout_seconds: float
) -> tuple[Output, tuple[str, ...]]:
    """Everything in one command, file contents over its standard input; with `look` the facts afterwards as well.

    The second half says what the host was patient with.
    """
    script, payload = convergence.apply_script(changes)
    script = both(script, look) if look else script
    return settle("apply", await shell.run(script, stdin=payload, timeout_seconds=timeout_seconds), looked=bool(look))


async def confirm(r: Resources, instance: Instance, look: str) -> Output:
    """Log in a second time and keep what was armed; failing that, the host undoes it by itself."""
    async with shell_on(r, instance, anew=True) as shell:
        output = await shell.run(both(convergence.confirm_script(), look), timeout_seconds=FACTS_SECONDS)
    return settle("confirm", output, looked=True)[0]


def facts_in(looked: Output) -> Facts:
    """What the host printed about itself."""
    if looked.status != 0:
        raise Unavailable("host", "facts", f"exit {looked.status}: {looked.stderr.strip()[-150:]}")
    try:
        return convergence.parse_facts(looked.stdout)
    except convergence.IncompleteFacts as error:
        raise Unavailable("host", "facts", str(error)) from error


def both(deed: str, look: str) -> str:
    """A deed and the look after it as one command; the line between them carries the deed's exit status."""
    return f"(\n{deed}\n)\nprintf '{LOOKED}\\t%s\\n' $?\n{look}"


def settle(action: str, output: Output, *, looked: bool) -> tuple[Output, tuple[str, ...]]:
    """What was printed after the deed, and what it waited for. Raises what the host refused.

    Unavailable when the same may work later.
    """
    said, mark, seen = output.stdout.partition(f"{LOOKED}\t")
    status, _, facts = seen.partition("\n")
    outcome = convergence.parse_outcome(int(status) if mark else output.status, said)
    if isinstance(outcome, convergence.Refused):
        kind = Unavailable if outcome.passing else Rejected
        raise kind("host", action, f"{outcome.reason}: {outcome.detail}")
    return Output(output.status, facts if looked else "", output.stderr), outcome.waited
