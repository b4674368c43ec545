"""migrate: the schema of the core and analytics databases."""

from typing import Annotated

import typer

from flows.commands.describe import describe
from flows.commands.permission import changes
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.policy.presets import SHIPPED
from flows.resources import core_dsn, migration_dsn
from sql import migrate, migration_doctor, policy_presets
from sql.migration_files import TARGETS, Refused, Target
from sql.new_migration import write_migration
from sql.session import as_orchestrator, open_pool

app = typer.Typer(no_args_is_help=True, help="Bring the databases to the schema of sql/migrations, or look at them.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="do it in a transaction that is taken back")]
app.command()(describe)
OneTarget = Annotated[str, typer.Argument(help="core or analytics")]


def target_of(word: str) -> Target:
    """Core or analytics, else a usage error."""
    if word in TARGETS:
        return "core" if word == "core" else "analytics"
    return stop(Exit.USAGE, f"no target {word!r}: it is core or analytics")


def guarded(work: object) -> None:
    """Run; what the runner refuses is one sentence."""
    try:
        run(work)  # pyright: ignore[reportArgumentType]  a coroutine of this file
    except Refused as refusal:
        stop(Exit.REJECTED, str(refusal))


@app.command()
@changes("schema.migrate")
def up(dry_run: DryRun = False) -> None:
    """Apply what is pending to both databases, and the shipped presets."""
    guarded(_up(dry_run=dry_run))


async def _up(*, dry_run: bool) -> None:
    for target in TARGETS:
        moved = await migrate.up(await migration_dsn(target), target, dry_run=dry_run)
        for item in moved:
            remark = " (dry run)" if dry_run else ""
            out.print(f"{item.label} {item.direction} {item.duration_ms} ms{remark}", markup=False)
        if not moved:
            out.print(f"{target}: up to date")
    if not dry_run:
        pool = await open_pool(await core_dsn(), part="migrate", max_size=1)
        async with pool, as_orchestrator(pool) as conn:
            added = await policy_presets.sync_presets(conn, SHIPPED)
        out.print(f"presets: {added} added")


@app.command()
@changes("schema.migrate")
def down(
    target: OneTarget,
    to: Annotated[int, typer.Argument(help="version to go back to; 0 is before the first file")],
    allow_data_loss: Annotated[bool, typer.Option("--allow-data-loss")] = False,
    dry_run: DryRun = False,
) -> None:
    """Go back, newest file first; refused where rows would be lost."""
    guarded(_down(target_of(target), to, allow_data_loss=allow_data_loss, dry_run=dry_run))


async def _down(target: Target, to: int, *, allow_data_loss: bool, dry_run: bool) -> None:
    moved = await migrate.down(
        await migration_dsn(target), target, to=to, allow_data_loss=allow_data_loss, dry_run=dry_run
    )
    for item in moved:
        out.print(f"{item.label} {item.direction} {item.duration_ms} ms", markup=False)
    if not moved:
        stands = len((await migrate.status(await migration_dsn(target), target)).applied)
        out.print(f"{target}: stands at {stands:04}, nothing above {to:04} to take back")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False) -> None:
    """What is applied, what is pending, what is wrong. Exit 3 when something is pending, 5 when refused."""
    guarded(_status(as_json=as_json))


async def _status(*, as_json: bool) -> None:
    found = [await migrate.status(await migration_dsn(target), target) for target in TARGETS]
    if as_json:
        fields = ("target", "applied", "pending", "problem")
        values = [(item.target, len(item.applied), item.pending, item.problem) for item in found]
        say_json([dict(zip(fields, row, strict=True)) for row in values])
    else:
        show_table(
            "schema", ("target", "applied", "pending", "problem"),
            [(item.target, len(item.applied), ", ".join(item.pending) or "-", item.problem or "-") for item in found],
        )  # fmt: skip
    if any(item.problem for item in found):
        raise typer.Exit(Exit.REJECTED)
    if any(item.pending for item in found):
        raise typer.Exit(Exit.WAITING)


@app.command()
@changes("schema.migrate")
def baseline(
    target: OneTarget,
    version: Annotated[int, typer.Argument(help="highest file whose tables are there already")] = 1,
    dry_run: DryRun = False,
) -> None:
    """Record files as applied without running them: for a database that already holds the seed's tables."""
    guarded(_baseline(target_of(target), version, dry_run=dry_run))


async def _baseline(target: Target, version: int, *, dry_run: bool) -> None:
    for item in await migrate.baseline(await migration_dsn(target), target, version, dry_run=dry_run):
        out.print(f"{item.label} recorded", markup=False)


@app.command()
def verify() -> None:
    """Climb, go all the way back and climb again in scratch databases; every version must look the same both ways."""
    guarded(_verify())


async def _verify() -> None:
    for target in TARGETS:
        seen = await migrate.verify(await migration_dsn(target), target)
        for difference in seen.differences:
            out.print(f"{target}: {difference}", markup=False)
        out.print(f"{target}: {seen.versions} versions, {len(seen.differences)} differences")
        if seen.differences:
            raise typer.Exit(Exit.FAILED)


@app.command()
def doctor() -> None:
    """What would stop a migration or undo its isolation, with the cure of each. Changes nothing."""
    guarded(_doctor())


async def _doctor() -> None:
    found = [item for target in TARGETS for item in await migration_doctor.doctor(await migration_dsn(target), target)]
    show_table("findings", ("where", "what", "cure"), [(item.subject, item.problem, item.fix) for item in found])
    if found:
        raise typer.Exit(Exit.FAILED)
    out.print("nothing stands in the way")


@app.command()
def new(target: OneTarget, name: Annotated[str, typer.Argument(help="the table's name")]) -> None:
    """Write the two files of a new table: isolated, granted and indexed from its first line."""
    try:
        for path in write_migration(target_of(target), name):
            out.print(str(path), markup=False)
    except Refused as refusal:
        stop(Exit.REJECTED, str(refusal))
