"""Turn a bare server into ours: our key in, every other door closed, then the mail stack."""

from ipaddress import IPv4Address

from flows import vault
from flows.hosts import converge, instance_of, key_path, shell_on
from flows.onboarding.addresses import further_egress
from flows.onboarding.desired import desired_host
from flows.onboarding.incoming import incoming_blocked
from flows.outcomes import Done, Outcome
from flows.policy import mail_host, secure_host
from flows.resources import Resources
from flows.steps import step
from providers.errors import Rejected, Unauthorized
from providers.keys import new_ssh_key
from providers.ssh import Shell
from providers.vps import InitialAccess
from sql import vps_instances
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.vps_instances import Instance

BOOTSTRAP_SECONDS = 180
PUBLIC_KEY = "ssh_public_key"  # in vps_instances.configuration


@step(name="secure_host")
async def ensure_host_secured(r: Resources, run: Run) -> Outcome:
    """Own key in, host key pinned, password rotated and refused, firewall and fail2ban confirmed from outside."""
    instance = await instance_of(r, run)
    taken = instance.key_login_at is not None
    if not taken:
        instance = await take_possession(r, instance)
    security = secure_host.HostSecurity(
        worker_networks=r.settings.ssh.worker_networks,
        authorized_keys=(instance.configuration[PUBLIC_KEY],),
        ssh_port=instance.ssh_port,
    )
    changed = await converge(r, instance, secure_host.desired(security))
    if not taken:
        await prove_password_refused(r, instance)
        async with as_orchestrator(r.pool) as conn:
            await vps_instances.note_key_login(conn, instance.id)
    return Done({"changed": list(changed)})


async def take_possession(r: Resources, instance: Instance) -> Instance:
    """From the provider's password to our key alone. Safe to repeat: the key is tried before the password."""
    instance = await with_own_key(r, instance)
    if not await key_works(r, instance):
        instance = await install_key(r, instance)
    async with shell_on(r, instance) as shell:
        await run_or_reject(shell, secure_host.close_password_script(), "close_password")
    return instance


async def with_own_key(r: Resources, instance: Instance) -> Instance:
    """Make and seal this server's key before it is used; the same one on every try."""
    if instance.ssh_key_secret_id is not None:
        return instance
    key = new_ssh_key()
    async with as_orchestrator(r.pool) as conn:
        secret_id = await vault.store(
            r, conn, tenant_id=instance.tenant_id, purpose="ssh_private_key", path=key_path(instance),
            secret=key.private_openssh,
        )  # fmt: skip
        await vps_instances.set_ssh_key(conn, instance.id, secret_id)
        await vps_instances.note_configuration(conn, instance.id, {PUBLIC_KEY: key.public_line})
        return await vps_instances.get_instance(conn, instance.id)


async def key_works(r: Resources, instance: Instance) -> bool:
    """Whether an earlier start got as far as installing the key."""
    if instance.ssh_host_key is None:
        return False
    try:
        async with shell_on(r, instance, anew=True):
            return True
    except Unauthorized:
        return False


async def install_key(r: Resources, instance: Instance) -> Instance:
    """The one login by password: wait for the boot, pin the host key, put our public key in."""
    access = await r.vps.initial_access(instance.provider_id or "")
    async with r.ssh.connect(
        address_of(instance), user=access.user, port=instance.ssh_port, password=access.password,
        host_key=instance.ssh_host_key,
    ) as shell:  # fmt: skip
        async with as_orchestrator(r.pool) as conn:
            if not await vps_instances.pin_host_key(conn, instance.id, shell.host_key):
                raise Rejected("ssh", "pin", f"{instance.ip_address} shows another host key than at first contact")
        await run_or_reject(shell, secure_host.bootstrap_script(instance.configuration[PUBLIC_KEY]), "install_key")
    async with as_orchestrator(r.pool) as conn:
        return await vps_instances.get_instance(conn, instance.id)


async def prove_password_refused(r: Resources, instance: Instance) -> None:
    """The provider goes on showing the old password: it must no longer open anything."""
    access: InitialAccess = await r.vps.initial_access(instance.provider_id or "")
    try:
        async with r.ssh.connect(
            address_of(instance), user=access.user, port=instance.ssh_port, password=access.password,
            host_key=instance.ssh_host_key,
        ):  # fmt: skip
            pass
    except Unauthorized:
        return
    raise Rejected("ssh", "close_password", "the provider's password still opens the host")


def address_of(instance: Instance) -> IPv4Address:
    """The main address; a step that comes after await_server has one."""
    if instance.ip_address is None:
        raise LookupError(f"{instance.token} has no address yet")
    return instance.ip_address


async def run_or_reject(shell: Shell, script: str, action: str) -> str:
    """Run a script that must end well."""
    output = await shell.run(script, timeout_seconds=BOOTSTRAP_SECONDS)
    if output.status != 0:
        raise Rejected("host", action, f"exit {output.status}: {output.stderr.strip()[-150:]}")
    return output.stdout


@step(name="install_mail_server")
async def ensure_mail_server(r: Resources, run: Run) -> Outcome:
    """Postfix, Dovecot and two signers as the tables say; nothing is signed before its key is verified in DNS."""
    instance = await instance_of(r, run)
    host = await desired_host(r, run)
    changed = await converge(r, instance, mail_host.desired(host))
    async with as_orchestrator(r.pool) as conn:
        await vps_instances.note_converged(conn, instance.id, host.hostname)
    if waiting := await further_egress(r, run, instance) or await incoming_blocked(r, run, instance):
        return waiting
    return Done({"hostname": host.hostname, "changed": list(changed)})
