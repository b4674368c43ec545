"""How commands speak: exit codes, plain lines when piped, JSON when asked, errors in one sentence."""

import asyncio
import json
import logging
import sys
from collections.abc import Coroutine, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from flows.redact import guard_handlers, redactor
from providers.errors import ProviderError
from sql.session import Contended, NoSchema

T = TypeVar("T")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    WAITING = 3
    WAITING_FOR_OPERATOR = 4
    REJECTED = 5
    ALREADY_RUNNING = 6
    UNAVAILABLE = 7


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; an expected failure is one sentence and an exit code, never a traceback."""
    quiet()
    try:
        return asyncio.run(work)
    except ValidationError as error:
        first = error.errors()[0]
        stop(Exit.USAGE, f"settings: {'.'.join(map(str, first['loc'])) or 'all'}: {first['msg']}")
    except ProviderError as error:
        stop(Exit.UNAVAILABLE, str(error))
    except Contended as error:
        stop(Exit.UNAVAILABLE, f"database: {error}")
    except NoSchema as error:
        stop(Exit.UNAVAILABLE, f"database: {error}")
    except ValueError as error:
        stop(Exit.USAGE, str(error))
    except KeyboardInterrupt:
        stop(Exit.FAILED, "interrupted; what was begun is written down, the same command goes on from there")


def quiet() -> None:
    """Log lines belong to the log: a terminal shows warnings and worse, and no secret."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # each failed try; the command says it once, at its end
    guard_handlers()


def stop(code: Exit, sentence: str) -> NoReturn:
    """End with one sentence on standard error."""
    err.print(redactor.clean(sentence), markup=False)
    raise typer.Exit(code)


def say_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(
        json.dumps(value, default=_plain, ensure_ascii=False, indent=None if out.is_terminal else 2) + "\n"
    )


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on a terminal, tab-separated lines in a pipe."""
    if not out.is_terminal:
        for row in rows:
            typer.echo("\t".join(str(cell) for cell in row))  # rich would turn the tabs into spaces
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    out.print(table)
