"""A command imports what it needs: the list of help nothing of the product, what only asks the tables no Prefect.

And how seldom Python looks for garbage in what was loaded, and in what a sweep makes.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from flows.__main__ import app
from flows.collector import SELDOM, USUAL, seldom_collecting
from flows.commands.registry import COMMANDS
from tests.support.product import Product

ROOT = Path(__file__).parents[2]
WITH_PREFECT = {"onboard", "retry", "cancel"}
"""Commands that bring Prefect with them before their first line."""
LOOKED_AT = ("status", "jobs list", "alerts list", "orders list", "certificates list", "staff list", "migrate status")

TAKE_EACH = """
import json, sys, typer
from flows.__main__ import app
commands = typer.main.get_command(app).commands
def prefect_is_here(name):
    commands[name]
    return "prefect" in sys.modules
print(json.dumps([name for name in sys.argv[1:] if prefect_is_here(name)]))
"""
LOOKED_THROUGH = """
import gc, json, typer
from flows.__main__ import app
typer.main.get_command(app).commands["onboard"]
print(json.dumps([gc.isenabled(), gc.get_freeze_count(), len(gc.get_objects())]))
"""
RUN_EACH = """
import sys
from flows.__main__ import app
for words in sys.argv[1:]:
    app(words.split(), standalone_mode=False)
print("\\n".join(sorted(sys.modules)))
"""


def alone(program: str, *words: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_entry_is_a_command_with_the_words_of_the_list(name: str) -> None:
    command = typer.main.get_group(app).commands[name]
    assert (command.name, str(command.help).partition("\n\n")[0]) == (name, COMMANDS[name][1])


def test_the_list_of_help_imports_no_command() -> None:
    said = alone(RUN_EACH, "--help")
    imported = {line.rpartition(".")[2] for line in said.splitlines() if line.startswith("flows.commands.")}
    assert imported == {"registry", "lazy", "loading", "environment"}
    assert all(f" {name} " in said for name in COMMANDS)


def test_a_command_that_needs_no_prefect_does_not_bring_it() -> None:
    assert json.loads(alone(TAKE_EACH, *sorted(COMMANDS.keys() - WITH_PREFECT))) == []
    assert json.loads(alone(TAKE_EACH, "onboard")) == ["onboard"]  # else this finds nothing


def test_neither_does_it_while_it_runs(product: Product) -> None:
    imported = alone(RUN_EACH, *LOOKED_AT).splitlines()
    assert "sql.session" in imported
    assert "prefect" not in imported


def test_what_a_command_loaded_is_not_looked_through_for_garbage_and_what_it_makes_is() -> None:
    collects, spared, looked_through = json.loads(alone(LOOKED_THROUGH))
    assert collects
    assert spared > 10 * looked_through


def test_a_sweep_is_seldom_looked_through_and_whatever_comes_after_as_usual() -> None:
    def failing_sweep() -> None:
        with seldom_collecting():
            raise LookupError(str(gc.get_threshold()))

    with seldom_collecting(), pytest.raises(LookupError, match=str(SELDOM)):
        failing_sweep()
    assert gc.get_threshold() == USUAL


def test_of_two_sweeps_at_once_the_last_to_end_leaves_it_as_usual() -> None:
    first, second = seldom_collecting(), seldom_collecting()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == USUAL
