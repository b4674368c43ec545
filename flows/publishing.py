"""A domain's DNS host, with the tenant's credential, and changes sent to it."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from flows import vault
from flows.policy.records import Change
from flows.resources import Resources
from providers.dns_host import DnsHost, RecordChange, Rfc2136
from providers.errors import Rejected
from sql.domains import Domain


class Rfc2136Settings(BaseModel):
    """`domains.dns_host_settings` where `dns_host` is rfc2136."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    server: str
    key_name: str
    zone: str | None = None
    algorithm: str = "hmac-sha256"
    port: int = 53
    secret_path: str


async def dns_host_of(r: Resources, domain: Domain) -> DnsHost:
    """The host that publishes this domain; Rejected when the tenant's settings do not name one we can talk to."""
    if domain.dns_host != "rfc2136":
        raise Rejected("dns_host", "settings", f"{domain.domain_name}: no adapter for dns_host {domain.dns_host!r}")
    try:
        found = Rfc2136Settings.model_validate(domain.dns_host_settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise Rejected(
            "dns_host", "settings", f"{domain.domain_name}: dns_host_settings.{first['loc'][0]}: {first['msg']}"
        ) from error
    secret = await vault.fetch(r, tenant_id=domain.tenant_id, path=found.secret_path)
    if secret is None:
        raise Rejected("dns_host", "settings", f"{domain.domain_name}: no secret at {found.secret_path}")
    return Rfc2136(
        found.server,
        found.zone or domain.domain_name,
        found.key_name,
        secret,
        algorithm=found.algorithm,
        port=found.port,
    )


async def publish(host: DnsHost, changes: Sequence[Change]) -> None:
    """Send all changes of a zone in one message; refused when a set is no longer what was read."""
    await host.publish(
        [RecordChange(name=c.name, rtype=c.rtype, values=c.values, ttl=c.ttl, expected=c.before) for c in changes]
    )
