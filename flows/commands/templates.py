"""templates: what a tenant's campaigns say."""

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from flows.commands.campaigns import noted
from flows.commands.permission import changes
from flows.commands.status import AsJson, TenantWord, known_tenant
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.resources import resources
from sql import templates
from sql.session import as_tenant

app = typer.Typer(no_args_is_help=True, help="Templates of a tenant's campaigns.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="the tenant's own name for it")]


@app.command("list")
def list_templates(tenant: TenantWord, as_json: AsJson = False) -> None:
    """A tenant's templates; one that is retired begins no new campaign."""
    run(_list(tenant, as_json=as_json))


async def _list(word: str, *, as_json: bool) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            found = await templates.list_templates(conn, tenant.id)
    if as_json:
        fields = ("id", "name", "subject", "content", "variables", "is_active", "updated_at")
        say_json([{name: getattr(one, name) for name in fields} for one in found])
        return
    show_table(
        "templates", ("name", "subject", ""),
        [(one.name, one.subject or "-", "" if one.is_active else "retired") for one in found],
    )  # fmt: skip


@app.command()
@changes("template.put")
def put(
    tenant: TenantWord,
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="its text, UTF-8")],
    subject: Annotated[str, typer.Option(help="the messages' subject")],
    variables: Annotated[
        str, typer.Option(help="JSON object: what the text's variables are when a lead has none")
    ] = "{}",
) -> None:
    """Make a template, or give it another text; messages that are queued keep their subject."""
    if not file.is_file():
        stop(Exit.USAGE, f"{file} is no file")
    run(_put(tenant, name, file.read_text(encoding="utf-8"), subject, as_object(variables)))


async def _put(word: str, name: str, content: str, subject: str, variables: dict[str, Any]) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            key = await templates.put_template(
                conn, tenant_id=tenant.id, name=name, subject=subject, content=content, variables=variables
            )
        await noted(r, tenant, "template_put", {"template": key, "name": name})
    out.print(f"template {name}: {len(content)} characters", markup=False)


@app.command()
@changes("template.retire")
def retire(tenant: TenantWord, name: Name) -> None:
    """Let no new campaign begin with a template; those that have it keep it."""
    run(_retire(tenant, name))


async def _retire(word: str, name: str) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            retired = await templates.retire_template(conn, tenant.id, name)
        if not retired:
            stop(Exit.REJECTED, f"{tenant.name} has no template {name!r} in use")
        await noted(r, tenant, "template_retired", {"name": name})
    out.print(f"template {name}: retired", markup=False)


def as_object(words: str) -> dict[str, Any]:
    """A JSON object; ends the command otherwise."""
    try:
        value = json.loads(words)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        stop(Exit.USAGE, f"{words[:60]!r} is no JSON object")
    return cast("dict[str, Any]", value)
