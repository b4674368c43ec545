"""Wait until a server is ready: ACTIVE, no task, and SSH answering at the same address twice."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from flows.hosts import instance_of
from flows.outcomes import Done, Outcome, Waiting
from flows.resources import Resources
from flows.steps import step
from flows.waiting import patient_looks, short_looks
from providers.errors import NotFound
from providers.vps import Server, ServerState
from sql import provider_orders, vps_instances
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.vps_instances import Instance

BANNER_SECONDS = 5
NEEDS_A_PERSON = {
    ServerState.SUSPENDED: "is suspended by the provider: open a ticket; it is neither started nor ended by us",
    ServerState.ERROR: "is in ERROR at the provider: it is paid for, so no other is ordered; open a ticket",
    ServerState.STOPPED: "is switched off, and not by us: switch it on in the panel",
    ServerState.DELETED: "is deleted at the provider",
}


@dataclass(frozen=True, slots=True)
class Up:
    """A server that is up, and the address where SSH answers."""

    server: Server
    address: IPv4Address


@step(name="await_server")
async def ensure_server_ready(r: Resources, run: Run) -> Outcome:
    """Two looks apart must agree, and both must find SSH answering."""
    instance = await instance_of(r, run)
    async for _ in patient_looks(r.terms):
        seen = await ready_server(r, instance)
        if isinstance(seen, Up):
            await asyncio.sleep(r.terms.ready_rounds_apart_seconds)
            before, seen = seen, await ready_server(r, instance)
            if isinstance(seen, Up) and seen.address == before.address:
                return await remember(r, instance, seen)
        if isinstance(seen, Waiting):
            return seen
    return await still_building(r, run, instance)


async def ready_server(r: Resources, instance: Instance) -> Up | Waiting | None:
    """One look: the server when it answers, None while that may still come, else what a person has to do."""
    provider_id = instance.provider_id or ""
    try:
        server = await r.vps.get_server(provider_id)
    except NotFound as error:
        return Waiting("operator", f"server {provider_id} ({instance.token}): {error}")
    if (why := NEEDS_A_PERSON.get(server.state)) is not None:
        return Waiting("operator", f"server {provider_id} ({instance.token}) {why}")
    address = server.ipv4_main if is_up(server) else None
    return Up(server, address) if address and await greets(r, address, instance.ssh_port) else None


def is_up(server: Server) -> bool:
    """Active, and no task of the provider still at work."""
    return server.state is ServerState.ACTIVE and not server.busy and server.ipv4_main is not None


async def greets(r: Resources, address: IPv4Address, port: int) -> bool:
    """Whether SSH answers now or within moments: knocking again costs nothing, a look at the provider does."""
    async for _ in short_looks(BANNER_SECONDS):
        if await r.ssh.banner(address, port, timeout_seconds=BANNER_SECONDS):
            return True
    return False


async def remember(r: Resources, instance: Instance, seen: Up) -> Outcome:
    """Write the address down; from here on it is the server's."""
    server, address = seen.server, seen.address
    observed = {"plan": server.plan, "image": server.image, "region": server.region}
    async with as_orchestrator(r.pool) as conn:
        await vps_instances.note_address(conn, instance.id, address)
        await vps_instances.note_configuration(conn, instance.id, {"observed": observed})
    return Done({"address": str(address), "provider_id": server.provider_id})


async def still_building(r: Resources, run: Run, instance: Instance) -> Outcome:
    """Not ready within this step's patience: wait on, until the window ends."""
    async with as_orchestrator(r.pool) as conn:
        order = await provider_orders.get_order(conn, "server", instance.token)
    since = (order.called_at or order.created_at) if order else datetime.now(UTC)
    window = r.terms.ready_within
    if datetime.now(UTC) < since + window:
        return Waiting("provider", f"server {instance.provider_id} is still being made", timedelta(minutes=1))
    return Waiting(
        "operator",
        f"server {instance.provider_id} ({instance.token}) was ordered {window} ago and is not ready: look at its"
        f" console in the panel, then: python -m flows retry {run.id}",
    )
