"""people: the users of a tenant."""

from typing import Annotated, cast, get_args
from uuid import UUID

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.status import TenantWord, known_tenant
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.resources import resources
from sql import infrastructure_events, users
from sql.session import Connection, as_orchestrator
from sql.users import LastOwner

app = typer.Typer(no_args_is_help=True, help="The people of a tenant: invite, change what they may do, deactivate.")

Email = Annotated[str, typer.Argument(help="their e-mail address")]


@app.command("list")
def list_people(
    tenant: TenantWord, as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False
) -> None:
    """Everybody in a tenant."""
    run(_list(tenant, as_json=as_json))


async def _list(word: str, *, as_json: bool) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_orchestrator(r.pool) as conn:
            found = await users.members(conn, tenant.id)
    rows = [(m.email, m.role, m.permission_level, "active" if m.is_active else "not active") for m in found]
    if as_json:
        say_json([dict(zip(("email", "role", "level", "state"), row, strict=True)) for row in rows])
        return
    show_table("people", ("email", "role", "level", ""), rows)


@app.command()
@changes("people.invite")
def invite(
    tenant: TenantWord,
    email: Email,
    role: Annotated[str, typer.Option(help="owner, admin or employee")] = "employee",
    level: Annotated[str, typer.Option(help="basic, manager, admin or owner")] = "basic",
) -> None:
    """Make a person a member; they are active once they have set a password. Safe to repeat."""
    if role not in get_args(users.Role) or level not in get_args(users.Level):
        stop(Exit.USAGE, f"--role is one of {get_args(users.Role)}, --level one of {get_args(users.Level)}")
    run(_invite(tenant, email, cast("users.Role", role), cast("users.Level", level)))


async def _invite(word: str, email: str, role: users.Role, level: users.Level) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_orchestrator(r.pool) as conn:
            user = await users.invite(conn, tenant_id=tenant.id, email=email, role=role, level=level)
            await _told(conn, tenant.id, "user_invited", f"{user} as {level}")
    out.print(f"{email} is invited to {tenant.name}", markup=False)


@app.command()
@changes("people.level")
def level(
    tenant: TenantWord, email: Email, to: Annotated[str, typer.Argument(help="basic, manager, admin, owner")]
) -> None:
    """Change what a member may do; a tenant keeps an owner."""
    if to not in get_args(users.Level):
        stop(Exit.USAGE, f"a level is one of {', '.join(get_args(users.Level))}")
    run(_level(tenant, email, cast("users.Level", to)))


async def _level(word: str, email: str, to: users.Level) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        try:
            async with as_orchestrator(r.pool) as conn:
                user = await _member(conn, tenant.id, email)
                await users.set_level(conn, tenant_id=tenant.id, user_id=user, level=to)
                await _told(conn, tenant.id, "user_level_set", f"{user}: {to}")
        except LastOwner as refused:
            stop(Exit.REJECTED, f"{refused}: make somebody else an owner first")
    out.print(f"{email}: {to}", markup=False)


@app.command()
@changes("people.deactivate")
def deactivate(tenant: TenantWord, email: Email) -> None:
    """Nobody logs in as this person any more, in any tenant; what they did stays theirs."""
    run(_deactivate(tenant, email))


async def _deactivate(word: str, email: str) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        try:
            async with as_orchestrator(r.pool) as conn:
                user = await _member(conn, tenant.id, email)
                await users.deactivate(conn, user)
                await _told(conn, tenant.id, "user_deactivated", str(user))
        except LastOwner as refused:
            stop(Exit.REJECTED, f"{refused}: make somebody else an owner first")
    out.print(f"{email} is deactivated", markup=False)


async def _member(conn: Connection, tenant_id: int, email: str) -> UUID:
    found = [m.user_id for m in await users.members(conn, tenant_id) if m.email == email.strip().lower()]
    if not found:
        stop(Exit.REJECTED, f"{email} is no member: python -m flows people list shows who is")
    return found[0]


async def _told(conn: Connection, tenant_id: int, event: str, what: str) -> None:
    await infrastructure_events.record_event(
        conn, tenant_id=tenant_id, subject_type="tenant", subject_id=tenant_id, event=event, actor=actor(), reason=what
    )
