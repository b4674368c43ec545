"""docs/database.md says what is true: each heading of the schema guide has a command that runs and tests that exist."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import resources
from flows.__main__ import app
from flows.commands.describe import BEGINS, ENDS, markdown
from sql.description import described

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "database.md"
HEADINGS = 21  # `###` headings of the guide
ROW = re.compile(r"^\| (?P<heading>[A-Z][^|]+) \| (?P<shows>[^|]+) \| (?P<tests>[^|]*) ?\|$", re.MULTILINE)
QUOTED = re.compile(r"`([^`]+)`")
ALLOWED_EXITS = {0, 3}  # done, or something is pending


def rows() -> dict[str, tuple[list[str], list[str], str]]:
    table = PAGE.read_text().partition("| heading |")[2].partition("\n## ")[0]
    return {
        row["heading"]: (QUOTED.findall(row["shows"]), QUOTED.findall(row["tests"]), row["shows"])
        for row in ROW.finditer(table)
    }


ROWS = rows()
COMMANDS = sorted({shown for shows, _, _ in ROWS.values() for shown in shows if shown.startswith("python -m flows ")})
FLOWS = sorted({shown for shows, _, _ in ROWS.values() for shown in shows if ":" in shown})
TESTS = sorted({test for _, tests, _ in ROWS.values() for test in tests})


def test_every_heading_has_its_line() -> None:
    assert len(ROWS) == HEADINGS
    for heading, (shows, tests, words) in ROWS.items():
        assert (shows and tests) or words.startswith("waits for the issue of"), heading


@pytest.fixture
def settings(database: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "DATABASE__CORE_DSN": database,
        "SEALING__KEYS": '{"k1": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}',
        "HOSTWINDS__SANDBOX": "true",
        "HOSTWINDS__BASE_URL": "http://127.0.0.1:1/",
    }.items():
        monkeypatch.setenv(f"PENGUINMAILS_{name}", value)
    resources.settings.cache_clear()
    yield
    resources.settings.cache_clear()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_table_runs(settings, command: str) -> None:
    said = CliRunner().invoke(app, command.removeprefix("python -m flows ").split())
    assert said.exit_code in ALLOWED_EXITS, said.output


@pytest.mark.parametrize("entrypoint", FLOWS)
def test_every_flow_of_the_table_is_deployed(entrypoint: str) -> None:
    module, _, name = entrypoint.partition(":")
    assert getattr(import_module(module), name).name == name
    assert f"entrypoint: {entrypoint}\n" in (ROOT / "prefect.yaml").read_text()


@pytest.fixture(scope="module")
def collected() -> frozenset[str]:
    """The ids that pytest itself finds in the files of the table, parameters taken off, and those files."""
    files = sorted({test.partition("::")[0] for test in TESTS})
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr[-2000:]
    found = {line.partition("[")[0] for line in said.stdout.splitlines() if "::" in line}
    return frozenset(found | {test.partition("::")[0] for test in found})


@pytest.mark.parametrize("test", TESTS)
def test_every_test_of_the_table_is_collected(collected: frozenset[str], test: str) -> None:
    assert test in collected


async def test_the_generated_part_is_current(database: str) -> None:
    found = await described(database)
    written = PAGE.read_text().partition(BEGINS)[2].partition(ENDS)[0].strip()
    assert written == markdown(found.tables, found.words, found.keys), (
        "run: python -m flows migrate describe --into docs/database.md (against an up-to-date database)"
    )
