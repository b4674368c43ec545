"""Run the test rings in two lanes side by side and print a count for each; the exit code is that of the worst.

The acceptance ring mostly waits for hosts; the others use the second core meanwhile.
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
WAITS = frozenset({"acceptance"})


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
    lanes = [[ring for ring in rings if ring not in WAITS], [ring for ring in rings if ring in WAITS]]
    with ThreadPoolExecutor(len(lanes)) as pool:
        ran = [one for lane in pool.map(lambda lane: [run(ring, surroundings) for ring in lane], lanes) for one in lane]
    print("\nring         passed  failed  skipped   seconds")
    for one in ran:
        print(f"{one.ring:<12} {one.passed:>6}  {one.failed:>6}  {one.skipped:>7}  {one.seconds:>8.1f}")
    passed, failed, skipped = (sum(getattr(one, word) for one in ran) for word in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return max(one.code for one in ran)


def run(ring: str, surroundings: dict[str, str]) -> Ran:
    """One ring to its end; what it printed comes out in one piece."""
    report = REPORTS / f"{ring}.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    done = subprocess.run(
        command(ring, report), cwd=ROOT, env=surroundings, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    print(f"\n=== {ring}\n{done.stdout}", flush=True)
    passed, failed, skipped = counts(report)
    code = done.returncode if done.returncode != NO_TESTS else 1
    if failed == 0 and code:
        failed = 1  # it never came to its tests
    return Ran(ring, code, passed, failed, skipped, time.monotonic() - began)


def command(ring: str, report: Path) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", f"tests/{ring}",
            *(["tests/test_layout.py"] if ring == "policy" else [])]  # fmt: skip


def environment() -> dict[str, str]:
    able = subprocess.run([sys.executable, "-m", "sandbox", "doctor"], cwd=ROOT, capture_output=True, check=False)
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PENGUINMAILS_", "PREFECT_"))}
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
