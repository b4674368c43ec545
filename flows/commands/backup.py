"""backup, restore, drill: dumps of the databases, and the proof that they are backups."""

from collections.abc import Mapping
from typing import Annotated

import typer

from flows.commands.permission import changes
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.resources import resources
from sql import backups
from sql.databases import InTheWay
from sql.dumps import DumpRefused
from sql.migration_files import TARGETS, Target
from sql.session import as_orchestrator

PARTS = ("count", "dump", "check", "upload", "read_back", "fetch", "restore", "prove")
"""In the order they are done."""
OneTarget = Annotated[str, typer.Option(help="core or analytics; empty: every database there is")]


@changes("backup.make")
def backup(target: OneTarget = "") -> None:
    """Dump, seal, store and read back now. It counts once a restore has proven it: python -m flows drill."""
    run(_backup(chosen(target)))


async def _backup(target: Target | None) -> None:
    from flows.backups.backing_up import dump_and_store, targets  # noqa: PLC0415  Prefect is slow to import

    async with resources() as r:
        for one in (target,) if target else await targets():
            try:
                made = await dump_and_store(r, one)
            except DumpRefused as refused:
                stop(Exit.FAILED, f"{one}: {refused}")
            out.print(
                f"{made.object_key}: {made.tables} tables, {made.row_total} rows, {made.size_bytes} bytes in"
                f" {in_seconds(made.seconds)}", markup=False,
            )  # fmt: skip


def backups_list(as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False) -> None:
    """Dumps, the newest first: what became of each, and whether a restore has proven it."""
    run(_list(as_json=as_json))


async def _list(*, as_json: bool) -> None:
    async with resources() as r, as_orchestrator(r.pool) as conn:
        found = await backups.list_backups(conn)
    columns = ("begun", "state", "name", "rows", "bytes", "reason")
    rows = [
        (f"{one.started_at:%Y-%m-%d %H:%M}", one.status, one.object_key, one.row_total, one.size_bytes, one.reason)
        for one in found
    ]
    if as_json:
        say_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show_table("backups", columns, [tuple("-" if cell is None else cell for cell in row) for row in rows])


@changes("backup.restore")
def restore(
    database: Annotated[str, typer.Argument(help="name the restored database is to have, on the target's own server")],
    target: Annotated[str, typer.Option(help="core or analytics")] = "core",
    name: Annotated[str, typer.Option("--backup", help="the dump, as `backups` lists it; empty: the newest")] = "",
    again: Annotated[str, typer.Option(help="the database's name a second time: one that is there is put aside")] = "",
) -> None:
    """Restore a dump, proven on the way. A database that is there is never overwritten: insist, and it is renamed."""
    run(_restore(chosen(target) or "core", name, database, again))


async def _restore(target: Target, name: str, database: str, again: str) -> None:
    from flows.backups.restoring import restore_into  # noqa: PLC0415  Prefect is slow to import

    try:
        sentence, seconds = await restore_into(target, name or None, database, again or None)
    except (DumpRefused, InTheWay) as refused:
        stop(Exit.REJECTED, str(refused))
    out.print(f"{sentence} ({in_seconds(seconds)})", markup=False)


@changes("backup.make")
def drill(target: OneTarget = "") -> None:
    """Dump, store, read back, restore into a scratch database, compare everything, and say how long each part took."""
    run(_drill(chosen(target)))


async def _drill(target: Target | None) -> None:
    from flows.backups.backing_up import dump_and_store, targets  # noqa: PLC0415  Prefect is slow to import
    from flows.backups.restoring import rehearse  # noqa: PLC0415  likewise

    async with resources() as r:
        for one in (target,) if target else await targets():
            try:
                made = await dump_and_store(r, one)
                took = made.seconds | await rehearse(r, one)
            except (DumpRefused, InTheWay) as refused:
                stop(Exit.FAILED, f"{one}: {refused}")
            rows = [(part, took[part]) for part in PARTS if part in took]
            show_table(f"drill of {one}", ("part", "seconds"), [*rows, ("all", round(sum(took.values()), 3))])
            out.print(
                f"{made.object_key}: {made.tables} tables, {made.row_total} rows, all as they were; proven",
                markup=False,
            )


def chosen(word: str) -> Target | None:
    """Core, analytics or all; else a usage error."""
    if word and word not in TARGETS:
        stop(Exit.USAGE, f"no target {word!r}: it is core or analytics")
    return None if not word else "core" if word == "core" else "analytics"


def in_seconds(seconds: Mapping[str, float]) -> str:
    """All of it, and each part."""
    return f"{sum(seconds.values()):.1f} s: " + ", ".join(f"{part} {taken:.1f}" for part, taken in seconds.items())
