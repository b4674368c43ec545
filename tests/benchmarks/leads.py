"""Lead import: lines a second with a tenth rubbish, beside a bare COPY of the good ones; growth at N, 2N, 4N."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from math import log

import psycopg

from sql.leads import import_leads, read_chunks
from sql.session import as_tenant, open_pool
from tests.support.postgres import TEMPLATE, TenantRow, add_tenant, cloned, running_server, with_template

LINES = int(os.environ.get("ROWS", "1000000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
RUBBISH = ("no address {n},x,y,z,w,v", "a{n}@acme.example,too,few", 'b{n}@acme.example,"broken,a,b,c,d', "ada@{n},,,,,")
SUPPRESS = """
    INSERT INTO suppressions (tenant_id, scope, value, reason)
    SELECT 1, 'domain', 'company' || n || '.example', 'manual' FROM generate_series(1, 50) n
    UNION ALL SELECT 1, 'address', 'user' || n || '@company' || n || '.example', 'manual'
      FROM generate_series(1, 5000) n
"""


def main() -> None:
    with running_server("bench") as server:
        asyncio.run(measure(with_template(server)))


def lines(count: int) -> Iterator[str]:
    yield "email,first_name,last_name,company,position,city"
    for n in range(count):
        if n % 10 == 0:
            yield RUBBISH[n // 10 % 4].format(n=n)
        elif n % 10 == 5:
            yield f'Quoted{n}@Beta.example,"Ada, Countess",Lovelace,"Engines, Ltd",Boss,Bonn'
        else:
            yield f"user{n}@company{n % 5000}.example,Ada,Lovelace,Analytical Engines,Countess,London"


async def measure(server) -> None:
    print(f"leads {LINES} lines, a tenth rubbish, {ROUNDS} rounds, load {os.getloadavg()[0]:.1f}, lines/s")
    taken: dict[int, float] = {}
    for size in (LINES // 4, LINES // 2, LINES):
        text = list(lines(size))
        ours, bare = [], []
        for number in range(ROUNDS):
            for name in ("ours", "bare") if number % 2 else ("bare", "ours"):
                with cloned(server, TEMPLATE) as dsn:
                    (ours if name == "ours" else bare).append(await timed(dsn, text, ours=name == "ours"))
        taken[size] = statistics.median(ours)
        limit = statistics.median(bare)
        print(f"leads {size:>9}: median {size / taken[size]:>9,.0f}   {size / max(ours):,.0f}-{size / min(ours):,.0f}"
              f"   bare COPY {size / limit:>9,.0f}   ratio {limit / taken[size]:.2f}")  # fmt: skip
    print(f"leads growth: exponent {log(taken[LINES] / taken[LINES // 4]) / log(4):.2f}, load {os.getloadavg()[0]:.1f}")


async def timed(dsn: str, text: list[str], *, ours: bool) -> float:
    tenant = add_tenant(dsn)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SUPPRESS)
    if not ours:
        return bare_copy(dsn, text)
    pool = await open_pool(dsn, part="bench")
    began = time.perf_counter()
    await take_in(pool, tenant, text)
    taken = time.perf_counter() - began
    await pool.close()
    return taken


async def take_in(pool, tenant: TenantRow, text: list[str]) -> None:
    async with as_tenant(pool, tenant.uuid) as conn:
        await import_leads(conn, tenant_id=tenant.pk, lines=text)


def bare_copy(dsn: str, text: list[str]) -> float:
    """The limit: the same good rows into the same table and indexes, nothing read, checked or compared."""
    good = b"".join(b"1\t" + line for chunk in read_chunks(text) for line in chunk.text.splitlines(keepends=True))
    columns = "tenant_id, email, first_name, last_name, company, position, metadata"
    with psycopg.connect(dsn) as conn:  # the superuser, whom row security does not bind
        began = time.perf_counter()
        with conn.cursor().copy(f"COPY leads ({columns}) FROM STDIN (NULL '')") as copy:
            copy.write(good)
        conn.commit()
        return time.perf_counter() - began
