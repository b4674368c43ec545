"""Files that run on a mail host, kept as files of their own kind: shell, Python, configuration."""

import re
from collections.abc import Mapping
from pathlib import Path

HOLE = re.compile(r"@[A-Z_]+@")


def text(name: str) -> str:
    """The file `name` of this folder, as it goes to the host."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def filled(name: str, values: Mapping[str, str]) -> str:
    """The file `name` with every @HOLE@ filled; KeyError for a hole without a value."""
    return HOLE.sub(lambda hole: values[hole.group().strip("@")], text(name))
