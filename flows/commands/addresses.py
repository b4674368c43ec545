"""addresses: what a server was seen with, how the blocklists judge it, and a person's word on what is not known."""

from ipaddress import AddressValueError, IPv4Address
from typing import Annotated

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.status import known_tenant
from flows.commands.terminal import Exit, out, run, show_table, stop
from flows.resources import resources
from sql import address_screenings, infrastructure_events
from sql.address_screenings import Screening
from sql.session import as_orchestrator

COLUMNS = ("address", "verdict", "at", "accepted by", "usable", "found or lacking")

app = typer.Typer(no_args_is_help=True, help="Addresses before they are used: screened against blocklists.")


@app.command("list")
def list_addresses(
    tenant: Annotated[str | None, typer.Option(help="only this tenant's: name, domain or tenants.tenant_id")] = None,
) -> None:
    """Every address that was screened, with its verdict."""
    run(_list(tenant))


async def _list(word: str | None) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word) if word else None
        async with as_orchestrator(r.pool) as conn:
            rows = await address_screenings.list_screenings(conn, tenant.id if tenant else None)
    show_table("screened addresses", COLUMNS, [columns(row) for row in rows])


def columns(row: Screening) -> tuple[str, ...]:
    """One line of the table."""
    usable, why = "yes" if row.usable else "no", ", ".join(row.found) or row.fix or "-"
    return str(row.ip_address), row.verdict, str(row.screened_at), row.accepted_by or "-", usable, why


@app.command()
@changes("address.accept")
def accept(
    address: Annotated[str, typer.Argument(help="an IPv4 address whose standing is not known")],
    tenant: Annotated[str, typer.Option(help="whose server it belongs to: name, domain or tenants.tenant_id")],
) -> None:
    """Use an address although it is not known whether it is listed. A listed one is never accepted."""
    run(_accept(address, tenant))


async def _accept(text: str, word: str) -> None:
    try:
        address = IPv4Address(text)
    except AddressValueError:
        stop(Exit.USAGE, f"{text} is no IPv4 address")
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_orchestrator(r.pool) as conn:
            done = await address_screenings.accept(conn, tenant_id=tenant.id, ip_address=address, by=actor())
            if done:
                await infrastructure_events.record_event(
                    conn, tenant_id=tenant.id, subject_type="ip", subject_id=str(address), event="address_accepted",
                    reason="its standing at blocklists is not known", actor=actor(),
                )  # fmt: skip
    if not done:
        stop(
            Exit.REJECTED,
            f"{address} is not an address of {tenant.name} whose standing is unknown: python -m flows addresses list",
        )
    out.print(f"{address}: accepted; its run goes on within ten minutes, or now: python -m flows onboard {tenant.name}",
              markup=False)  # fmt: skip
