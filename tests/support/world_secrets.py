"""Looks for secrets wherever they might have been left, in every form they might have taken."""

import base64
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Self
from urllib.parse import quote, quote_plus

SHORTEST = 12  # characters: below that a find may be chance
PAUSE_SECONDS = 0.25
LONGEST = 1 << 21  # bytes: what the kernel allows


def forms(secret: str) -> set[bytes]:
    """A secret as itself, in base64 at each of its three alignments, in hexadecimal, and as part of a URL."""
    plain = secret.encode()
    found = {plain, plain.hex().encode(), plain.hex().upper().encode(), quote(secret, safe="").encode()}
    found.add(quote_plus(secret).encode())
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + plain)
        # The first and last group of four also hold bits of the neighbours.
        found.add(whole[4 if shift else 0 : len(whole) - 4])
    return {form for form in found if len(form) >= SHORTEST - 4}


def needles(secrets: Mapping[str, str]) -> dict[bytes, str]:
    """Each form of each secret with the name of the secret; of a PEM block two lines of its body stand for all."""
    found: dict[bytes, str] = {}
    for name, secret in secrets.items():
        pieces = [line for line in secret.splitlines() if not line.startswith("-----")]
        for piece in pieces[-3:-1] or pieces:
            if len(piece) >= SHORTEST:
                found |= dict.fromkeys(forms(piece), name)
    return found


def leaks(secrets: Mapping[str, str], places: Iterable[tuple[str, bytes]]) -> list[str]:
    """Where which secret lies open; empty is well."""
    looked_for = needles(secrets)
    return sorted({f"{name} in {place}" for place, text in places for form, name in looked_for.items() if form in text})


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a folder; databases of SQLite are read as rows, since their pages split long values."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path), path.read_bytes()
            if path.suffix == ".db":
                yield from rows_of(path)


def rows_of(database: Path) -> Iterator[tuple[str, bytes]]:
    """Each table of a SQLite database as one text."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as tables:
        names = [row[0] for row in tables.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            rows = tables.execute(f'SELECT * FROM "{name}"')
            yield f"{database.name}:{name}", b"\n".join(_cell(cell) for row in rows for cell in row)


def _cell(cell: object) -> bytes:
    return cell if isinstance(cell, bytes) else str(cell).encode()


class Arguments:
    """Remembers the arguments of every process of this machine, those of the world's servers among them.

    Every look at all processes is a cost: they are looked at where a story will read what was seen.
    """

    def __init__(self, *, watched: bool) -> None:
        self.watched = watched
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="arguments", daemon=True)

    def __enter__(self) -> Self:
        if self.watched:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self.watched:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            for process in os.listdir("/proc"):  # noqa: PTH208  as paths all this costs thrice as much
                if process.isdecimal() and (words := arguments_of(process)):
                    self.seen.add(words)


def arguments_of(process: str) -> bytes:
    """Nothing when it has ended."""
    try:
        handle = os.open(f"/proc/{process}/cmdline", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(handle, LONGEST)
    except OSError:
        return b""
    finally:
        os.close(handle)
