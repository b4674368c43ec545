"""secret: put a credential into the sealed store, from standard input."""

import sys
from typing import Annotated

import typer
from pydantic import SecretStr

from flows import vault
from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.status import known_tenant
from flows.commands.terminal import Exit, out, run, stop
from flows.resources import resources
from sql import infrastructure_events
from sql.session import as_orchestrator

app = typer.Typer(no_args_is_help=True, help="Credentials: they enter sealed and are never shown again.")


@app.command()
@changes("secret.put")
def put(
    path: Annotated[str, typer.Argument(help="e.g. dns/acme.example")],
    tenant: Annotated[str | None, typer.Option(help="whose it is; without it the platform's")] = None,
    purpose: Annotated[str, typer.Option(help="what it is for, as the table knows it")] = "dns_host_credential",
) -> None:
    """Seal what standard input holds under a path, and print the id of its row."""
    value = sys.stdin.read().strip()
    if not value:
        stop(Exit.USAGE, "standard input is empty: echo the secret into this command")
    run(_put(path, tenant, purpose, SecretStr(value)))


async def _put(path: str, word: str | None, purpose: str, value: SecretStr) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word) if word else None
        async with as_orchestrator(r.pool) as conn:
            row = await vault.store(
                r, conn, tenant_id=tenant.id if tenant else None, purpose=purpose, path=path, secret=value
            )
            if tenant:  # the trail is a tenant's; of the platform's own secrets the row tells when it changed
                await infrastructure_events.record_event(
                    conn, tenant_id=tenant.id, subject_type="secret", subject_id=path, event="secret_put", actor=actor()
                )
    out.print(str(row), markup=False)
