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
        lines += [await shown(r, order, found)] if found else []
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
            conn, dedupe_key=f"order:{order.token}", category="orders", severity="high",
            title=f"A server shows whose order is {order.state}",
            message=f"{ids} bears {order.token} and is paid for: python -m flows orders decide {order.token} adopt"
            f" --server ID, or end it in the provider's panel",
        )  # fmt: skip
