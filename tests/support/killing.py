"""Runs a command of the product and ends its process by SIGKILL just before or just after the real call of a function.

`python -m tests.support.killing before|after module:attribute NTH COMMAND …`. Nothing is replaced: the real code runs
inside the wrapper, and a boundary that is not a coroutine function is refused, so that a renamed one is noticed.
"""

import importlib
import inspect
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from flows.__main__ import app  # first: it prepares the environment for Prefect

KILLED = -signal.SIGKILL


def main(words: list[str]) -> None:
    """Arm one boundary, then run the command."""
    when, boundary, nth, *command = words
    module, _, path = boundary.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, deadly(getattr(owner, name), when, int(nth)))
    app(command, prog_name="python -m flows")


def deadly(real: Callable[..., Awaitable[Any]], when: str, nth: int) -> Callable[..., Awaitable[Any]]:
    """The same coroutine function, deadly at its nth call."""
    if when not in {"before", "after"} or not inspect.iscoroutinefunction(real):
        raise ValueError(f"{when} {real!r}: before or after a coroutine function")
    calls = itertools.count(1)

    @wraps(real)
    async def armed(*words: Any, **named: Any) -> Any:
        hit = next(calls) == nth
        if hit and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await real(*words, **named)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return armed


if __name__ == "__main__":
    main(sys.argv[1:])
