"""Every command there is, and words that it takes: what walks them has a new command by itself."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import typer

from flows.__main__ import app

BY_TYPE: Mapping[str, str] = {
    "UUID": str(UUID(int=1)), "'int'": "0", "'float'": "0", "Decimal": "1", "datetime": "2026-01-01",
    "Path": "/nowhere",
}  # fmt: skip


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command below a group, by all of its words."""
    inner = getattr(group, "commands", None)
    if inner is None:
        yield " ".join(path), group
    for name, command in (inner or {}).items():
        yield from commands(command, (*path, name))


ALL: Mapping[str, Any] = dict(commands(typer.main.get_command(app)))


def names_something(command: Any) -> bool:
    """Whether it cannot be said without a word for something."""
    return any(parameter.required for parameter in command.params)


def made_up(command: Any, meant: Mapping[str, str], otherwise: str) -> list[str]:
    """A word for each parameter that has to be said: of its type, else as `meant` has it by the parameter's name."""
    words: list[str] = []
    for parameter in command.params:
        if parameter.required:
            kind = repr(parameter.type_descriptor.annotation)
            typed = next((word for name, word in BY_TYPE.items() if name in kind), None)
            word = typed or meant.get(parameter.name, otherwise)
            words += [word] if parameter.param_type_name == "argument" else [parameter.opts[0], word]
    return words
