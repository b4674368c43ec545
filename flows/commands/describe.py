"""describe: the schema for people, out of a database's catalog, so that a page about it cannot grow old unseen."""

from pathlib import Path
from typing import Annotated, Final

import typer

from flows.commands.terminal import Exit, out, run, stop
from flows.policy import campaigns, lifecycle
from flows.policy.lifecycle import Moves
from flows.resources import migration_dsn
from sql import description, migrate
from sql.description import Key, Table, Words
from sql.migration_files import TARGETS

BEGINS: Final = "<!-- from the catalog: python -m flows migrate describe --into docs/database.md -->"
ENDS: Final = "<!-- until here -->"
MOVES: Final[dict[str, Moves]] = {
    **{words.__name__: table for words, table in lifecycle.ALLOWED.items()},
    "CampaignStatus": campaigns.CAMPAIGN_MOVES,
    "EmailStatus": campaigns.EMAIL_MOVES,
}


def describe(
    into: Annotated[Path | None, typer.Option(help="page whose marked part is written anew; empty: print")] = None,
) -> None:
    """Tables with their keys, state words and moves, and what the back end reads and writes, as Markdown."""
    if into is not None and (behind := run(_behind())):
        stop(Exit.REJECTED, f"{into} stays: {behind} is not at the newest schema: python -m flows migrate up")
    text = run(_describe())
    if into is None:
        out.print(text, markup=False)
        return
    page = into.read_text() if into.exists() else ""
    before, begins, rest = page.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        stop(Exit.USAGE, f"{into} has no part between {BEGINS!r} and {ENDS!r}")
    into.write_text(f"{before}{BEGINS}\n\n{text}\n\n{ENDS}{after}")


async def _behind() -> str | None:
    """The first database whose catalog would not tell of everything."""
    for target in TARGETS:
        found = await migrate.status(await migration_dsn(target), target)
        if found.pending or found.problem:
            return target
    return None


async def _describe() -> str:
    core, analytics = await migration_dsn("core"), await migration_dsn("analytics")
    found = await description.described(core)
    if core != analytics:
        found = found.and_also(await description.described(analytics))
    return markdown(found.tables, found.words, found.keys)


def markdown(tables: list[Table], words: list[Words], keys: list[Key]) -> str:
    """The generated part of the page."""
    names = {"key": "`tenants.id`", "uuid": "`tenants.tenant_id`", None: "nobody's"}
    reach = [f"| `{one.name}` | {names[one.tenant]} | {one.back_end or '-'} |" for one in tables]
    known = [f"| `{one.table}.{one.column}` | {', '.join(one.words)} |" for one in words]
    moves = [
        f"| {subject} | {word} | {', '.join(sorted(table[word])) or 'stays'} |"
        for subject, table in MOVES.items()
        for word in table
    ]
    drawn = [f"    {one.parent} ||--o{{ {one.child} : {one.column.replace(', ', '_and_')}" for one in keys]
    return "\n".join(
        [
            "### Tables, and what the back end does with them",
            "",
            "| table | a row names its tenant by | the back end |",
            "| --- | --- | --- |",
            *reach,
            "",
            "### State words",
            "",
            "| column | words |",
            "| --- | --- |",
            *known,
            "",
            "### Moves",
            "",
            "| subject | from | to |",
            "| --- | --- | --- |",
            *moves,
            "",
            "### Diagram",
            "",
            "```mermaid",
            "erDiagram",
            *drawn,
            "```",
        ]
    )
