"""alerts and notices: what staff must know, and the platform's mail to its people."""

from typing import Annotated, cast
from uuid import UUID

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.status import AsJson, known_tenant
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.resources import resources
from sql import alerts, notices
from sql.session import as_orchestrator

alerts_app = typer.Typer(no_args_is_help=True, help="What is wrong and open: take it, or say that it is over.")
notices_app = typer.Typer(no_args_is_help=True, help="The platform's mail to its people: what went, what did not.")

Key = Annotated[str, typer.Argument(metavar="KEY", help="as `alerts list` shows it")]
MAIL_STATES = ("queued", "sending", "sent", "failed")


@alerts_app.command("list")
def list_alerts(
    tenant: Annotated[str | None, typer.Option(help="of one tenant")] = None, as_json: AsJson = False
) -> None:
    """Open alerts, the worst and oldest first."""
    run(_list(tenant, as_json=as_json))


async def _list(word: str | None, *, as_json: bool) -> None:
    async with resources() as r:
        tenant = (await known_tenant(r, word)).tenant_id if word else None
        async with as_orchestrator(r.analytics) as conn:
            found = await alerts.open_alerts(conn, tenant)
    if as_json:
        fields = ("dedupe_key", "severity", "category", "title", "message", "tenant_id", "occurrences", "created_at",
                  "last_seen_at", "acknowledged_by", "details")  # fmt: skip
        say_json([{name: getattr(one, name) for name in fields} for one in found])
        return
    show_table(
        "open alerts", ("key", "severity", "times", "taken by", "what"),
        [(one.dedupe_key or one.id, one.severity, one.occurrences, one.acknowledged_by or "-",
          f"{one.title}: {one.message}") for one in found],
    )  # fmt: skip


@alerts_app.command()
@changes("alert.acknowledge")
def ack(key: Key) -> None:
    """Take an alert; the first to say so stays."""
    run(_move(key, take=True))


@alerts_app.command()
@changes("alert.resolve")
def resolve(key: Key) -> None:
    """It is over; the same cause opens a new one."""
    run(_move(key, take=False))


async def _move(key: str, *, take: bool) -> None:
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        moved = await (alerts.acknowledge if take else alerts.resolve)(conn, key, actor())
    if not moved:
        stop(Exit.REJECTED, f"no open alert {key!r}" + (" that nobody has taken" if take else ""))
    out.print(f"{key}: {'taken' if take else 'over'}, says {actor()}", markup=False)


@notices_app.command("list")
def list_mails(
    status: Annotated[str | None, typer.Option(help="queued, sending, sent or failed")] = None,
    limit: Annotated[int, typer.Option(min=1, help="at most so many, the newest")] = 50,
    as_json: AsJson = False,
) -> None:
    """Mails of the platform, and why the failed ones failed."""
    if status is not None and status not in MAIL_STATES:
        stop(Exit.USAGE, f"--status is one of {', '.join(MAIL_STATES)}")
    run(_mails(status, limit, as_json=as_json))


async def _mails(status: str | None, limit: int, *, as_json: bool) -> None:
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        found = await notices.list_mails(conn, status=status, limit=limit)
    fields = ("id", "type", "status", "attempt_count", "queued_at", "last_error_message")
    rows = [tuple(cast("object", getattr(one, name)) for name in fields) for one in found]
    if as_json:
        say_json([dict(zip(fields, row, strict=True)) for row in rows])
        return
    show_table("mails", fields, [tuple("-" if cell is None else cell for cell in row) for row in rows])


@notices_app.command()
@changes("notice.deliver")
def deliver() -> None:
    """Do what the sweep of every minute does: write what is to be told, and send what is due."""
    run(_deliver())


async def _deliver() -> None:
    from flows.notifying import swept  # noqa: PLC0415  Prefect is slow to import

    async with resources() as r:
        for line in await swept(r):
            out.print(line, markup=False)


@notices_app.command()
@changes("notice.retry")
def retry(
    ids: Annotated[list[UUID], typer.Argument(metavar="MAIL…", help="ids, as `notices list` shows them")],
) -> None:
    """Try failed mails again, under the same Message-ID."""
    run(_retry(ids))


async def _retry(ids: list[UUID]) -> None:
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        moved = await notices.send_again(conn, ids, actor())
    for mail in ids:
        out.print(f"{mail}: {'queued again' if mail in moved else 'left as it is'}", markup=False)
    if not moved:
        stop(Exit.REJECTED, "nothing was queued again: python -m flows notices list")
