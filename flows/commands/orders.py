"""orders: purchases that wait for a person, and the person's word."""

from typing import Annotated, cast, get_args

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.terminal import Exit, out, run, show_table, stop
from flows.onboarding.taking import take
from flows.policy.orders import is_server_token
from flows.resources import Resources, resources
from providers.errors import NotFound
from sql import provider_orders
from sql.provider_orders import Order
from sql.session import AlreadyExists, as_orchestrator

app = typer.Typer(no_args_is_help=True, help="Purchases at the VPS provider: what is open, and an operator's decision.")

UNSETTLED = ("intended", "calling", "accepted", "unconfirmed", "rejected", "needs_operator")
GIVEN_UP = ("abandoned",)


@app.command("list")
def list_orders(
    abandoned: Annotated[bool, typer.Option("--abandoned", help="those that were given up instead")] = False,
) -> None:
    """Orders that are not settled."""
    run(_list(GIVEN_UP if abandoned else UNSETTLED))


async def _list(states: tuple[str, ...]) -> None:
    async with resources() as r, as_orchestrator(r.pool) as conn:
        found = await provider_orders.list_orders(conn, states=states)
    show_table(
        "orders",
        ("token", "kind", "state", "called", "expected", "reason"),
        [
            (o.token, o.kind, o.state, o.called_at or "-", f"{o.expected_amount} {o.currency}", o.reason or "-")
            for o in found
        ],
    )


@app.command()
@changes("order.decide")
def decide(
    token: Annotated[str, typer.Argument(help="the order's token, as the panel shows it as a label")],
    decision: Annotated[str, typer.Argument(help="adopt, not_created or abandon")],
    server: Annotated[str | None, typer.Option(help="with adopt: the provider's id of the server to keep")] = None,
    confirm: Annotated[
        str | None,
        typer.Option(help="typed again: with not_created the token, with adopt of a server without it the server's id"),
    ] = None,
) -> None:
    """Settle an order: take a server as ours, say that none was made, or give it up."""
    run(_decide(token, decision, server, confirm))


async def _decide(token: str, decision: str, server: str | None, confirm: str | None) -> None:
    if decision not in get_args(provider_orders.Decision):
        stop(Exit.USAGE, f"no decision {decision!r}: it is one of {', '.join(get_args(provider_orders.Decision))}")
    if server and decision != "adopt":
        stop(Exit.USAGE, f"--server goes with adopt, not with {decision}")
    if decision == "adopt" and not server:
        stop(Exit.USAGE, "adopt needs --server, the provider's id as the panel shows it")
    if decision == "not_created" and (confirm or typer.prompt("type the token again to confirm")) != token:
        stop(Exit.USAGE, "the confirmation is not the token: nothing was decided")
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            order = await provider_orders.get_order(conn, "server", token)
            order = order or await provider_orders.get_order(conn, "address", token)
        if order is None:
            stop(Exit.REJECTED, f"no order {token}")
        if server and order.kind == "address":
            stop(Exit.USAGE, f"{token} is the order of an address: one that shows is taken by itself")
        if server:
            await see_that_it_is_meant(r, order, server, confirm)
        settled = await settle(r, order, cast("provider_orders.Decision", decision), server)
    if not settled:
        stop(Exit.REJECTED, f"order {token} is {order.state}: it needs no decision")
    out.print(f"{token}: {decision}; now: python -m flows retry {order.run_id}", markup=False)


async def see_that_it_is_meant(r: Resources, order: Order, server: str, confirm: str | None) -> None:
    """A server that bears the token is the order's; of one that bears none its id is asked for twice.

    What is adopted is made anew as a mail host: a slip of the pen must not hit a stranger.
    """
    try:
        found = await r.vps.get_server(server)
    except NotFound:
        stop(Exit.REJECTED, f"no server {server} in our account: the panel shows the ids there are")
    if found.token == order.token:
        return
    if is_server_token(found.token):
        stop(Exit.REJECTED, f"server {server} bears {found.token}, which another order asked for")
    about = f"server {server} ({found.ipv4_main or 'no address'}) is labelled {found.token!r}, not {order.token}"
    if (confirm or typer.prompt(f"{about}; type its id again to make it this order's")) != server:
        stop(Exit.USAGE, f"{about}, and the confirmation is not its id: nothing was decided")


async def settle(r: Resources, order: Order, decision: provider_orders.Decision, server: str | None) -> Order | None:
    """Write the word down, and with adopt the server; None when the order is not open to one."""
    try:
        async with as_orchestrator(r.pool) as conn:
            settled = await provider_orders.decide(
                conn, order.id, decision=decision, actor=actor(), external_ref=server
            )
            if settled and server:
                await take(conn, settled, server, actor=actor())
    except AlreadyExists:
        stop(Exit.REJECTED, f"server {server} belongs to another order: nothing was decided")
    return settled
