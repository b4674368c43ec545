"""P7: raw interactions into daily figures, a statement a day, beside one upsert a row and a scan of the same rows."""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from math import log

import psycopg
from psycopg import AsyncConnection

from sql import analytics
from sql.session import as_orchestrator, open_pool
from tests.support.postgres import TEMPLATE, cloned, running_server, with_template

ROWS = int(os.environ.get("ROWS", "1000000"))
BY_ROW = 20_000  # the peer is slow: it gets a part, and its rate is compared
ROUNDS = int(os.environ.get("ROUNDS", "5"))
DAYS = [date(2026, 11, 1) + timedelta(days=n) for n in range(7)]
FILL = """
    INSERT INTO email_opens (email_id, campaign_id, mailbox_id, user_id, tenant_id, opened_at)
    SELECT (n %% 300000)::text, (n %% 40)::text, (n %% 200)::text, lpad(to_hex(n %% 50), 32, '0')::uuid,
           lpad(to_hex(n %% 50), 32, '0')::uuid, timestamptz '2026-11-01 00:00Z' + (n %% 604800) * interval '1 second'
      FROM generate_series(1, %s) n
"""
UPSERT = """
    INSERT INTO daily_analytics (tenant_id, user_id, campaign_id, mailbox_id, date, emails_opened)
    VALUES (%s, %s, %s, %s, %s, 1)
    ON CONFLICT (user_id, tenant_id, campaign_id, mailbox_id, date)
    DO UPDATE SET emails_opened = daily_analytics.emails_opened + 1
"""


def main() -> None:
    with running_server("bench") as server:
        template = with_template(server)
        medians: dict[int, float] = {}
        for rows in (ROWS // 4, ROWS // 2, ROWS):
            with cloned(template, TEMPLATE) as dsn:
                with psycopg.connect(dsn, autocommit=True) as conn:
                    conn.execute(FILL, [rows])
                    conn.execute("VACUUM ANALYZE email_opens")
                medians[rows] = asyncio.run(measure(dsn, rows))
    exponent = log(medians[ROWS // 4] / medians[ROWS] * 4) / log(4)
    print(f"P7  growth: exponent {exponent:.2f} from {ROWS // 4} to {ROWS} rows")


async def measure(dsn: str, rows: int) -> float:
    """Rows a second, the median of all rounds."""
    pool = await open_pool(dsn, part="bench")
    rates: dict[str, list[float]] = {"row by row": [], "ours": [], "again": [], "scan": []}
    for _ in range(ROUNDS):
        for name, work, worked in (("row by row", by_row, BY_ROW), ("ours", ours, rows), ("again", ours, rows),
                                   ("scan", scan, rows)):  # fmt: skip
            if name in {"row by row", "ours"}:
                await emptied(dsn)
            rates[name].append(worked / await timed(pool, work))
    await pool.close()
    print(f"P7  {rows} rows, {ROUNDS} rounds, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%H:%M}Z, rows/s")
    for name, values in rates.items():
        print(f"P7  {name:<11} median {statistics.median(values):>12,.0f}   {min(values):,.0f} to {max(values):,.0f}")
    ratio = statistics.median(rates["ours"]) / statistics.median(rates["row by row"])
    print(f"P7  ours / row by row {ratio:.1f}, ours / scan "
          f"{statistics.median(rates['ours']) / statistics.median(rates['scan']):.2f}")  # fmt: skip
    return statistics.median(rates["ours"])


async def timed(pool, work: Callable[[AsyncConnection], Awaitable[object]]) -> float:
    async with as_orchestrator(pool) as conn:
        began = time.perf_counter()
        await work(conn)
        return time.perf_counter() - began


async def emptied(dsn: str) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute("TRUNCATE daily_analytics")


async def ours(conn: AsyncConnection) -> None:
    await analytics.roll_up(conn, DAYS)


async def scan(conn: AsyncConnection) -> None:
    await conn.execute("SELECT count(email_id) FROM email_opens")


async def by_row(conn: AsyncConnection) -> None:
    cursor = await conn.execute(
        "SELECT tenant_id, user_id, campaign_id, mailbox_id, (opened_at AT TIME ZONE 'UTC')::date"
        " FROM email_opens LIMIT %s",
        [BY_ROW],
    )
    await conn.cursor().executemany(UPSERT, await cursor.fetchall())
