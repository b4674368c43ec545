"""P8: the cost of row security on a million rows of a thousand tenants, beside a WHERE and no policy."""

import os
import statistics
import time

import psycopg

from tests.support.postgres import TEMPLATE, cloned, running_server, with_template

ROWS, TENANTS = int(os.environ.get("ROWS", "1000000")), 1000
ROUNDS = int(os.environ.get("ROUNDS", "9"))


def queries(rows: int) -> dict[str, tuple[str, str]]:
    """With the policy; the same by hand. The key is one of the tenant's own rows."""
    key, tenant = rows // 2 + 500, tenant_of(rows)
    return {
        "one row by key": (
            f"SELECT * FROM leads WHERE id = {key}",
            f"SELECT * FROM plain_leads WHERE id = {key} AND tenant_id = {tenant}",
        ),
        "a tenant's 1,000 rows": (
            "SELECT sum(length(email)) FROM leads",
            f"SELECT sum(length(email)) FROM plain_leads WHERE tenant_id = {tenant}",
        ),
        "scan of all rows": (
            "SELECT count(*) FROM leads WHERE company = 'nobody'",
            f"SELECT count(*) FROM plain_leads WHERE company = 'nobody' AND tenant_id = {tenant}",
        ),
    }


def tenant_of(rows: int) -> int:
    """The tenant in the middle: each has a thousand rows in a row."""
    return 1 + (rows // 2 + 500) // 1000 % TENANTS


def main() -> None:
    with running_server("bench") as server:
        template = with_template(server)
        for rows in (ROWS // 4, ROWS // 2, ROWS):
            with cloned(template, TEMPLATE) as dsn:
                with psycopg.connect(dsn, autocommit=True) as conn:
                    fill(conn, rows)
                with psycopg.connect(dsn) as conn:
                    report(conn, rows)


def fill(conn: psycopg.Connection, rows: int) -> None:
    conn.execute("INSERT INTO tenants (name) SELECT 'tenant ' || n FROM generate_series(1, %s) n", [TENANTS])
    conn.execute(
        "INSERT INTO leads (tenant_id, email, company)"
        " SELECT 1 + (n / 1000) %% %s, 'lead' || n || '@acme.example', 'Acme' FROM generate_series(1, %s) n",
        [TENANTS, rows],
    )
    conn.execute("CREATE TABLE plain_leads (LIKE leads INCLUDING ALL)")
    conn.execute("INSERT INTO plain_leads SELECT * FROM leads")
    conn.execute("GRANT SELECT ON plain_leads TO penguin_app")
    conn.execute("VACUUM ANALYZE leads")
    conn.execute("VACUUM ANALYZE plain_leads")


def report(conn: psycopg.Connection, rows: int) -> None:
    chosen = "SELECT set_config('app.current_tenant_id', tenant_id::text, false) FROM tenants WHERE id = %s"
    conn.execute(chosen, [tenant_of(rows)])
    conn.execute("SET ROLE penguin_app")
    conn.execute("SET max_parallel_workers_per_gather = 0")
    print(f"P8  {rows} rows, {TENANTS} tenants, {ROUNDS} rounds, load {os.getloadavg()[0]:.1f}, milliseconds")
    for name, (secured, plain) in queries(rows).items():
        if name.startswith("scan"):
            conn.execute("SET enable_indexscan = off")
            conn.execute("SET enable_bitmapscan = off")
        taken: dict[str, list[float]] = {secured: [], plain: []}
        for number in range(2 * ROUNDS):  # who goes first takes turns: the second finds warm caches
            for query in (secured, plain) if number % 2 else (plain, secured):
                taken[query].append(milliseconds(conn, query))
        ours, theirs = statistics.median(taken[secured]), statistics.median(taken[plain])
        print(f"P8  {name:<22} policy {ours:9.3f}   WHERE {theirs:9.3f}   ratio {ours / theirs:5.2f}   "
              f"difference {ours - theirs:7.3f}")  # fmt: skip


def milliseconds(conn: psycopg.Connection, query: str) -> float:
    began = time.perf_counter()
    conn.execute(query).fetchall()
    return (time.perf_counter() - began) * 1000
