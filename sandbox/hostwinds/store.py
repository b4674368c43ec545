"""Keeps the books on disk, so that an emulator that dies comes back with its ledger and its servers."""

import json
from dataclasses import asdict
from pathlib import Path

from sandbox.hostwinds.model import Books, Call, books_of


class Store:
    """A folder with the books, replaced whole, and the request log, which only grows. None: nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        """Take a folder of one's own; it is made when missing."""
        self._books = folder / "books.json" if folder else None
        self._calls = folder / "calls.jsonl" if folder else None
        if folder:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self) -> tuple[Books, list[Call]]:
        """Return what an earlier run kept, or empty books."""
        books = books_of(json.loads(self._books.read_text())) if self._books and self._books.exists() else Books()
        lines = self._calls.read_text().splitlines() if self._calls and self._calls.exists() else []
        return books, [Call(**json.loads(line)) for line in lines]

    def save(self, books: Books) -> None:
        """Replace the books: a reader sees the old ones or the new ones, never a half."""
        if not self._books:
            return
        draft = self._books.with_suffix(".draft")
        draft.touch(0o600)  # passwords and keys are in it
        draft.write_text(json.dumps(books.as_document()))
        draft.rename(self._books)

    def add(self, call: Call) -> None:
        """Add a line to the request log."""
        if self._calls:
            with self._calls.open("a") as log:
                log.write(json.dumps(asdict(call)) + "\n")
