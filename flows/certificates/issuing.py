"""A certificate for a host: key and request are made there, the configured authority signs, the host shows it.

Whoever wants one comes through here, the first time and every time after; only one at a time for each host.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from pydantic import SecretStr

from flows.certificates.ordering import issue_by_acme
from flows.hosts import shell_on
from flows.onboarding.desired import CERTIFICATE
from flows.onboarding.hosts import run_or_reject
from flows.outcomes import Waiting
from flows.policy import mail_host
from flows.policy.certificates import due_at, serves
from flows.resources import Resources, direct_dsn
from providers.errors import Rejected
from providers.keys import certificate_facts, issue_certificate
from sql import acme_orders, certificates, vps_instances
from sql.infrastructure_events import record_event
from sql.session import as_orchestrator, change_lock
from sql.vps_instances import Instance


async def ensure_issued(
    r: Resources, instance: Instance, hosts: Mapping[str, IPv4Address], *, actor: str
) -> str | Waiting:
    """A certificate that names exactly these hosts and lasts, PEM with its chain: the present one, or a new one."""
    async with change_lock(await direct_dsn(), f"certificate:{instance.token}"):
        async with as_orchestrator(r.pool) as conn:
            present = (await vps_instances.get_instance(conn, instance.id)).configuration.get(CERTIFICATE)
        if present and is_good(present, hosts):
            return str(present)
        if r.settings.mail_host.certificate_issuer == "private_ca":
            pem = await issue_by_private_authority(r, instance, tuple(hosts))
        else:
            issued = await issue_by_acme(r, instance, hosts)
            if isinstance(issued, Waiting):
                return issued
            pem = issued
        await keep(r, instance, pem, actor)
        return pem


def is_good(pem: str, hosts: Mapping[str, IPv4Address]) -> bool:
    """Whether it names exactly these hosts and is not about to end; what cannot be read is as good as none."""
    try:
        facts = certificate_facts(pem.encode())
    except Rejected:
        return False
    return serves(facts.names, facts.not_before, facts.not_after, wanted=hosts, now=datetime.now(UTC))


async def keep(r: Resources, instance: Instance, pem: str, actor: str) -> None:
    """Write the certificate down (it is public), and that its order is fulfilled; the host gets it next."""
    facts = certificate_facts(pem.encode())
    async with as_orchestrator(r.pool) as conn:
        await vps_instances.note_configuration(conn, instance.id, {CERTIFICATE: pem})
        if order := await acme_orders.open_order(conn, instance.id):
            by_acme = r.settings.mail_host.certificate_issuer == "acme"
            await acme_orders.end(conn, order.id, state="issued" if by_acme else "abandoned")
        await record_event(
            conn, tenant_id=instance.tenant_id, subject_type="vps", subject_id=instance.id, event="certificate_issued",
            actor=actor,
            details={"names": list(facts.names), "issuer": facts.issuer, "ends_at": facts.not_after.isoformat()},
        )  # fmt: skip


async def note_shown(r: Resources, instance: Instance, pem: str) -> None:
    """The host shows it: from here on the renewal looks after it."""
    facts = certificate_facts(pem.encode())
    async with as_orchestrator(r.pool) as conn:
        await certificates.note_certificate(
            conn, instance.id, ends_at=facts.not_after, due_at=due_at(facts.not_before, facts.not_after)
        )


async def issue_by_private_authority(r: Resources, instance: Instance, names: tuple[str, ...]) -> str:
    """Ask the host for a request and sign it with the authority of our own."""
    async with shell_on(r, instance) as shell:
        csr = await run_or_reject(shell, mail_host.csr_script(names), "certificate request")
    settings = r.settings.mail_host
    certificate = issue_certificate(
        csr.encode(),
        ca_certificate_pem=read_authority(settings.private_ca_cert_file),
        ca_key_pem=SecretStr(read_authority(settings.private_ca_key_file).decode()),
        names=names,
        days=settings.certificate_days,
    )
    return certificate.decode()


def read_authority(file: Path | None) -> bytes:
    """A file of the private authority; Rejected with its name when it cannot be read."""
    if file is None:
        raise Rejected("private_ca", "read", "mail_host.private_ca_cert_file and private_ca_key_file must be set")
    try:
        return file.read_bytes()
    except OSError as error:
        raise Rejected("private_ca", "read", f"{file}: {error.strerror}") from error
