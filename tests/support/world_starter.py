"""Asks the starter of killing_starter.py to run a command of the product."""

import json
import socket
from pathlib import Path
from typing import Any

MODULES = ("flows", "tests.support.killing")


def ask(path: Path, words: tuple[str, ...], settings: dict[str, str], stdin: str, patience: float) -> dict[str, Any]:
    """Have a command started and wait for its end."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(patience)
        line.connect(str(path))
        line.sendall(json.dumps({"words": words, "settings": settings, "stdin": stdin}).encode() + b"\n")
        return json.loads(line.makefile("rb").readline())
