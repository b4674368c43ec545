"""staff: the platform's operators, their roles, and the verbs a role permits."""

from typing import Annotated

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.resources import Resources, resources
from sql import ids, infrastructure_events, staff, tenants
from sql.session import Connection, as_orchestrator

app = typer.Typer(no_args_is_help=True, help="The platform's operators: who they are and what their roles permit.")

FIRST_ROLE = "admin"
Email = Annotated[str, typer.Argument(help="e-mail address, as --as names a person")]
RoleName = Annotated[str, typer.Argument(metavar="ROLE", help="a role, as `staff list` shows it")]


@app.command()
@changes("staff.change")
def platform(name: Annotated[str, typer.Argument(help="what the platform's own tenant is called")]) -> None:
    """Make the platform's own tenant, once, and print the setting that names it."""
    run(_platform(name))


async def _platform(name: str) -> None:
    async with resources() as r:
        named = r.settings.staff.platform_tenant
        async with as_orchestrator(r.pool) as conn:
            if named and await ids.tenant_pk(conn, named) is not None:
                stop(Exit.REJECTED, f"staff.platform_tenant is {named} already")
            made = await tenants.add_tenant(conn, name)
    out.print(f"PENGUINMAILS_STAFF__PLATFORM_TENANT={made}", markup=False)


@app.command()
@changes("staff.change")
def add(
    email: Email,
    name: Annotated[str, typer.Option(help="what they are called; the address when not said")] = "",
    role: Annotated[str, typer.Option(help="first role; `admin` permits everything")] = FIRST_ROLE,
) -> None:
    """Put a person on the staff, or back on it, with a role."""
    run(_add(email, name, role))


async def _add(email: str, name: str, role: str) -> None:
    async with resources() as r:
        tenant = await platform_of(r)
        async with as_orchestrator(r.pool) as conn:
            await staff.decide_alone(conn, tenant)
            key = await staff.role_key(conn, tenant, role)
            if key is None and role == FIRST_ROLE:
                key = await staff.add_role(conn, tenant_id=tenant, name=role, verbs=[staff.EVERYTHING])
            member = await staff.add_member(conn, tenant_id=tenant, name=name or email, email=email)
            await staff.assign(conn, tenant_id=tenant, member_id=member, role_id=known(key, role))
            await told(conn, tenant, "staff_added", f"{email} as {role}")
    out.print(f"{email} is on the staff as {role}", markup=False)


@app.command()
@changes("staff.change")
def role(
    name: Annotated[str, typer.Argument(help="e.g. support")],
    verbs: Annotated[list[str], typer.Argument(help="e.g. run.retry job.* ; * is everything")],
) -> None:
    """Make a role, or give it other verbs."""
    run(_role(name, verbs))


async def _role(name: str, verbs: list[str]) -> None:
    async with resources() as r:
        tenant = await platform_of(r)
        async with as_orchestrator(r.pool) as conn:
            await staff.decide_alone(conn, tenant)
            await staff.add_role(conn, tenant_id=tenant, name=name, verbs=verbs)
            await told(conn, tenant, "staff_role_set", f"{name}: {' '.join(verbs)}")
    out.print(f"{name}: {' '.join(verbs)}", markup=False)


@app.command()
@changes("staff.change")
def grant(email: Email, role: RoleName) -> None:
    """Give a member one more role."""
    run(_assign(email, role, give=True))


@app.command()
@changes("staff.change")
def revoke(email: Email, role: RoleName) -> None:
    """Take a role back; refused when nobody could change the staff any more."""
    run(_assign(email, role, give=False))


async def _assign(email: str, role: str, *, give: bool) -> None:
    async with resources() as r:
        tenant = await platform_of(r)
        async with as_orchestrator(r.pool) as conn:
            await staff.decide_alone(conn, tenant)
            member = next((m.id for m in await staff.list_staff(conn, tenant) if m.email == email.lower()), None)
            if member is None:
                stop(Exit.REJECTED, f"{email} is not on the staff")
            key = known(await staff.role_key(conn, tenant, role), role)
            if give:
                await staff.assign(conn, tenant_id=tenant, member_id=member, role_id=key)
            else:
                await staff.revoke(conn, tenant_id=tenant, member_id=member, role_id=key)
            await told(conn, tenant, "staff_role_given" if give else "staff_role_taken", f"{email}: {role}")
    out.print(f"{email}: {role} {'given' if give else 'taken back'}", markup=False)


@app.command()
@changes("staff.change")
def leave(email: Email) -> None:
    """A person is on the staff no longer; what they did stays theirs."""
    run(_leave(email))


async def _leave(email: str) -> None:
    async with resources() as r:
        tenant = await platform_of(r)
        async with as_orchestrator(r.pool) as conn:
            await staff.decide_alone(conn, tenant)
            if not await staff.leave(conn, tenant_id=tenant, email=email):
                stop(Exit.REJECTED, f"{email} is not on the staff")
            await told(conn, tenant, "staff_left", email)
    out.print(f"{email} is on the staff no longer", markup=False)


@app.command("list")
def list_staff(as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False) -> None:
    """Everybody who is or was on the staff, and the roles there are."""
    run(_list(as_json=as_json))


async def _list(*, as_json: bool) -> None:
    async with resources() as r:
        tenant = await platform_of(r)
        async with as_orchestrator(r.pool) as conn:
            people, roles = await staff.list_staff(conn, tenant), await staff.list_roles(conn, tenant)
    if as_json:
        say_json({"staff": [{"email": m.email, "name": m.name, "active": m.is_active, "roles": m.roles}
                            for m in people], "roles": dict(roles)})  # fmt: skip
        return
    show_table("staff", ("email", "name", "", "roles"),
               [(m.email, m.name, "" if m.is_active else "left", ", ".join(m.roles)) for m in people])  # fmt: skip
    show_table("roles", ("role", "verbs"), [(name, " ".join(verbs)) for name, verbs in roles])


async def platform_of(r: Resources) -> int:
    """The key of the platform's own tenant; ends the command when no setting names it."""
    named = r.settings.staff.platform_tenant
    if named is None:
        stop(Exit.USAGE, "staff.platform_tenant is not set: python -m flows staff platform NAME makes the tenant")
    async with as_orchestrator(r.pool) as conn:
        found = await ids.tenant_pk(conn, named)
    if found is None:
        stop(Exit.USAGE, f"staff.platform_tenant {named} is no tenant of this database")
    return found


def known(role_key: int | None, name: str) -> int:
    """The key of a role that is there; ends the command otherwise."""
    if role_key is None:
        stop(Exit.REJECTED, f"no role is called {name!r}: python -m flows staff role {name} VERB … makes it")
    return role_key


async def told(conn: Connection, tenant: int, event: str, what: str) -> None:
    """One line of the trail, in the transaction of the change; refuses what would lock everybody out."""
    if await staff.list_staff(conn, tenant) and not await staff.keepers(conn, tenant):
        stop(Exit.REJECTED, "nobody could change the staff any more: give somebody a role with staff.* first")
    await infrastructure_events.record_event(
        conn, tenant_id=tenant, subject_type="tenant", subject_id=tenant, event=event, actor=actor(), reason=what
    )
