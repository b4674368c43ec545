"""Run the linters and the test rings in lanes side by side and print a count for each; the exit code is the worst's.

A world mostly waits for its hosts, so there are more lanes than cores have reason to ask for (docs/decisions/0605).
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "var" / "reports"
NO_TESTS = 5  # pytest's own code
LINT = "lint"  # no ring: it counts as one test
LANES = 4
# Acceptance stories that share a world and the tenants in it, by the name of that world; each other file has its own.
TOGETHER = {
    "troubles": ("test_4", "test_5", "test_6", "test_8", "test_9"),
    "accept": ("test_1", "test_2", "test_3", "test_by_hand", "test_rotation", "test_unpaid", "test_7"),
    "further": ("test_several_addresses", "test_second_receiver", "test_certificates_by_acme"),
}
WORLDS = ("sandbox", "acceptance")  # rings that raise worlds: an ordinary user runs them in a room
OUTSIDE = "tests/sandbox/test_room.py"  # what looks at a room from outside
LONGEST_FIRST = ("further", "troubles", "accept", "flows-1", "flows-2", "test_host_convergence", "sandbox", "sql")


@dataclass(frozen=True, slots=True)
class Piece:
    """What one process runs: a ring, those stories of the acceptance ring that share a world, or the linters."""

    ring: str
    name: str
    paths: tuple[str, ...]

    @property
    def report(self) -> Path:
        return REPORTS / f"{self.name}.xml"

    @property
    def words(self) -> list[str]:
        if self.ring == LINT:
            return ["make", "--no-print-directory", *self.paths]
        words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={self.report}"]
        return [sys.executable, *words, *self.paths]


@dataclass(frozen=True, slots=True)
class Ran:
    ring: str
    code: int
    passed: int
    failed: int
    skipped: int
    seconds: float


def main(rings: list[str]) -> int:
    REPORTS.mkdir(parents=True, exist_ok=True)
    surroundings = environment()
    print(f"worlds: {ground(surroundings)}", flush=True)
    began = time.monotonic()
    with ThreadPoolExecutor(LANES) as lanes:
        ran = list(lanes.map(lambda piece: run(piece, surroundings), in_order(rings)))
    print("\nring         passed  failed  skipped   seconds")
    for ring in rings:
        of_ring = [one for one in ran if one.ring == ring]
        counts = [sum(getattr(one, word) for one in of_ring) for word in ("passed", "failed", "skipped")]
        print("{:<12} {:>6}  {:>6}  {:>7}  {:>8.1f}".format(ring, *counts, sum(one.seconds for one in of_ring)))
    passed, failed, skipped = (sum(getattr(one, word) for one in ran) for word in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped in {time.monotonic() - began:.0f} s")
    return max(one.code for one in ran)


def in_order(rings: list[str]) -> list[Piece]:
    """The pieces of some rings, the longest first, so that no lane is left with one at the end."""
    pieces = [piece for ring in rings for piece in pieces_of(ring)]
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}
    return sorted(pieces, key=lambda piece: rank.get(piece.name, len(rank)))


def pieces_of(ring: str) -> list[Piece]:
    if ring == LINT:
        return [Piece(ring, ring, (LINT,))]
    if ring == "sandbox":
        room = [Piece(ring, "room", (OUTSIDE,))] if os.geteuid() else []  # root has the machine itself, and no room
        return [Piece(ring, ring, (f"tests/{ring}", f"--ignore={OUTSIDE}")), *room]
    if ring == "flows":  # the longest that needs no world: every second file, so that two lanes share it
        files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / ring).glob("test_*.py"))
        return [Piece(ring, f"{ring}-{part + 1}", tuple(files[part::2])) for part in range(2)]
    if ring != "acceptance":
        return [Piece(ring, ring, (f"tests/{ring}", *(["tests/test_layout.py"] if ring == "policy" else [])))]
    groups: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests" / ring).glob("test_*.py"), key=told_after):
        shared = (world for world, stories in TOGETHER.items() if path.stem.startswith(stories))
        groups.setdefault(next(shared, path.stem), []).append(str(path.relative_to(ROOT)))
    return [Piece(ring, name, tuple(paths)) for name, paths in groups.items()]


def told_after(path: Path) -> tuple[int, str]:
    """The order in which stories of one world follow one another: as listed, for some leave less behind than others."""
    order = [story for stories in TOGETHER.values() for story in stories]
    return next((place for place, story in enumerate(order) if path.stem.startswith(story)), len(order)), path.stem


def run(piece: Piece, surroundings: dict[str, str]) -> Ran:
    """One piece to its end; what it printed comes out in one piece."""
    piece.report.unlink(missing_ok=True)
    began = time.monotonic()
    world = {"PENGUINMAILS_SANDBOX__WORLD": piece.name} if piece.name in TOGETHER else {}
    done = subprocess.run(
        [*before(piece, surroundings), *piece.words],
        cwd=ROOT, env=surroundings | world, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    seconds = time.monotonic() - began
    name = "" if piece.name == piece.ring else f" ({piece.name})"
    print(f"\n=== {piece.ring}{name}, {seconds:.0f} s\n{done.stdout}", flush=True)
    passed, failed, skipped = (int(not done.returncode), 0, 0) if piece.ring == LINT else counts(piece.report)
    code = done.returncode if done.returncode != NO_TESTS else 1
    if failed == 0 and code:
        failed = 1  # it never came to its tests
    return Ran(piece.ring, code, passed, failed, skipped, seconds)


def before(piece: Piece, surroundings: dict[str, str]) -> list[str]:
    """Words that lead an ordinary user's worlds into a room, where the machine allows one."""
    inside = piece.ring in WORLDS and OUTSIDE not in piece.paths
    able = os.geteuid() != 0 and "PENGUINMAILS_SANDBOX__REQUIRED" in surroundings
    return [sys.executable, "-m", "sandbox", "inside", "--"] if inside and able else []


def ground(surroundings: dict[str, str]) -> str:
    if "PENGUINMAILS_SANDBOX__REQUIRED" not in surroundings:
        return "none, their tests are skipped: python -m sandbox doctor says why"
    return "as root of this machine" if os.geteuid() == 0 else "without root, in a user namespace"


def environment() -> dict[str, str]:
    able = subprocess.run([sys.executable, "-m", "sandbox", "doctor"], cwd=ROOT, capture_output=True, check=False)
    others = ("PENGUINMAILS_", "PREFECT_", "PYTHONDONTWRITEBYTECODE")  # hundreds of interpreters would compile it all
    mine = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    kept = {name: value for name, value in os.environ.items() if name.startswith("PENGUINMAILS_SANDBOX__")}
    required = {"PENGUINMAILS_SANDBOX__REQUIRED": "1"} if able.returncode == 0 else {}  # here a skip is a failure
    return {**mine, **required, **kept, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


def counts(report: Path) -> tuple[int, int, int]:
    if not report.exists():
        return 0, 0, 0
    suites = ET.parse(report).getroot().iter("testsuite")
    tests = failed = skipped = 0
    for suite in suites:
        tests += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return tests - failed - skipped, failed, skipped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
