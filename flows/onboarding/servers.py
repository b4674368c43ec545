"""Give a tenant one server at the provider.

Look for a server that already carries our token; only when there is none, claim the noted intent and order one.
A lost reply is settled by looking again, never by ordering again.
"""

import secrets
from datetime import UTC, datetime, timedelta

from flows.onboarding.taking import take
from flows.outcomes import Done, Outcome, Waiting
from flows.policy.lifecycle import InstanceStatus, OrderState, allowed_from
from flows.policy.orders import CIRCUIT, ENTROPY_BYTES, circuit_open, server_token
from flows.resources import Resources
from flows.runs import actor
from flows.steps import step
from flows.waiting import one_change_at_a_time, patient_looks
from providers.errors import Rejected, Unavailable, Unconfirmed
from providers.vps import Server, ServerSpec
from sql import provider_orders, provisioning_steps, vps_instances
from sql.provider_orders import Order
from sql.provisioning import Run
from sql.session import Connection, as_orchestrator
from sql.vps_instances import Instance

SERVER = "server"
MINUTE = timedelta(minutes=1)


@step(name="order_server", retries=0)  # spends money: Prefect never repeats it
async def ensure_server(r: Resources, run: Run) -> Outcome:
    """The tenant's one server: adopted when it exists, ordered once when it does not."""
    if refusal := await guard(r, run):
        return refusal
    instance, order = await noted_order(r, run)
    if order.state == OrderState.FULFILLED:
        return await done(r, run, instance, order)
    found = await r.vps.find_by_token(order.token)
    if found:
        return await adopt(r, run, order, found)
    match order.state:
        case OrderState.INTENDED:
            return await order_once(r, run, order)
        case OrderState.CALLING | OrderState.ACCEPTED | OrderState.UNCONFIRMED:
            return await reconcile(r, run, order)
        case _:
            return Waiting("operator", operator_sentence(order))


async def guard(r: Resources, run: Run) -> Waiting | None:
    """What forbids a new order, before one is noted."""
    async with as_orchestrator(r.pool) as conn:
        if await vps_instances.live_instance(conn, run.tenant_id):
            return None
    return await forbidden(r)


async def forbidden(r: Resources, *, apart_from: int | None = None) -> Waiting | None:
    """What forbids to call now, over all tenants; asked again under the lock of the call: others order meanwhile.

    An order that is armed again was called before: `apart_from` keeps it from standing in its own way.
    """
    since = datetime.now(UTC) - timedelta(days=1)
    async with as_orchestrator(r.pool) as conn:
        today = await provider_orders.orders_called_since(conn, since, apart_from=apart_from)
        newest = await provider_orders.recent_outcomes(conn, SERVER, CIRCUIT, apart_from=apart_from)
    if today >= (most := r.terms.orders_per_day):
        return Waiting("provider", f"{today} servers were ordered in 24 hours, the limit is {most}", timedelta(hours=1))
    if circuit_open(tuple(newest)):
        return Waiting(
            "operator",
            "the last two purchases were never seen again at the provider: ordering stops until an operator has settled"
            " them (python -m flows orders list)",
        )
    return None


async def noted_order(r: Resources, run: Run) -> tuple[Instance, Order]:
    """The intent, committed before anything is asked for: the same two rows on every try."""
    terms = r.terms
    async with as_orchestrator(r.pool) as conn:
        region = await wanted_region(conn, run) or terms.region
        await vps_instances.decide_alone(conn, run.tenant_id)
        instance = await vps_instances.live_instance(conn, run.tenant_id)
        if instance is None:
            token = server_token(
                terms.environment, run.tenant_id, datetime.now(UTC), secrets.token_bytes(ENTROPY_BYTES)
            )
            instance = await vps_instances.request_instance(
                conn,
                tenant_id=run.tenant_id,
                token=token,
                region=region,
                monthly_cost=terms.monthly_cost,
            )
        order = await provider_orders.note_intent(
            conn, tenant_id=run.tenant_id, run_id=run.id, vps_instance_id=instance.id, kind=SERVER,
            token=instance.token, expected_amount=terms.monthly_cost,
            spec={"plan": terms.plan, "image": terms.image, "region": region, "cycle": terms.billing_cycle},
        )  # fmt: skip
    return instance, order


async def wanted_region(conn: Connection, run: Run) -> str | None:
    """Where the order was admitted for; None where the tenant has no wish."""
    steps = {row.step_key: row for row in await provisioning_steps.list_steps(conn, run.id)}
    return steps["admit"].output.get("region") if "admit" in steps else None


