"""P5: trivial jobs through our worker and through PgQueuer's and procrastinate's, on one durable server, in turns."""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sql.embedded import embedded_dsn, let_go
from tests.support.postgres import TEMPLATE, Server, cloned, with_template

ROOT = Path(__file__).resolve().parents[2]
PEERS = ("pgqueuer==1.6.0", "asyncpg==0.32.0", "procrastinate==3.10.0", "psycopg[binary,pool]")
ENVIRONMENT = ROOT / "var" / "bench" / "queue"
JOBS = int(os.environ.get("JOBS", "5000"))
SLOW = int(os.environ.get("SLOW_JOBS", "1500"))  # of what claims one a time: a rate needs no more
ROUNDS = int(os.environ.get("ROUNDS", "5"))
BATCH = 100


def main() -> None:
    python = peers()
    rates: dict[str, list[float]] = {}
    with (
        durable_server() as server,
        cloned(with_template(server), TEMPLATE) as dsn,
        cloned(server, "template0") as other,
    ):
        for _ in range(ROUNDS):
            for count in (JOBS, 2 * JOBS, 4 * JOBS):
                noted(
                    rates, f"ours {count}", run(sys.executable, "-m", "tests.benchmarks.queue_ours", dsn, count, BATCH)
                )
            noted(rates, f"PgQueuer {JOBS}", peer(python, "pgqueuer", other, JOBS, BATCH))
            noted(rates, f"procrastinate {SLOW}", peer(python, "procrastinate", other, SLOW, BATCH))
            noted(
                rates, f"ours one by one {SLOW}", run(sys.executable, "-m", "tests.benchmarks.queue_ours", dsn, SLOW, 1)
            )
        woken = run(sys.executable, "-m", "tests.benchmarks.queue_ours", dsn, 0, 0)
    told(rates, woken)


def told(rates: dict[str, list[float]], woken: dict[str, Any]) -> None:
    """The table."""
    middle = {name: statistics.median(values) for name, values in rates.items()}
    load = f"load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%H:%M}Z"
    print(f"P5  batches of {BATCH}, fsync on, {ROUNDS} rounds, {load}, jobs/s")
    for name, values in rates.items():
        print(f"P5  {name:<24} median {middle[name]:>8,.0f}   {min(values):,.0f} to {max(values):,.0f}")
    ours = middle[f"ours {JOBS}"]
    print(f"P5  ours / PgQueuer {ours / middle[f'PgQueuer {JOBS}']:.2f} (goal 1.2),"
          f" ours / procrastinate {ours / middle[f'procrastinate {SLOW}']:.1f} (goal 12)")  # fmt: skip
    seconds = [count / middle[f"ours {count}"] for count in (JOBS, 4 * JOBS)]
    print(f"P5  growth N to 4N: time ~ N^{math.log(seconds[1] / seconds[0]) / math.log(4):.2f}")
    print(f"P5  wake-up p50 {woken['p50']:.1f} ms (goal 10), p99 {woken['p99']:.1f} ms")


def noted(rates: dict[str, list[float]], name: str, told_: dict[str, Any]) -> None:
    rates.setdefault(name, []).append(told_["jobs"] / told_["seconds"])


def peer(python: Path, *words: object) -> dict[str, Any]:
    """One round of a peer. -P: the neighbour queue.py must not stand in front of the standard library's."""
    return run(str(python), "-P", str(Path(__file__).with_name("queue_peer.py")), *words)


def run(*words: object) -> dict[str, Any]:
    done = subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{words[1:4]}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peers() -> Path:
    """An environment of their own, made once."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return python


@contextmanager
def durable_server() -> Iterator[Server]:
    """On disk, every commit flushed: what a queue promises costs what it costs."""
    with tempfile.TemporaryDirectory(prefix="penguin-bench-queue-", dir=ROOT / "var") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root the server runs as a user of its own
        try:
            yield Server("bench", folder, embedded_dsn(folder / "postgres", options="-c shared_buffers=128MB"))
        finally:
            let_go(folder / "postgres")


if __name__ == "__main__":
    main()
