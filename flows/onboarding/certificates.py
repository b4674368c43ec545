"""A certificate for the host's names: key and request made on the host, signed by the configured authority."""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from flows.hosts import converge, shell_on
from flows.onboarding.desired import CERTIFICATE, desired_host
from flows.onboarding.hosts import run_or_reject
from flows.onboarding.plans import estate_of
from flows.outcomes import Done, Outcome
from flows.policy import mail_host
from flows.policy.certificates import serves
from flows.resources import Resources
from flows.runs import instance_of
from flows.steps import step
from providers.errors import Rejected
from providers.keys import certificate_facts, issue_certificate
from sql import vps_instances
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.vps_instances import Instance


@step(name="issue_certificate")
async def ensure_certificate(r: Resources, run: Run) -> Outcome:
    """A certificate that names every host name and lasts; the private key never leaves the host."""
    instance = await instance_of(r, run)
    names = tuple(dict.fromkeys((await estate_of(r, run)).names.values()))
    if not is_good(instance.configuration.get(CERTIFICATE), names):
        await issue(r, instance, names)
    changed = await converge(r, instance, mail_host.desired(await desired_host(r, run)))
    return Done({"names": list(names), "changed": list(changed)})


def is_good(pem: str | None, names: tuple[str, ...]) -> bool:
    """Whether what we have names exactly these hosts and is not about to end."""
    if not pem:
        return False
    facts = certificate_facts(pem.encode())
    return serves(facts.names, facts.not_before, facts.not_after, wanted=names, now=datetime.now(UTC))


async def issue(r: Resources, instance: Instance, names: tuple[str, ...]) -> None:
    """Ask the host for a request, have it signed, keep the certificate (it is public)."""
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
    async with as_orchestrator(r.pool) as conn:
        await vps_instances.note_configuration(conn, instance.id, {CERTIFICATE: certificate.decode()})


def read_authority(file: Path | None) -> bytes:
    """A file of the private authority; Rejected with its name when it cannot be read."""
    if file is None:
        raise Rejected("private_ca", "read", "mail_host.private_ca_cert_file and private_ca_key_file must be set")
    try:
        return file.read_bytes()
    except OSError as error:
        raise Rejected("private_ca", "read", f"{file}: {error.strerror}") from error
