"""A group of commands that are imported when they are called: its list of help needs none of them."""

from collections import UserDict
from collections.abc import Mapping
from copy import copy
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from flows.commands.loading import loading

Entry = tuple[str, str]
"""Where a command is defined, as `module:attribute` of a function or of a Typer app, and its words in the list."""


class LazyGroup(TyperGroup):
    """A subclass gives its `entries`; each command is imported when it is taken out of `commands`."""

    entries: ClassVar[Mapping[str, Entry]] = {}

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = LazyCommands(self.entries)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the words of the entries and import none of them."""
        shown = copy(self)
        shown.commands = {name: TyperCommand(name, help=words) for name, (_, words) in self.entries.items()}
        super(LazyGroup, shown).format_help(ctx, formatter)


class LazyCommands(UserDict[str, Any]):
    """Commands by name; whoever takes one out has it imported."""

    def __getitem__(self, name: str) -> Any:
        """Import a command or a group of commands, whole."""
        module, _, attribute = self.data[name][0].partition(":")
        with loading():
            found = getattr(import_module(module), attribute)
        parent = typer.Typer()
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=name)
        else:
            parent.command(name)(found)
        return typer.main.get_group(parent).commands[name]
