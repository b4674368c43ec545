"""suppressions: whom a tenant must not write to."""

from datetime import datetime
from typing import Annotated, cast, get_args

import typer

from flows.commands.campaigns import At, noted
from flows.commands.permission import changes
from flows.commands.status import AsJson, TenantWord, known_tenant
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.resources import resources
from sql import leads, suppressions
from sql.session import as_tenant
from sql.suppressions import Reason, Scope

app = typer.Typer(no_args_is_help=True, help="Addresses and domains that a tenant must not write to.")

Value = Annotated[str, typer.Argument(metavar="ADDRESS_OR_DOMAIN", help="a domain stands for all addresses at it")]


@app.command("list")
def list_suppressions(
    tenant: TenantWord,
    limit: Annotated[int, typer.Option(min=1, help="at most so many, the newest")] = 100,
    as_json: AsJson = False,
) -> None:
    """What stands now, why and until when."""
    run(_list(tenant, limit, as_json=as_json))


async def _list(word: str, limit: int, *, as_json: bool) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            found = await suppressions.list_suppressions(conn, tenant.id, limit)
    fields = ("value", "reason", "created_at", "expires_at")
    if as_json:
        say_json([{name: getattr(one, name) for name in ("scope", *fields)} for one in found])
        return
    show_table("suppressions", fields, [tuple(getattr(one, name) or "-" for name in fields) for one in found])


@app.command()
@changes("suppression.add")
def add(
    tenant: TenantWord,
    value: Value,
    reason: Annotated[str, typer.Option(help=", ".join(get_args(Reason)))] = "manual",
    until: At = None,
) -> None:
    """Write to it no more: queued messages are taken back, imports and campaigns leave it out. Safe to repeat."""
    if reason not in get_args(Reason):
        stop(Exit.USAGE, f"--reason is one of {', '.join(get_args(Reason))}")
    run(_add(tenant, value, cast("Reason", reason), until))


async def _add(word: str, value: str, reason: Reason, until: datetime | None) -> None:
    scope, value = meant(value)
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            taken_back = await suppressions.suppress(
                conn, tenant_id=tenant.id, scope=scope, value=value, reason=reason, until=until
            )
        await noted(r, tenant, "suppression_added", {"scope": scope, "reason": reason})
    out.print(f"{value} is suppressed; {taken_back} queued messages taken back", markup=False)


@app.command()
@changes("suppression.lift")
def lift(tenant: TenantWord, value: Value) -> None:
    """Take an entry out again; what a recipient asked for (complaint, unsubscribe) stays."""
    run(_lift(tenant, value))


async def _lift(word: str, value: str) -> None:
    scope, value = meant(value)
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            reason = await suppressions.lift(conn, tenant_id=tenant.id, scope=scope, value=value)
        if reason is None:
            stop(Exit.REJECTED, f"{value} is not suppressed")
        if reason in suppressions.ASKED_FOR:
            stop(Exit.REJECTED, f"{value} stays suppressed: {reason} is the recipient's own word")
        await noted(r, tenant, "suppression_lifted", {"scope": scope, "reason": reason})
    out.print(f"{value} may be written to again", markup=False)


def meant(value: str) -> tuple[Scope, str]:
    """Address or domain, in lower case; ends the command when it is neither."""
    value = value.strip().lower()
    scope: Scope = "address" if "@" in value else "domain"
    if leads.ADDRESS.fullmatch(value if scope == "address" else f"somebody@{value}") is None:
        stop(Exit.USAGE, f"{value!r} is neither an address nor a domain")
    return scope, value
