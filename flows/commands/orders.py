"""orders: purchases that wait for a person, and the person's word."""

from typing import Annotated, cast, get_args

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.terminal import Exit, out, run, show_table, stop
from flows.resources import resources
from providers.errors import NotFound
from sql import provider_orders, vps_instances
from sql.session import as_orchestrator

app = typer.Typer(no_args_is_help=True, help="Purchases at the VPS provider: what is open, and an operator's decision.")

UNSETTLED = ("intended", "calling", "accepted", "unconfirmed", "rejected", "needs_operator")


@app.command("list")
def list_orders() -> None:
    """Orders that are not settled."""
    run(_list())


async def _list() -> None:
    async with resources() as r, as_orchestrator(r.pool) as conn:
        found = await provider_orders.list_orders(conn, states=UNSETTLED)
    show_table(
        "open orders",
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
    confirm: Annotated[str | None, typer.Option(help="with not_created: the token again, typed")] = None,
) -> None:
    """Settle an order: take a server as ours, say that none was made, or give it up."""
    run(_decide(token, decision, server, confirm))


async def _decide(token: str, decision: str, server: str | None, confirm: str | None) -> None:
    if decision not in get_args(provider_orders.Decision):
        stop(Exit.USAGE, f"no decision {decision!r}: it is one of {', '.join(get_args(provider_orders.Decision))}")
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
            try:
                await r.vps.get_server(server)
            except NotFound:
                stop(Exit.REJECTED, f"no server {server} in our account: the panel shows the ids there are")
        async with as_orchestrator(r.pool) as conn:
            settled = await provider_orders.decide(
                conn,
                order.id,
                decision=cast("provider_orders.Decision", decision),
                actor=actor(),
                external_ref=server,
            )
            if settled and server:
                await vps_instances.link_provider(conn, order.vps_instance_id, server)
    if not settled:
        stop(Exit.REJECTED, f"order {token} is {order.state}: it needs no decision")
    out.print(f"{token}: {decision}; now: python -m flows retry {order.run_id}", markup=False)
