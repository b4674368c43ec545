"""Further addresses of a server: each has an order of its own, bought once by us or by a person in the panel.

The provider names no order, so an address that shows and that no order explains fulfils the oldest open one. A lost
reply is settled by looking again, never by buying again. What comes beyond the number bought (a listed address that
has to be replaced) is a person's decision.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from flows.outcomes import Waiting
from flows.policy.lifecycle import OrderState, allowed_from
from flows.resources import Resources
from flows.runs import actor
from flows.waiting import one_change_at_a_time, patient_looks
from providers.errors import Rejected, Unavailable, Unconfirmed
from sql import infrastructure_events, provider_orders
from sql.provider_orders import Order
from sql.provisioning import Run
from sql.session import as_orchestrator
from sql.vps_instances import Instance

ADDRESS = "address"
SHOWN_WITHIN = timedelta(minutes=15)  # from a purchase to the panel; nobody promises a figure
LOOK_AGAIN = timedelta(minutes=10)
CLOSED = frozenset({OrderState.FULFILLED, OrderState.ABANDONED})


async def addresses_of(r: Resources, instance: Instance) -> list[IPv4Address]:
    """What the provider shows of a server, each arrival written to the order that asked for it."""
    shown = await r.vps.list_ips(instance.provider_id or "")
    async with as_orchestrator(r.pool) as conn:
        orders = await provider_orders.list_orders_of(conn, instance.id, ADDRESS)
        explained = {order.external_ref for order in orders} | {str(instance.ip_address)}
        strange = [address for address in sorted(shown) if str(address) not in explained]
        for order in (order for order in orders if order.state not in CLOSED):
            arrived = next((address for address in strange if str(address) not in order.spec["held"]), None)
            if arrived is None:
                continue
            strange.remove(arrived)
            await provider_orders.mark(
                conn, order.id, state=OrderState.FULFILLED, from_states=allowed_from(OrderState.FULFILLED),
                external_ref=str(arrived),
            )  # fmt: skip
    return shown


async def one_more(
    r: Resources, run: Run, instance: Instance, shown: Sequence[IPv4Address], *, lacking: int, bought: int
) -> Waiting | None:
    """Get one of the `lacking` addresses; None when it has come. `bought`: how many the order was admitted with."""
    orders = await noted_orders(r, run, instance, shown, lacking)
    order = orders[0]
    by_ourselves = r.vps.capabilities.add_ip and ordinal(order) <= bought
    match order.state:
        case OrderState.INTENDED if by_ourselves:
            return await buy_once(r, run, instance, order)
        case OrderState.CALLING | OrderState.ACCEPTED | OrderState.UNCONFIRMED:
            return await look_for(r, instance, order)
        case OrderState.REJECTED:
            return refused(run, order, order.reason)
        case _:
            return await hand_over(r, instance, orders)


async def noted_orders(
    r: Resources, run: Run, instance: Instance, shown: Sequence[IPv4Address], lacking: int
) -> list[Order]:
    """One open order for each lacking address, committed before anything is asked for; the oldest first."""
    async with as_orchestrator(r.pool) as conn:
        orders = await provider_orders.list_orders_of(conn, instance.id, ADDRESS)
        live = [order for order in orders if order.state not in CLOSED]
        for number in range(len(orders) + 2, len(orders) + 2 + lacking - len(live)):  # the main address is the first
            order = await provider_orders.note_intent(
                conn, tenant_id=run.tenant_id, run_id=run.id, vps_instance_id=instance.id, kind=ADDRESS,
                token=f"{instance.token}/{number}", expected_amount=r.terms.address_monthly_cost,
                spec={"server": instance.provider_id, "held": [str(address) for address in shown]},
            )  # fmt: skip
            live.append(order)
            await infrastructure_events.record_event(
                conn, tenant_id=run.tenant_id, subject_type="order", subject_id=order.token, event="address_wanted",
                actor=actor(run), flow_run_id=run.flow_run_id, details={"server": instance.token},
            )  # fmt: skip
    return live


def ordinal(order: Order) -> int:
    """Which address of its server an order is for; the main one is the first."""
    return int(order.token.rpartition("/")[2])


async def buy_once(r: Resources, run: Run, instance: Instance, order: Order) -> Waiting | None:
    """Claim the intent and call once; what the answer means is settled by looking."""
    minute = timedelta(minutes=1)
    async with one_change_at_a_time():
        async with as_orchestrator(r.pool) as conn:
            claimed = await provider_orders.claim(conn, order.token, ADDRESS, claimed_by=actor(run))
        if claimed is None:
            return Waiting("provider", f"another process is buying {order.token}", minute)
        try:
            await r.vps.add_ip(instance.provider_id or "")
        except Unavailable as error:
            await mark(r, order, OrderState.INTENDED, str(error))
            return Waiting("provider", f"no address was bought: {error}", minute)
        except Unconfirmed as error:
            await mark(r, order, OrderState.UNCONFIRMED, str(error))
        except Rejected as error:
            await mark(r, order, OrderState.REJECTED, str(error))
            return refused(run, order, str(error))
        else:
            await mark(r, order, OrderState.ACCEPTED)
    return await look_for(r, instance, order)


async def look_for(r: Resources, instance: Instance, order: Order) -> Waiting | None:
    """Look for the address until it shows or its window ends; a call that may be lost is never repeated."""
    async with as_orchestrator(r.pool) as conn:
        order = await provider_orders.get_order(conn, ADDRESS, order.token) or order
    if order.state == OrderState.CALLING:  # its process is dead, for we hold the run: the call may have gone out
        await mark(r, order, OrderState.UNCONFIRMED, "the process that called was killed")
    until = (order.called_at or order.created_at) + SHOWN_WITHIN
    async for _ in patient_looks(r.terms):
        await addresses_of(r, instance)
        async with as_orchestrator(r.pool) as conn:
            now = await provider_orders.get_order(conn, ADDRESS, order.token)
        if now is None or now.state == OrderState.FULFILLED:
            return None
        if datetime.now(UTC) >= until:
            break
    if datetime.now(UTC) < until:
        return Waiting("provider", f"address {order.token} is bought and not shown yet", timedelta(minutes=1))
    await mark(r, order, OrderState.NEEDS_OPERATOR, order.reason or "never seen among the server's addresses")
    return await hand_over(r, instance, [order])


def refused(run: Run, order: Order, reason: str | None) -> Waiting:
    """The provider said no, and why."""
    return Waiting(
        "operator",
        f"the order of an address was refused and nothing was bought: {reason}; mend the cause, then:"
        f" python -m flows orders decide {order.token} not_created && python -m flows retry {run.id}",
    )


async def hand_over(r: Resources, instance: Instance, orders: Sequence[Order]) -> Waiting:
    """Say what a person is to buy, or to settle; the panel's answer is seen without another word."""
    called = next((order for order in orders if order.called_at), None)
    if called:
        sentence = (
            f"the purchase of address {called.token} (called at {called.called_at:%Y-%m-%d %H:%M:%S} UTC) is not"
            f" confirmed: {called.reason}. Look at service {instance.provider_id} in the panel, then: python -m flows"
            f" orders decide {called.token} not_created | abandon; an address that shows is taken by itself"
        )
    else:
        sentence = (
            f"buy {len(orders)} IPv4 for service {instance.provider_id} (label {instance.token}) in the panel; the run"
            " goes on by itself once the panel shows it"
        )
    for order in orders:
        if order.state == OrderState.INTENDED:
            await mark(r, order, OrderState.NEEDS_OPERATOR, sentence)
    return Waiting("operator", sentence, LOOK_AGAIN)


async def mark(r: Resources, order: Order, state: OrderState, reason: str | None = None) -> None:
    """Write what is known of an order now."""
    async with as_orchestrator(r.pool) as conn:
        await provider_orders.mark(
            conn, order.id, state=state, from_states=allowed_from(state), reason=reason,
            next_look_at=datetime.now(UTC) + timedelta(hours=1),
        )  # fmt: skip
