"""Load modules without a look for garbage: what is loaded lives as long as the process."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def loading() -> Generator[None]:
    """Import within. Neither now nor at the end of the process does the collector walk what came in: a second saved."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
