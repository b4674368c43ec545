"""status: where runs stand, what is waited for, and the line that ends the wait; watched for as long as it takes."""

import asyncio
from typing import Annotated, Any

import typer

from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.resources import Resources, resources
from sql import delivery_proofs, provisioning, provisioning_steps, tenants
from sql.provisioning import Run
from sql.provisioning_steps import Step
from sql.session import as_orchestrator
from sql.tenants import Tenant

MARKS = {
    "succeeded": "✓", "running": "…", "waiting": "⧗", "failed": "✗", "unconfirmed": "?", "pending": " ", "skipped": "-",
}  # fmt: skip
FINAL = frozenset({"succeeded", "cancelled", "rejected", "failed"})
SHOWN = 50  # open runs for people; those that call for a person come first

TenantWord = Annotated[str, typer.Argument(help="tenants.tenant_id, or a domain or name only one tenant has")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]


def status(
    tenant: Annotated[str | None, typer.Argument(help="one tenant; without it all runs that are not finished")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="look again and again; with a tenant until its end")] = False,
    every: Annotated[float, typer.Option(help="with --watch: seconds between looks")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Where a tenant's run stands: steps, what is waited for, and the line that ends the wait."""
    if watch and as_json:
        stop(Exit.USAGE, "--watch prints for people: take --json without it")
    run(_watched(tenant, every) if watch else _status(tenant, as_json=as_json))


async def _status(word: str | None, *, as_json: bool) -> None:
    async with resources() as r:
        chosen = await known_tenant(r, word) if word else None
        runs = await chosen_runs(r, chosen)
        documents = [await described(r, item) for item in (runs if as_json else runs[:SHOWN])]
    if as_json:
        say_json(documents[0] if chosen and documents else documents)
        return
    if not documents:
        out.print("no run" if chosen else "no open run")
    for document in documents:
        print_run(document)
    print_rest(runs)


async def _watched(word: str | None, every: float) -> None:
    """On a terminal the picture is drawn anew; in a pipe each change is one line."""
    told: set[tuple[str, ...]] = set()
    async with resources() as r:
        chosen = await known_tenant(r, word) if word else None
        while True:
            runs = await chosen_runs(r, chosen)
            documents = [await described(r, item) for item in (runs[:SHOWN] if out.is_terminal else runs)]
            if out.is_terminal:
                out.clear()
                for document in documents:
                    print_run(document)
                print_rest(runs)
            else:
                tell_changes(documents, told)
            if chosen and documents and documents[0]["status"] in FINAL:
                return
            await asyncio.sleep(every)


def tell_changes(documents: list[dict[str, Any]], told: set[tuple[str, ...]]) -> None:
    """What was not said before: a run's status with its reason, and each step that ended."""
    for document in documents:
        ended = [row for row in document["steps"] if row["status"] not in {"pending", "running"}]
        lines = [(document["run"], row["step"], row["status"], row["seconds"]) for row in ended]
        for line in (*lines, (document["run"], document["status"], document["detail"] or "")):
            if line not in told:
                told.add(line)
                typer.echo("\t".join((document["tenant_name"] or "", *line[1:])))  # rich would expand tabs


async def chosen_runs(r: Resources, chosen: Tenant | None) -> list[Run]:
    """The tenant's newest run; or every run that is not finished, those that call for a person first."""
    async with as_orchestrator(r.pool) as conn:
        if chosen is not None:
            return await provisioning.list_runs(conn, chosen.id, limit=1)
        runs = await provisioning.open_runs(conn)
    return sorted(runs, key=lambda item: item.status != "failed" and item.wait_reason != "operator")


def print_rest(runs: list[Run]) -> None:
    """What is too much to read is counted."""
    if (more := len(runs) - SHOWN) > 0:
        out.print(f"and {more} more open runs: python -m flows status --json has all", markup=False)


async def described(r: Resources, item: Run) -> dict[str, Any]:
    """A run as an operator wants it: where it stands, why, and what was proven."""
    async with as_orchestrator(r.pool) as conn:
        tenant = await tenants.get_tenant_by_id(conn, item.tenant_id)
        steps = await provisioning_steps.list_steps(conn, item.id)
        proofs = await delivery_proofs.standing_of_paths(conn, item.tenant_id)
    return {
        "run": str(item.id),
        "tenant": str(tenant.tenant_id) if tenant else None,
        "tenant_name": tenant.name if tenant else None,
        "status": f"waiting_for_{item.wait_reason}" if item.status == "waiting" else item.status,
        "detail": item.wait_detail or item.last_error_message,
        "resume_at": item.resume_at,
        "deadline_at": item.deadline_at,
        "starts": item.starts,
        "steps": [
            {"step": row.step_key, "status": row.status, "seconds": seconds(row), "output": row.output} for row in steps
        ],
        "proofs": [
            {
                "domain_id": proof.domain_id,
                "domain": proof.domain_name,
                "ip": str(proof.ip_address),
                "receiver": proof.receiver,
                "verdict": proof.verdict,
                "at": proof.received_at,
            }
            for proof in proofs
        ],
    }


def print_run(document: dict[str, Any]) -> None:
    """One run for people."""
    out.print(f"{document['tenant_name']}  {document['status']}  run {document['run']}", markup=False)
    if document["detail"]:
        out.print(f"  {document['detail']}", markup=False)
    if document["resume_at"]:
        end = "the run ends" if document["status"] == "waiting_for_dns" else "a person is asked"
        until = f", and {end} after {document['deadline_at']:%Y-%m-%d %H:%M}" if document["deadline_at"] else ""
        out.print(f"  it is looked at again at {document['resume_at']:%H:%M:%S}{until}", markup=False)
    show_table(
        "steps",
        ("", "step", "took"),
        [(MARKS[row["status"]], row["step"], row["seconds"]) for row in document["steps"]],
    )
    for proof in document["proofs"]:
        words = f"{proof['domain']} from {proof['ip']} at {proof['receiver']}: {proof['verdict']} ({proof['at']})"
        out.print(f"  proof of {words}", markup=False)


def seconds(row: Step) -> str:
    """How long a step took, or nothing yet."""
    if row.started_at is None or row.finished_at is None:
        return ""
    return f"{(row.finished_at - row.started_at).total_seconds():.1f} s"


async def known_tenant(r: Resources, word: str) -> Tenant:
    """The tenant an operator means; ends the command when there is none or more than one."""
    async with as_orchestrator(r.pool) as conn:
        tenant = await tenants.find_tenant(conn, word)
    if tenant is None:
        stop(Exit.REJECTED, f"no tenant {word!r} (or more than one): give its tenants.tenant_id")
    return tenant