async def order_once(r: Resources, run: Run, order: Order) -> Outcome:
    """Claim the intent and call once; what the answer means is settled by looking."""
    async with one_change_at_a_time():
        if refusal := await forbidden(r, apart_from=order.id):
            return refusal
        async with as_orchestrator(r.pool) as conn:
            claimed = await provider_orders.claim(conn, order.token, SERVER, claimed_by=actor(run))
        if claimed is None:
            return Waiting("provider", f"another process is ordering {order.token}", MINUTE)
        try:
            accepted = await r.vps.create_server(spec_of(order, r.terms.ssh_key_names), order.token)
        except Unavailable as error:
            await mark(r, order, OrderState.INTENDED, reason=str(error))
            return Waiting("provider", f"nothing was ordered: {error}", MINUTE)
        except Unconfirmed as error:
            await mark(r, order, OrderState.UNCONFIRMED, reason=str(error))
        except Rejected as error:
            await mark(r, order, OrderState.REJECTED, reason=str(error))
            return Waiting(
                "operator",
                f"the order was refused and nothing was bought: {error}; mend the cause, then:"
                f" python -m flows orders decide {order.token} not_created && python -m flows retry {run.id}",
            )
        else:
            state = OrderState.ACCEPTED if accepted.complete else OrderState.UNCONFIRMED
            await mark(r, order, state, evidence={"reply": list(accepted.evidence)})
    return await reconcile(r, run, order)


def spec_of(order: Order, ssh_key_names: tuple[str, ...]) -> ServerSpec:
    """The noted intent as the provider's own words."""
    spec = order.spec
    return ServerSpec(
        plan=spec["plan"], image=spec["image"], region=spec["region"], billing_cycle=spec["cycle"],
        ssh_key_names=ssh_key_names,
    )  # fmt: skip


async def reconcile(r: Resources, run: Run, order: Order) -> Outcome:
    """Look for the server until it shows or its window ends; a call that may be lost is never repeated."""
    if order.state == OrderState.CALLING:  # its process is dead, for we hold the run: the call may have gone out
        await mark(r, order, OrderState.UNCONFIRMED, reason="the process that called was killed")
    async with as_orchestrator(r.pool) as conn:
        order = await provider_orders.get_order(conn, SERVER, order.token) or order
    until = (order.called_at or order.created_at) + r.terms.listed_within
    async for _ in patient_looks(r.terms):
        if found := await r.vps.find_by_token(order.token):
            return await adopt(r, run, order, found)
        if datetime.now(UTC) >= until:
            break
    if datetime.now(UTC) < until:
        return Waiting("provider", f"{order.token} is ordered and not yet in the provider's list", MINUTE)
    await mark(r, order, OrderState.NEEDS_OPERATOR, reason=order.reason or "never seen in the provider's list")
    return Waiting("operator", operator_sentence(order))


async def adopt(r: Resources, run: Run, order: Order, found: list[Server]) -> Outcome:
    """Take the one server that carries our token as ours."""
    if len(found) > 1:
        ids = ", ".join(server.provider_id for server in found)
        await mark(r, order, OrderState.NEEDS_OPERATOR, reason=f"servers {ids} all carry the token")
        return Waiting(
            "operator",
            f"servers {ids} all carry {order.token}: each costs money; keep one:"
            f" python -m flows orders decide {order.token} adopt --server ID",
        )
    (server,) = found
    async with as_orchestrator(r.pool) as conn:
        await provider_orders.mark(
            conn, order.id, state=OrderState.FULFILLED, from_states=allowed_from(OrderState.FULFILLED),
            external_ref=server.provider_id, reason=None, evidence={}, next_look_at=None,
        )  # fmt: skip
        await take(conn, order, server.provider_id, actor=actor(run), flow_run_id=run.flow_run_id)
    return Done({"token": order.token, "provider_id": server.provider_id})


async def done(r: Resources, run: Run, instance: Instance, order: Order) -> Outcome:
    """The order is behind us; a server that was linked and left `requested` is brought up to it."""
    if instance.status == InstanceStatus.REQUESTED and order.external_ref:
        async with as_orchestrator(r.pool) as conn:
            await take(conn, order, order.external_ref, actor=actor(run), flow_run_id=run.flow_run_id)
    return Done({"token": order.token, "provider_id": instance.provider_id})


async def mark(
    r: Resources,
    order: Order,
    state: OrderState,
    *,
    reason: str | None = None,
    evidence: dict[str, object] | None = None,
) -> None:
    """Write what is known of an order now."""
    async with as_orchestrator(r.pool) as conn:
        await provider_orders.mark(
            conn, order.id, state=state, from_states=allowed_from(state), evidence=evidence or {}, external_ref=None,
            reason=reason, next_look_at=datetime.now(UTC) + timedelta(hours=1),
        )  # fmt: skip


def operator_sentence(order: Order) -> str:
    """What a person has to settle, where to look, and the three ways out."""
    if order.state == OrderState.ABANDONED:
        return (
            f"order {order.token} was given up by {order.decided_by}; to have a server after all:"
            f" python -m flows orders decide {order.token} not_created | adopt --server ID"
        )
    called = f"called at {order.called_at:%Y-%m-%d %H:%M:%S} UTC" if order.called_at else "not called"
    return (
        f"order {order.token} ({called}) is not confirmed: {order.reason or order.state}. Look for that label in the"
        " panel's server list and API request log, then: python -m flows orders decide"
        f" {order.token} adopt --server ID | not_created | abandon"
    )
