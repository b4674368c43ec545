"""leads: a tenant's list of people to write to."""

import csv
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from flows.commands.permission import changes
from flows.commands.terminal import Exit, out, run, stop
from flows.resources import resources
from sql import leads, tenants
from sql.leads import BadHeading, Imported
from sql.session import as_orchestrator, as_tenant

app = typer.Typer(no_args_is_help=True, help="A tenant's leads.")


@app.command("import")
@changes("leads.import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV; its first line names the columns, `email` among them")],
    tenant: Annotated[UUID, typer.Option(help="tenants.tenant_id")],
    rejects: Annotated[Path | None, typer.Option(help="CSV to write the refused lines into, each with why")] = None,
) -> None:
    """Take in a CSV file, all good lines or none; the suppressed and the known are left out, rubbish is counted."""
    if not file.is_file():
        stop(Exit.USAGE, f"{file} is no file")
    done = run(_import(file, tenant))
    if rejects is not None:
        write_rejects(done, rejects)
    out.print(f"{done.read} lines: {done.added} added, {done.known} known, {done.suppressed} suppressed, "
              f"{len(done.rejects)} refused", markup=False)  # fmt: skip
    for reason, times in sorted(done.reasons.items()):
        out.print(f"refused {times}: {reason}", markup=False)


async def _import(file: Path, tenant: UUID) -> Imported:
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            known = await tenants.get_tenant(conn, tenant)
        if known is None:
            stop(Exit.REJECTED, f"no tenant {tenant}")
        # What is no UTF-8 is told line by line, not as one failure of the file.
        with file.open(encoding="utf-8", errors="surrogateescape") as lines:
            try:
                async with as_tenant(r.pool, tenant) as conn:
                    return await leads.import_leads(conn, tenant_id=known.id, lines=lines)
            except BadHeading as bad:
                stop(Exit.REJECTED, str(bad))


def write_rejects(done: Imported, to: Path) -> None:
    """Line number, reason and text of each refused line."""
    with to.open("w", newline="", encoding="utf-8", errors="replace") as sink:
        rows = csv.writer(sink)
        rows.writerow(("line", "reason", "text"))
        rows.writerows((one.line, one.reason, one.text) for one in done.rejects)
