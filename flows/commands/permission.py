"""Every command that changes something says by which verb, and asks whether the actor holds it before it begins."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flows.acting import NotPermitted, acting_as, who_may
from flows.commands.terminal import Exit, run, stop

Given = ParamSpec("Given")
T = TypeVar("T")

VERBS: dict[str, str] = {}
"""Command function (module.name) to the verb it needs; a test holds it against the commands there are."""


def changes(verb: str) -> Callable[[Callable[Given, T]], Callable[Given, T]]:
    """Mark a command that changes something; the check stands before its first line. Put it under `@app.command()`."""

    def mark(command: Callable[Given, T]) -> Callable[Given, T]:
        @wraps(command)
        def checked(*words: Given.args, **options: Given.kwargs) -> T:
            try:
                name = run(who_may(verb))
            except NotPermitted as refused:
                stop(Exit.REJECTED, str(refused))
            with acting_as(name):
                return command(*words, **options)

        VERBS[f"{command.__module__}.{command.__qualname__}"] = verb
        return checked

    return mark
