"""The operator's command line: python -m flows --help. A command imports what it needs when it is called."""

from typing import Annotated

import typer

from flows.commands.environment import prepare_environment
from flows.commands.lazy import LazyGroup
from flows.commands.registry import COMMANDS

prepare_environment()  # before anything imports Prefect

EXIT_CODES = (
    "Exit codes: 0 done · 1 failed · 2 usage · 3 waiting, comes back by itself · 4 waiting for an operator · "
    "5 rejected · 6 already running · 7 database, server or provider out of reach"
)


class Commands(LazyGroup):
    """All that registry.py lists."""

    entries = COMMANDS


app = typer.Typer(
    cls=Commands,
    help="Provision, prove and keep the mail infrastructure of PenguinMails' tenants.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals may hold a secret
)


@app.callback()
def main(
    context: typer.Context,
    acting_as: Annotated[str, typer.Option("--as", metavar="EMAIL", help="the staff member who acts")] = "",
) -> None:
    """Provision, prove and keep the mail infrastructure of PenguinMails' tenants."""
    from flows.acting import claiming  # noqa: PLC0415  --help needs no settings

    context.with_resource(claiming(acting_as))


if __name__ == "__main__":
    app(prog_name="python -m flows")
