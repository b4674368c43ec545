"""Look for servers whose order nobody could settle: one that shows late is paid for, and must not be lost."""

import logging

from flows.dispatch import resume
from flows.resources import Resources
from providers.errors import ProviderError
from providers.vps import Server
from sql import alerts, provider_orders, provisioning, retries
from sql.provider_orders import Order
from sql.provisioning import Run
from sql.session import Contended, as_orchestrator

log = logging.getLogger(__name__)

LOOKS = 20  # in one sweep: each is a list asked of the provider
LIVE = frozenset({"pending", "running", "waiting"})
CATEGORY = "orders"
DECIDED = frozenset({"fulfilled", "intended"})


async def look_for_late_servers(r: Resources) -> list[str]:
    """One line for each that has shown: taken by the run that waits for it, or told to a person."""
    try:
        async with as_orchestrator(r.pool) as conn:
            due = await provider_orders.due_looks(conn, LOOKS)
    except Contended as error:
        log.warning("late servers not looked for now: %s", error)
        return []
    lines: list[str] = []
    for order in due:
        try:
            found = await r.vps.find_by_token(order.token)
        except ProviderError as error:
            log.warning("order=%s not looked for now: %s", order.token, error)
            break  # the others would hear the same; all are due again in an hour
        if found:
            lines.append(await shown(r, order, found))
        else:
            await close(r, order.token)
    await close_decided(r)
    return lines


async def shown(r: Resources, order: Order, found: list[Server]) -> str:
    """A run that called a person goes on and takes it; one that looks by itself is left alone."""
    async with as_orchestrator(r.pool) as conn:
        run = await provisioning.get_run(conn, order.run_id) if order.run_id else None
        calls = run is not None and order.state == "needs_operator" and waits_for_a_person(run) and len(found) == 1
        run_again = await retries.rearm_run(conn, run.id, from_ordinal=None) if run and calls else None
    if run_again:
        await resume(r, run_again)
        return f"{run_again.id} goes on: {order.token} shows after all"
    if run is None or run.status not in LIVE or order.state == "abandoned":
        await tell(r, order, found)
    return f"{order.token} shows, {order.state}"


def waits_for_a_person(run: Run) -> bool:
    """Whether nobody else takes the run up again."""
    return run.wait_reason == "operator" and run.resume_at is None


async def tell(r: Resources, order: Order, found: list[Server]) -> None:
    """One alert, for as long as it is there and nobody has decided."""
    ids = ", ".join(server.provider_id for server in found)
    async with as_orchestrator(r.analytics) as conn:
        await alerts.raise_alert(
            conn, dedupe_key=f"order:{order.token}", category=CATEGORY, severity="high",
            title=f"A server shows whose order is {order.state}",
            message=f"{ids} bears {order.token} and is paid for: onboard its tenant again to take it"
            f" (python -m flows orders decide {order.token} adopt --server ID where the order was given up),"
            " or end it in the provider's panel",
        )  # fmt: skip


async def close(r: Resources, token: str) -> None:
    """The alert is over."""
    async with as_orchestrator(r.analytics) as conn:
        await alerts.resolve(conn, f"order:{token}", "platform")


async def close_decided(r: Resources) -> None:
    """Alerts of orders that have their server by now, or begin anew on a person's word."""
    async with as_orchestrator(r.analytics) as conn:
        told = [str(one.dedupe_key).removeprefix("order:") for one in await alerts.open_alerts(conn, category=CATEGORY)]
    for token in told:
        async with as_orchestrator(r.pool) as conn:
            order = await provider_orders.get_order(conn, "server", token)
        if order is None or order.state in DECIDED:
            await close(r, token)
