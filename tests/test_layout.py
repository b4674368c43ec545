"""The house stands as drawn: names that hide nothing, pure policy, entrypoints that load, a README that is current."""

import ast
import inspect
import re
import sys
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from prefect import Flow

from flows.commands.registry import COMMANDS
from flows.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
FLOWS = ROOT / "flows"
OURS = {"flows", "providers", "sql", "sandbox", "tests"}


@pytest.mark.parametrize("name", sorted(path.stem for path in FLOWS.iterdir() if not path.name.startswith((".", "__"))))
def test_flow_names_hide_nothing(name: str) -> None:
    assert name not in sys.stdlib_module_names | packages_distributions().keys() | OURS


def test_policy_imports_only_the_standard_library_and_itself() -> None:
    strangers = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (FLOWS / "policy").rglob("*.py")
        for name in imported(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("flows.policy")
    }
    assert not strangers


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(f"{node.module}.{node.names[0].name}" if node.module == "flows" else str(node.module))
    return names


def deployments() -> list[dict[str, object]]:
    return yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("entry", deployments(), ids=lambda entry: f"{entry['entrypoint']}/{entry['name']}")
def test_every_entrypoint_loads_and_takes_ids_only(entry: dict[str, str]) -> None:
    module, _, name = entry["entrypoint"].partition(":")
    flow = getattr(import_module(module), name)
    assert isinstance(flow, Flow)
    assert inspect.iscoroutinefunction(flow.fn)
    kinds = {str(parameter.annotation) for parameter in inspect.signature(flow.fn).parameters.values()}
    assert kinds <= {
        "<class 'uuid.UUID'>",
        "uuid.UUID | None",
        "str | None",
        "<class 'bool'>",
        "<class 'int'>",
        "int | None",
    }


def test_every_schedule_says_its_zone_and_slug() -> None:
    for entry in deployments():
        for schedule in entry.get("schedules", []):
            assert schedule["timezone"] == "UTC"
            assert schedule["slug"] == entry["name"]


def test_no_flow_file_defines_a_class_that_two_imports_would_double() -> None:
    for path in {ROOT / (entry["entrypoint"].partition(":")[0].replace(".", "/") + ".py") for entry in deployments()}:
        assert not [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)], path


def test_the_readme_lists_every_setting_and_no_other() -> None:
    fields = {
        f"{group}.{name}" for group, field in Settings.model_fields.items() for name in field.annotation.model_fields
    }
    listed = set(re.findall(r"^\| `([a-z_]+\.[a-z0-9_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert listed == fields


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_names_every_command(name: str) -> None:
    rows = re.findall(r"^\| (`python -m flows .*?) \| ", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [row for row in rows if re.search(rf"(`|flows ){name}[ `]", row)]


def test_the_locks_carry_no_address() -> None:
    for lock in ROOT.glob("requirements*.txt"):
        assert "://" not in lock.read_text()


def test_the_changelog_and_the_decisions_are_there() -> None:
    assert (ROOT / "CHANGELOG.md").read_text().startswith("# Changelog")
    names = [path.name for path in (ROOT / "docs" / "decisions").glob("*.md")]
    assert all(re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name) for name in names)
    assert len({name[:4] for name in names}) == len(names)
