"""A starter (starter.py) beside an installation of the product, and how it is asked to run a command."""

import json
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox.product import Product, end

COMES_UP_SECONDS = 400.0  # generous, for other work may share the machine


@contextmanager
def starting(product: Product) -> Generator[Path]:
    """A starter with the environment of an installation; the socket at which it is asked."""
    door = product.folder / "starter.sock"
    process = product.start("tests.support.starter", str(door))
    try:
        deadline = time.monotonic() + COMES_UP_SECONDS
        while not door.exists():
            assert process.poll() is None, f"the starter ended: {product.folder / 'commands.log'} says why"
            assert time.monotonic() < deadline, "the starter did not come up"
            time.sleep(0.2)
        yield door
    finally:
        end(process)


def ask(path: Path, words: tuple[str, ...], settings: dict[str, str], stdin: str, patience: float) -> dict[str, Any]:
    """Have a command started and wait for its end."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(patience)
        line.connect(str(path))
        line.sendall(json.dumps({"words": words, "settings": settings, "stdin": stdin}).encode() + b"\n")
        return json.loads(line.makefile("rb").readline())
