"""Run the test rings one after another and print a count for each; the exit code is that of the worst."""

import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
NO_TESTS = 5  # pytest's own code


def main(rings: list[str]) -> int:
    reports = ROOT / "var" / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    worst, rows, total, surroundings = 0, [], [0, 0, 0], environment()
    for ring in rings:
        report = reports / f"{ring}.xml"
        report.unlink(missing_ok=True)
        began = time.monotonic()
        code = subprocess.run(command(ring, report), cwd=ROOT, env=surroundings, check=False).returncode
        passed, failed, skipped = counts(report)
        if failed == 0 and code not in {0, NO_TESTS}:
            failed = 1  # it never came to its tests
        rows.append((ring, passed, failed, skipped, time.monotonic() - began))
        total = [a + b for a, b in zip(total, (passed, failed, skipped), strict=True)]
        worst = max(worst, code if code != NO_TESTS else 1)
    print("\nring         passed  failed  skipped   seconds")
    for ring, passed, failed, skipped, seconds in rows:
        print(f"{ring:<12} {passed:>6}  {failed:>6}  {skipped:>7}  {seconds:>8.1f}")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return worst


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
