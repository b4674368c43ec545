"""Take each guard out of a copy of the tree and see a test turn red: guard → test. Exit 1 when a mutant survives.

    python tests/mutants.py             all guards of tests/mutants.toml
    python tests/mutants.py lock        those whose guard, file or group has the word
    python tests/mutants.py --since A   those that are not in the table of commit A as they stand now
    python tests/mutants.py --check     only whether every text is still where the table says

The working tree is never touched. The named tests must be green without a mutant, so a red one means the guard.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".toml")
RED = 1  # pytest's own code for failed tests; anything else means that they did not run
SERVER_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Mutant:
    """One guard: exact text of one file, what stands there without it, and the tests that must notice."""

    group: str
    guard: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]
    sandbox: bool = False

    @property
    def fault(self) -> str:
        """What is wrong with the entry itself; empty when its text is there exactly once."""
        path = ROOT / self.file
        times = path.read_text().count(self.find) if path.exists() else 0
        return "" if times == 1 else f"{self.file}: the text is there {times} times, not once: {self.find[:60]!r}"


def table(text: str | None = None) -> list[Mutant]:
    """All entries, in the order of the file."""
    rows = tomllib.loads(TABLE.read_text() if text is None else text)["mutant"]
    return [Mutant(**{**row, "tests": tuple(row["tests"])}) for row in rows]


def table_of(commit: str) -> list[Mutant]:
    """All entries of an earlier table."""
    words = ["git", "show", f"{commit}:{TABLE.relative_to(ROOT)}"]
    return table(subprocess.run(words, cwd=ROOT, capture_output=True, check=True, text=True).stdout)


def copied(folder: Path) -> Path:
    """The tree as it stands, without what git ignores."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def tested(tree: Path, tests: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """pytest's exit code, and its lines."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-rfE", "--tb=line", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def outcome(mutant: Mutant, tree: Path, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Whether a test noticed, and which."""
    path = tree / mutant.file
    whole = path.read_text()
    path.write_text(whole.replace(mutant.find, mutant.replace))
    try:
        code, said = tested(tree, mutant.tests, environment)
    finally:
        path.write_text(whole)
    if code == 0:
        return False, "SURVIVED"
    found = re.search(r"^(?:FAILED|ERROR) \S+?::(\S+)", said, re.MULTILINE)
    if code != RED or found is None:
        return False, f"did not run (pytest {code}): {said.strip().splitlines()[-1][:100]}"
    return True, found[1]


@contextmanager
def prefect_server(needed: bool, folder: Path) -> Iterator[dict[str, str]]:
    """One Prefect server for all runs of the flows ring: each would wait for its own otherwise."""
    if not needed:
        yield {}
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    environment = {**clean(), "PREFECT_HOME": str(folder)}
    words = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(words, env=environment, start_new_session=True, **quiet)
    try:
        await_answer(f"http://127.0.0.1:{port}/api/health", server)
        yield {"PENGUINMAILS_TEST_PREFECT_API": f"http://127.0.0.1:{port}/api"}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def await_answer(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + SERVER_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            urlopen(url, timeout=5).close()
        except (URLError, OSError):
            time.sleep(0.3)
        else:
            return
    sys.exit(f"the Prefect server did not answer within {SERVER_SECONDS} s")


def clean() -> dict[str, str]:
    """No bytecode: two texts of one length within one second would share it."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PENGUINMAILS_", "PREFECT_"))}
    return {**mine, "PYTHONDONTWRITEBYTECODE": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


def run(mutants: Sequence[Mutant]) -> int:
    """Print a line for each; 1 when one survived or its tests did not run."""
    with tempfile.TemporaryDirectory(prefix="penguin-mutants-") as name:
        tree = copied(Path(name) / "tree")
        flows = any("tests/flows" in test for mutant in mutants for test in mutant.tests)
        with prefect_server(flows, Path(name) / "prefect") as address:
            environment = clean() | address
            if not green(mutants, tree, environment):
                print("without a mutant the tests are not green: nothing can be told")
                return 1
            held = [shown(mutant, tree, environment) for mutant in mutants]
    print(f"{sum(held)} of {len(held)} guards are held by a test")
    return 0 if all(held) else 1


def green(mutants: Sequence[Mutant], tree: Path, environment: Mapping[str, str]) -> bool:
    """Whether the named tests pass as the tree stands; each ring in a process of its own, as `make test` has it."""
    every = sorted({test for mutant in mutants for test in mutant.tests})
    for _, ring in groupby(every, key=lambda test: test.split("/")[1]):
        code, said = tested(tree, [*ring], environment)
        if code != 0:
            print(said[-2000:])
            return False
    return True


def shown(mutant: Mutant, tree: Path, environment: Mapping[str, str]) -> bool:
    """One line of the table."""
    noticed, test = outcome(mutant, tree, environment)
    print(f"{'red ' if noticed else 'FAIL'}  {mutant.group:<14} {mutant.guard:<62} {test}", flush=True)
    return noticed


def main(words: list[str]) -> int:
    chosen = table()
    if faults := [mutant.fault for mutant in chosen if mutant.fault]:
        print("\n".join(faults))
        return 1
    if "--check" in words:
        print(f"{len(chosen)} guards stand where the table says")
        return 0
    if words[:1] == ["--since"]:
        known = table_of(words[1])
        chosen, words = [mutant for mutant in chosen if mutant not in known], words[2:]
    wanted = [word.lower() for word in words]
    chosen = [m for m in chosen if all(word in f"{m.group} {m.guard} {m.file}".lower() for word in wanted)]
    if any(mutant.sandbox for mutant in chosen) and os.geteuid() != 0:
        print("guards that need the sandbox are left out: run as root")
        chosen = [mutant for mutant in chosen if not mutant.sandbox]
    return run(chosen) if chosen else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
