"""The migration files of a target: numbered, each with its way back, known by their sha256."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Target = Literal["core", "analytics"]
TARGETS: tuple[Target, ...] = ("core", "analytics")
FOLDER = Path(__file__).parent / "migrations"
ROLES_FILE = Path(__file__).parent / "roles.sql"
FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)(?P<down>\.down)?\.sql")
NO_TRANSACTION = "-- no-transaction"
DATA_LOSS = "-- data-loss:"


class Refused(Exception):
    """The runner will not go on: the message says what is wrong and with which file."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a target's schema and the way back."""

    target: Target
    version: int
    name: str
    up: bytes
    down: bytes

    @property
    def label(self) -> str:
        """How people call it."""
        return f"{self.target} {self.version:04} {self.name}"

    @property
    def sha256(self) -> str:
        """What the ledger keeps, so that an edit after the fact is seen."""
        return hashlib.sha256(self.up).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """False for a file that opens with `-- no-transaction`: CONCURRENTLY and VACUUM, one statement a file."""
        return not self.up.startswith(NO_TRANSACTION.encode())

    @property
    def loses(self) -> str | None:
        """What the way back destroys, in the words of its first line; None when nothing is lost."""
        first = self.down.decode().splitlines()[0] if self.down else ""
        return first.removeprefix(DATA_LOSS).strip() if first.startswith(DATA_LOSS) else None


def migrations_of(target: Target, folder: Path = FOLDER) -> tuple[Migration, ...]:
    """All migrations of a target in order. Raises Refused on a gap, a double, a strange name, no way back."""
    ups: dict[int, Path] = {}
    downs: dict[int, Path] = {}
    for path in sorted((folder / target).iterdir()):
        matched = FILE_NAME.fullmatch(path.name)
        if matched is None:
            raise Refused(f"{target}/{path.name}: a migration is called NNNN_name.sql or NNNN_name.down.sql")
        side = downs if matched["down"] else ups
        version = int(matched["version"])
        if version in side:
            raise Refused(f"{target}: number {version:04} twice, {side[version].name} and {path.name}")
        side[version] = path
    if sorted(ups) != list(range(1, len(ups) + 1)):
        missing = next(number for number in range(1, max(ups, default=0) + 1) if number not in ups)
        raise Refused(f"{target}: number {missing:04} is missing")
    return tuple(_migration(target, version, path, downs) for version, path in sorted(ups.items()))


def _migration(target: Target, version: int, path: Path, downs: dict[int, Path]) -> Migration:
    down = path.with_suffix(".down.sql")
    if downs.get(version) != down:
        raise Refused(f"{target}/{path.name}: its way back, {down.name}, is missing")
    name = path.stem.partition("_")[2]
    return Migration(target, version, name, path.read_bytes(), down.read_bytes())
