"""Does the world reach port 25 of a host: asked from here, once Postfix listens."""

import asyncio
import logging
from collections.abc import Iterable
from ipaddress import IPv4Address

from flows.outcomes import Waiting
from flows.policy import ingress
from flows.policy.verdict import Truth
from flows.resources import Resources
from providers.mail import probe
from sql import smtp_ip_addresses
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.vps_instances import Instance

log = logging.getLogger(__name__)

GREETING_SECONDS = 10.0


async def incoming_blocked(r: Resources, run: Run, instance: Instance) -> Waiting | None:
    """A person's matter when an address of the host is not reached although others are; None otherwise."""
    async with as_orchestrator(r.pool) as conn:
        addresses = [row.ip_address for row in await smtp_ip_addresses.list_addresses(conn, instance.id)]
    greeted = dict(zip(addresses, await greetings(addresses), strict=True))
    others = all(greeted.values()) or any(await greetings(r.terms.port25_probe_hosts))
    verdicts = [ingress.judge(address, greeted=said, reaches_others=others) for address, said in greeted.items()]
    for verdict in verdicts:
        if verdict.truth is Truth.UNKNOWN:
            log.warning("run=%s %s", run.id, verdict.fix)
    bad = [verdict.fix for verdict in verdicts if verdict.truth is Truth.FAIL]
    return Waiting("operator", f"{'; '.join(bad)}, then: python -m flows retry {run.id}") if bad else None


async def greetings(hosts: Iterable[IPv4Address | str]) -> list[bool]:
    """Whether each says something at its port 25."""
    banners = await asyncio.gather(*(probe(host, timeout_seconds=GREETING_SECONDS) for host in hosts))
    return [banner is not None for banner in banners]
