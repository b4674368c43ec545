"""P3: addresses times blocklists beside pydnsbl and dnsperf; P10 for addresses: a tick of which none is due."""

import asyncio
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from flows.blocklists.listing import is_due, tell
from flows.resources import resources, settings
from sql import blacklist_checks
from sql.session import as_orchestrator
from tests.benchmarks.dns import dnsperf
from tests.benchmarks.dns_world import CACHE, KNOT, REVERSE, UNBOUND, ZONE, World, answers, child, free_port, unbound
from tests.support.postgres import TEMPLATE, cloned, running_server, with_template

ADDRESSES = int(os.environ.get("ADDRESSES", "1000"))
LISTS = int(os.environ.get("LISTS", "20"))
MANY = int(os.environ.get("MANY", "100000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
PEER = ("pydnsbl==1.1.7", "aiodns==3.2.0", "pycares==4.4.0")  # the library is from the time of these two
HEAD = f"""$ORIGIN {ZONE}.
$TTL 3600
@ SOA ns hostmaster 1 3600 600 864000 3600
@ NS ns
ns A 127.0.0.1
mx1 A 127.0.0.1
"""
KEY = base64.b64encode(bytes(32)).decode()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="penguin-lists-") as name, served(Path(name)) as made:
        compare(made, Path(name))
    with running_server("bench") as server, cloned(with_template(server), TEMPLATE) as dsn:
        asyncio.run(tick(dsn))


def names() -> list[str]:
    return [f"{n % 250}.{n // 250}.0.192.list{zone}.{ZONE}" for n in range(ADDRESSES) for zone in range(LISTS)]


@contextmanager
def served(folder: Path) -> Iterator[World]:
    """Every fiftieth name is listed; the authority and its resolver are our own."""
    (folder / "zone").write_text(HEAD + "".join(f"{name}. A 127.0.0.2\n" for name in names()[::50]))
    (folder / "reverse").write_text(
        f"$ORIGIN {REVERSE}.\n@ 60 SOA ns.{ZONE}. h.{ZONE}. 1 60 60 60 60\n@ 60 NS ns.{ZONE}.\n"
    )
    authority, resolver = free_port(), free_port()
    values = {"folder": folder, "authority": authority, "zone": ZONE, "reverse": REVERSE}
    (folder / "knot.conf").write_text(KNOT.format(**values, port=authority))
    (folder / "unbound.conf").write_text(UNBOUND.format(**values, port=resolver))
    program, env = unbound()
    with ExitStack() as stack:
        knot = shutil.which("knotd", path="/usr/sbin:/usr/bin") or "knotd"
        stack.enter_context(child(knot, "-c", f"{folder}/knot.conf"))
        answers(authority)
        stack.enter_context(child(program, "-d", "-c", f"{folder}/unbound.conf", env=env))
        answers(resolver)
        yield World(resolver, authority, (), frozenset())


def compare(made: World, folder: Path) -> None:
    """Taking turns, so that a busy machine is unfair to all alike."""
    (folder / "questions").write_text("".join(f"{name} A\n" for name in names()))
    ways = {"ours": (sys.executable, "-m", "tests.benchmarks.blocklists_ours"),
            "pydnsbl": (str(peer_python()), "-P", str(Path(__file__).with_name("blocklists_peer.py")))}  # fmt: skip
    run(ways["ours"], made)  # the resolver's cache is warm for everybody
    costs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    limits: list[float] = []
    for _ in range(ROUNDS):
        for way, words in ways.items():
            costs[way].append(run(words, made))
        limits.append(dnsperf(made, folder))
    count = ADDRESSES * LISTS
    print(
        f"P3  {ADDRESSES} addresses x {LISTS} lists, {ROUNDS} rounds, load {os.getloadavg()[0]:.1f}; medians (spread)"
    )
    for way, found in costs.items():
        rates = sorted(count / cost["seconds"] for cost in found)
        cpu = statistics.median(1e6 * cost["cpu"] / count for cost in found)
        print(f"P3  {way:<8} {statistics.median(rates):>8,.0f} questions/s ({rates[0]:,.0f} to {rates[-1]:,.0f}),"
              f" {cpu:.0f} us CPU each, {found[0]['listed']} listed, {found[0]['failed']} not known")  # fmt: skip
    pairs = list(zip(costs["ours"], costs["pydnsbl"], limits, strict=True))
    speed = statistics.median(theirs["seconds"] / ours["seconds"] for ours, theirs, _ in pairs)
    cheap = statistics.median(theirs["cpu"] / ours["cpu"] for ours, theirs, _ in pairs)
    share = statistics.median(count / ours["seconds"] / limit for ours, _, limit in pairs)
    print(f"P3  ours against pydnsbl: {speed:.1f} x as fast, {cheap:.1f} x CPU (goal 6); against dnsperf"
          f" ({statistics.median(limits):,.0f} q/s): {share:.2f} of its questions/s (goal 0.35)")  # fmt: skip


def run(words: tuple[str, ...], made: World) -> dict[str, float]:
    done = subprocess.run(
        [*words, str(made.resolver), str(ADDRESSES), str(LISTS)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def peer_python() -> Path:
    """The peer in an environment of its own."""
    folder = CACHE / "pydnsbl"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER], check=True)
    return python


async def tick(dsn: str) -> None:
    """P10: what a sweep does when nothing is due among so many addresses, and what one claim costs when all are."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("INSERT INTO tenants (name) SELECT 'tenant ' || n FROM generate_series(1, 1000) n")
        conn.execute(
            "INSERT INTO smtp_ip_addresses (tenant_id, ip_address, status, blacklist_next_check_at)"
            " SELECT 1 + n %% 1000, '10.0.0.0'::inet + n, 'warmed', now() + interval '1 hour'"
            " FROM generate_series(1, %s) n",
            [MANY],
        )
        conn.execute("ANALYZE smtp_ip_addresses")
    os.environ |= {"PENGUINMAILS_DATABASE__CORE_DSN": dsn, "PENGUINMAILS_SEALING__KEYS": json.dumps({"k1": KEY})}
    settings.cache_clear()
    async with resources() as r:
        taken: list[float] = []
        for _ in range(50):
            began = time.perf_counter()
            assert not await is_due(r, "ip")
            assert not await is_due(r, "domain")
            await tell(r)
            taken.append(1000 * (time.perf_counter() - began))
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("UPDATE smtp_ip_addresses SET blacklist_next_check_at = now() - interval '1 second'")
        began = time.perf_counter()
        async with as_orchestrator(r.pool) as conn:
            found = await blacklist_checks.claim_due(conn, "ip", limit=200)
        claim = 1000 * (time.perf_counter() - began)
    print(f"P10 {MANY} addresses, none due: {statistics.median(taken):.1f} ms a tick, at most {max(taken):.1f}"
          " (goal 50);"
          f" all due: {claim:.1f} ms to claim {len(found)} of {len({one.tenant_id for one in found})} tenants,"
          f" load {os.getloadavg()[0]:.1f}")  # fmt: skip
