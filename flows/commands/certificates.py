"""certificates: which host shows which, until when, and what a renewal waits for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.permission import changes
from flows.commands.server import ensure_server
from flows.commands.terminal import Exit, out, run, show_table, stop
from flows.onboarding.desired import CERTIFICATE
from flows.resources import resources
from providers.keys import certificate_facts
from sql import acme_orders, certificates
from sql.acme_orders import AcmeOrder
from sql.session import as_orchestrator

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State  # slow to import

app = typer.Typer(no_args_is_help=True, help="Certificates of the hosts: when they end, and their renewal.")


@app.command("list")
def list_certificates() -> None:
    """Every host's certificate, the one that ends first on top."""
    run(_list())


async def _list() -> None:
    async with resources() as r, as_orchestrator(r.pool) as conn:
        shown = await certificates.list_shown(conn)
        orders = {one.instance.id: await acme_orders.last_order(conn, one.instance.id) for one in shown}
    facts = [certificate_facts(str(one.instance.configuration[CERTIFICATE]).encode()) for one in shown]
    rows = [
        (
            one.instance.hostname or one.instance.token,
            ", ".join(certificate.names),
            certificate.issuer,
            one.ends_at or "-",
            one.due_at or "at once",
            words(orders[one.instance.id]),
        )
        for one, certificate in zip(shown, facts, strict=True)
    ]
    show_table("certificates", ("host", "names", "issuer", "ends", "looked at again", "last order"), rows)


def words(order: AcmeOrder | None) -> str:
    """How the last order at the authority ended, with the authority's words where it refused."""
    if order is None:
        return "-"
    return "; ".join((order.state, *(f"{one['kind']}: {one['detail']}" for one in order.problems)))


@app.command()
@changes("certificate.renew")
def renew(
    host: Annotated[
        str, typer.Argument(help="host name or server token, looked at due or not; none: what is due")
    ] = "",
) -> None:
    """Renew what is in the last third of its life now, instead of within the hour."""
    run(_renew(host))


async def _renew(host: str) -> None:
    from flows.certificates.renewing import renew_certificates  # noqa: PLC0415  Prefect's flows take a second to import

    await ensure_server()
    async with resources() as r, as_orchestrator(r.pool) as conn:
        known = await certificates.look_now(conn, host)  # of no host as well: a database that is away is said here
    if host and not known:
        stop(Exit.REJECTED, f"no host {host} with a certificate; python -m flows certificates list shows them")
    state: State[None] = await ended(renew_certificates)
    out.print(str(state.message), markup=False)
    if not state.is_completed():
        raise typer.Exit(Exit.FAILED)


async def ended(flow: Any) -> "State[None]":
    """How a flow ended; `return_state` is Prefect's own parameter, which its types lose for coroutines."""
    return await flow(return_state=True)
