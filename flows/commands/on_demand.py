"""A group of commands that are imported when they are called: its list of help needs none of them."""

from collections import UserDict
from collections.abc import Mapping
from copy import copy
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

Door = tuple[str, str]
"""Where a command stands, as `module:attribute` of a function or of a Typer app, and its words in the list."""


class OnDemand(TyperGroup):
    """A subclass names its `doors`; `commands` holds behind each the command itself, imported when it is taken out."""

    doors: ClassVar[Mapping[str, Door]] = {}

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = Rooms(self.doors)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show what stands on the doors and open none."""
        shown = copy(self)
        shown.commands = {name: TyperCommand(name, help=words) for name, (_, words) in self.doors.items()}
        super(OnDemand, shown).format_help(ctx, formatter)


class Rooms(UserDict[str, Any]):
    """Commands by name; whoever takes one out has it imported."""

    def __getitem__(self, name: str) -> Any:
        """Bring the command behind a door, whole."""
        module, _, attribute = self.data[name][0].partition(":")
        room = getattr(import_module(module), attribute)
        house = typer.Typer()
        if isinstance(room, typer.Typer):
            house.add_typer(room, name=name)
        else:
            house.command(name)(room)
        return typer.main.get_group(house).commands[name]
