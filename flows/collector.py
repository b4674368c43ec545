"""Python's collector of circular garbage, told how seldom to look."""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

USUAL: Final = gc.get_threshold()
SELDOM: Final = 20_000  # objects born and not yet dead; the usual 700 are those of a few domains under way


@contextmanager
def seldom_collecting() -> Generator[None]:
    """While a sweep makes millions of small objects that die by themselves; what circles there are wait longer."""
    gc.set_threshold(SELDOM, *USUAL[1:])
    try:
        yield
    finally:
        gc.set_threshold(*USUAL)
