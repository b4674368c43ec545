"""A certificate for the host's names, issued by the configured authority and shown by the host."""

from flows.certificates.issuing import ensure_issued, note_shown
from flows.hosts import converge, instance_of
from flows.onboarding.plans import estate_of
from flows.outcomes import Done, Outcome, Waiting
from flows.policy import mail_host
from flows.resources import Resources
from flows.runs import actor
from flows.steps import step
from sql.provisioning import Run


@step(name="issue_certificate")
async def ensure_certificate(r: Resources, run: Run) -> Outcome:
    """A certificate that names every host name and lasts; the private key never leaves the host."""
    instance = await instance_of(r, run)
    hosts = {host.name: host.ip for host in (await estate_of(r, run)).hosts}
    issued = await ensure_issued(r, instance, hosts, actor=actor(run))
    if isinstance(issued, Waiting):
        return issued
    changed = await converge(r, instance, mail_host.certificate_alone(next(iter(hosts)), issued))
    await note_shown(r, instance, issued)
    return Done({"names": list(hosts), "changed": list(changed)})
