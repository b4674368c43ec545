"""P1, P2, P10: domains a second beside checkdmarc and dnspython's resolver, beside dnsperf, and the idle tick."""

import asyncio
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from sql import domains
from sql.session import as_orchestrator, open_pool
from tests.benchmarks.dns_world import CACHE, World, domain_names, is_broken, questions, world
from tests.support.postgres import TEMPLATE, cloned, running_server, with_template

COUNT = int(os.environ.get("DOMAINS", "5000"))
MANY = int(os.environ.get("MANY", "100000"))
HELD = int(os.environ.get("HELD", str(MANY)))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
PEER_SHARE, LIBRARY_SHARE = 40, 10  # the slow ones look at a part: their cost does not depend on how many there are
PEER = "checkdmarc==6.0.4"
LIMIT_SECONDS = "3"
Cost = dict[str, Any]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="penguin-dns-") as name, world(Path(name), COUNT) as made:
        compare(made, Path(name))
        grow(made)
        hold(made)
    asyncio.run(tick())


def compare(made: World, folder: Path) -> None:
    """Taking turns, so that a busy machine is unfair to all alike."""
    (folder / "questions").write_text("\n".join(questions(COUNT)) + "\n")
    peer = peer_python()
    ours(made, COUNT)  # the resolver's cache is warm for everybody
    costs: dict[str, list[Cost]] = {"ours": [], "dnspython": [], "checkdmarc": []}
    limits: list[float] = []
    for _ in range(ROUNDS):
        costs["ours"].append(ours(made, COUNT))
        costs["checkdmarc"].append(theirs(peer, made, COUNT // PEER_SHARE))
        costs["dnspython"].append(ours(made, COUNT // LIBRARY_SHARE, way="library"))
        limits.append(dnsperf(made, folder))
    print(f"P1  {COUNT} domains, a tenth broken, {ROUNDS} rounds, load {os.getloadavg()[0]:.1f}; medians (spread)")
    for way, found in costs.items():
        rate, cpu = (
            each(found, lambda c: c["domains"] / c["seconds"]),
            each(found, lambda c: 1000 * c["cpu"] / c["domains"]),
        )
        asked = found[0]["asked"] / found[0]["domains"]
        print(f"P1  {way:<11} {rate:>24} domains/s  {cpu:>22} ms CPU a domain  {asked:5.1f} questions a domain")
    speed, cpu = ratio(costs, "checkdmarc")
    print(f"P1  ours against checkdmarc: {speed:.1f} x domains/s, {cpu:.1f} x CPU (goal 35)")
    share = statistics.median(c["asked"] / c["seconds"] for c in costs["ours"]) / statistics.median(limits)
    print(f"P1  ours against dnsperf ({statistics.median(limits):.0f} q/s): {share:.2f} of its questions/s (goal 0.35)")
    per = statistics.median(1000 * c["cpu"] / c["domains"] for c in costs["ours"])
    print(f"P1  {per:.2f} ms CPU a domain (goal 0.60)")
    agree(costs)
    speed, cpu = ratio(costs, "dnspython")
    print(f"P2  the same rules on dnspython's resolver: ours {speed:.1f} x domains/s, {cpu:.1f} x CPU (goal 8)")


def agree(costs: dict[str, list[Cost]]) -> None:
    """Verdicts on the domains that were made healthy, domain by domain; ours on the broken ones as well."""
    for way, found in costs.items():
        looked = found[0]["domains"]
        healthy = {name for number, name in enumerate(domain_names(looked)) if not is_broken(number)}
        right = set(found[0]["right"])
        print(f"P1  {way:<11} finds {len(right)} of {looked} right, {len(healthy)} were made healthy;"
              f" {len(healthy ^ right)} verdicts are not as made" + shown(healthy ^ right))  # fmt: skip
        ours = set(costs["ours"][0]["right"])
        print(f"P1  {way:<11} disagrees with ours on {len((right ^ ours) & healthy)} of {len(healthy)} healthy ones"
              + shown((right ^ ours) & healthy))  # fmt: skip


def shown(names: set[str]) -> str:
    return ": " + ", ".join(sorted(names)[:5]) if names else ""


def each(found: list[Cost], figure: Callable[[Cost], float]) -> str:
    values = sorted(map(figure, found))
    return f"{statistics.median(values):.2f} ({values[0]:.2f}-{values[-1]:.2f})"


def ratio(costs: dict[str, list[Cost]], way: str) -> tuple[float, float]:
    """How many times as fast, and how many times as cheap, round by round."""
    pairs = list(zip(costs["ours"], costs[way], strict=True))
    speed = [(o["domains"] / o["seconds"]) / (t["domains"] / t["seconds"]) for o, t in pairs]
    cpu = [(t["cpu"] / t["domains"]) / (o["cpu"] / o["domains"]) for o, t in pairs]
    return statistics.median(speed), statistics.median(cpu)


def grow(made: World) -> None:
    sizes = [COUNT // 4, COUNT // 2, COUNT]
    cpu = [statistics.median(ours(made, size)["cpu"] for _ in range(3)) for size in sizes]
    exponent = math.log(cpu[-1] / cpu[0]) / math.log(sizes[-1] / sizes[0])
    shown = ", ".join(f"{size}: {seconds:.2f} s" for size, seconds in zip(sizes, cpu, strict=True))
    print(f"P1  growth in CPU: {shown}; exponent {exponent:.2f}")


def hold(made: World) -> None:
    few, many = ours(made, COUNT), ours(made, COUNT, rounds=max(1, HELD // COUNT))
    print(f"P1  resident at most: {few['megabytes']:.0f} MB after {few['domains']} domains,"
          f" {many['megabytes']:.0f} MB after {many['domains']} (goal 300)")  # fmt: skip


def ours(made: World, count: int, *, way: str = "ours", rounds: int = 1) -> Cost:
    words = (sys.executable, "-m", "tests.benchmarks.dns_ours", str(made.resolver), way, str(count), str(rounds))
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def theirs(python: Path, made: World, count: int) -> Cost:
    script = Path(__file__).with_name("dns_peer.py")
    words = (str(python), "-P", str(script), str(made.resolver), str(count))
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def dnsperf(made: World, folder: Path) -> float:
    words = ("dnsperf", "-s", "127.0.0.1", "-p", str(made.resolver), "-d", str(folder / "questions"),
             "-l", LIMIT_SECONDS, "-c", "1", "-q", "500")  # fmt: skip
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    found = re.search(r"Queries per second:\s+([\d.]+)", said)
    assert found is not None, said
    return float(found[1])


def peer_python() -> Path:
    """The peer in an environment of its own."""
    folder = CACHE / "checkdmarc"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True, stderr=subprocess.DEVNULL)
    return python


async def tick() -> None:
    """P10: nothing is due among a hundred thousand."""
    with running_server("bench") as server, cloned(with_template(server), TEMPLATE) as dsn:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("INSERT INTO tenants (name) SELECT 'tenant ' || n FROM generate_series(1, 1000) n")
            conn.execute(
                "INSERT INTO domains (tenant_id, domain_name, verification_status, dns_next_check_at)"
                " SELECT 1 + n %% 1000, 'd' || n || '.example', 'verified', now() + interval '1 hour'"
                " FROM generate_series(1, %s) n",
                [MANY],
            )
            conn.execute("ANALYZE domains")
        pool = await open_pool(dsn, part="bench")
        taken: list[float] = []
        for _ in range(50):
            began = time.perf_counter()
            async with as_orchestrator(pool) as conn:
                assert await domains.claim_due(conn, 200) == []
            taken.append(1000 * (time.perf_counter() - began))
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("UPDATE domains SET dns_next_check_at = now() - interval '1 second'")
        began = time.perf_counter()
        async with as_orchestrator(pool) as conn:
            found = await domains.claim_due(conn, 200)
        claim = 1000 * (time.perf_counter() - began)
        await pool.close()
    print(f"P10 {MANY} domains, none due: {statistics.median(taken):.1f} ms a tick, at most {max(taken):.1f} (goal 50);"
          f" all due: {claim:.1f} ms to claim {len(found)} of {len({d.tenant_id for d in found})} tenants,"
          f" load {os.getloadavg()[0]:.1f}")  # fmt: skip
