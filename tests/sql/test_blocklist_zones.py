"""The lists we ship, as rows: every one is readable, says where it comes from, and classifies as its own page says."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from flows.policy.blocklists import Blocklist, Code, Effect, Kind, Probe, classify
from flows.policy.verdict import Truth
from providers.blocklists import ListAnswer
from sql import blocklist_zones
from sql.blocklist_zones import ListRow, SelfTest
from sql.session import as_orchestrator

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def shipped(pool: AsyncConnectionPool, *, enabled_only: bool = False) -> dict[str, ListRow]:
    async with as_orchestrator(pool) as conn:
        return {row.name: row for row in await blocklist_zones.list_zones(conn, enabled_only=enabled_only)}


def judged(row: ListRow, *codes: str) -> tuple[Truth, str, int]:
    points = {Kind(kind): Probe(*pair) for kind, pair in row.points.items()}
    table = tuple(Code(pattern, word, Effect(effect), tier) for pattern, word, effect, tier in row.codes)
    found = classify(
        Blocklist(row.name, row.title, row.tier, points, table), "x", ListAnswer("found", codes, (), "q", "s", NOW)
    )
    return found.verdict.truth, found.code.word if found.code else found.verdict.reason, found.tier


async def test_every_shipped_list_can_be_read_and_names_its_source(pool: AsyncConnectionPool) -> None:
    rows = await shipped(pool)
    assert len(rows) == 14
    for row in rows.values():
        assert row.source_url.startswith("https://")
        assert row.checked_on.year == 2026
        assert judged(row, "127.0.255.77")[0] is Truth.UNKNOWN
        assert all(len(pair) == 2 for pair in row.points.values())


async def test_a_list_that_sells_no_question_without_a_key_is_off_until_somebody_has_one(
    pool: AsyncConnectionPool,
) -> None:
    asked = await shipped(pool, enabled_only=True)
    assert "abusix" not in asked
    assert all(row.codes for row in (await shipped(pool)).values())


@pytest.mark.parametrize(
    ("name", "codes", "truth", "word", "tier"),
    [
        ("spamhaus-zen", ("127.0.0.2", "127.0.0.9"), Truth.FAIL, "SBL", 1),
        ("spamhaus-zen", ("127.0.0.4",), Truth.FAIL, "XBL", 1),
        ("spamhaus-zen", ("127.0.0.30",), Truth.FAIL, "BCL", 1),
        ("spamhaus-zen", ("127.0.0.11",), Truth.FAIL, "PBL", 2),
        ("spamhaus-zen", ("127.255.255.254",), Truth.UNKNOWN, "public_resolver", 1),
        ("spamhaus-authbl", ("127.0.0.20",), Truth.FAIL, "AuthBL", 1),
        ("spamhaus-dbl", ("127.0.1.4",), Truth.FAIL, "phish", 1),
        ("spamhaus-dbl", ("127.0.1.104",), Truth.FAIL, "abused-legit", 2),
        ("spamhaus-dbl", ("127.0.1.255",), Truth.UNKNOWN, "asked_an_address", 1),
        ("spamhaus-zrd", ("127.0.2.23",), Truth.FAIL, "first seen today", 3),
        ("mailspike", ("127.0.0.12",), Truth.FAIL, "L3", 3),
        ("mailspike", ("127.0.0.10",), Truth.FAIL, "L5", 2),
        ("uribl", ("127.0.0.1",), Truth.UNKNOWN, "refused", 2),
        ("uribl", ("127.0.0.14",), Truth.FAIL, "black", 2),
        ("uribl", ("127.0.0.12",), Truth.FAIL, "grey", 3),
        ("surbl", ("127.0.0.80",), Truth.FAIL, "malware", 2),
        ("surbl", ("127.0.0.1",), Truth.UNKNOWN, "refused", 2),
        ("surbl", ("127.0.0.4",), Truth.FAIL, "disposable addresses", 3),
        ("surbl", ("127.0.0.32",), Truth.FAIL, "click tracker", 2),
        ("surbl", ("127.0.0.254",), Truth.FAIL, "cracked", 2),  # its test point
        ("abusix", ("127.0.0.2", "127.0.0.3"), Truth.FAIL, "spam traps", 2),
        ("abusix", ("127.0.0.12",), Truth.FAIL, "no reverse name", 2),
        ("abusix", ("127.0.0.200",), Truth.FAIL, "entered by hand", 2),
        ("uceprotect-3", ("127.0.0.2",), Truth.FAIL, "provider", 3),
    ],
)
async def test_shipped_codes_mean_what_the_lists_page_says(
    pool: AsyncConnectionPool, name: str, codes: tuple[str, ...], truth: Truth, word: str, tier: int
) -> None:
    assert judged((await shipped(pool))[name], *codes) == (truth, word, tier)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO blocklist_codes VALUES ('psbl', '10.0.0.2', 'x', 'listed', 2)",
        "INSERT INTO blocklist_codes VALUES ('psbl', '127.0.0.3', 'x', 'listed', NULL)",
        "INSERT INTO blocklist_codes VALUES ('psbl', '127.0.0.3', 'x', 'refusal', 1)",
        "UPDATE blocklist_zones SET zone = '<key>.psbl.example' WHERE name = 'psbl'",
        "UPDATE blocklist_zones SET tier = 4 WHERE name = 'psbl'",
    ],
)
def test_a_row_that_could_not_be_used_is_refused(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn, pytest.raises(psycopg.errors.CheckViolation):
        conn.execute(statement)


def standing(name: str, trust: str, at: datetime = NOW) -> SelfTest:
    return SelfTest(name, "ipv4", trust, "ok", at, at, 0, None)


async def test_of_two_tests_of_a_list_the_later_one_stays(pool: AsyncConnectionPool) -> None:
    async with as_orchestrator(pool) as conn:
        await blocklist_zones.note_self_test(conn, standing("psbl", "dead"))
        await blocklist_zones.note_self_test(conn, standing("psbl", "trusted", NOW - timedelta(seconds=1)))
        assert [test.trust for test in await blocklist_zones.list_self_tests(conn)] == ["dead"]
        await blocklist_zones.note_self_test(conn, standing("psbl", "trusted", NOW + timedelta(hours=6)))
        assert [test.trust for test in await blocklist_zones.list_self_tests(conn)] == ["trusted"]


async def test_a_list_that_is_switched_on_again_proves_itself_anew_but_stays_dead(pool: AsyncConnectionPool) -> None:
    async with as_orchestrator(pool) as conn:
        for name, trust in (("psbl", "trusted"), ("spamcop", "dead")):
            await blocklist_zones.note_self_test(conn, standing(name, trust))
            assert await blocklist_zones.set_enabled(conn, name, on=False, actor="operator:x")
            assert await blocklist_zones.set_enabled(conn, name, on=True, actor="operator:x")
        assert [test.list_name for test in await blocklist_zones.list_self_tests(conn)] == ["spamcop"]
        assert not await blocklist_zones.set_enabled(conn, "nobody", on=True, actor="operator:x")


async def test_a_waived_list_says_who_waived_it(pool: AsyncConnectionPool) -> None:
    async with as_orchestrator(pool) as conn:
        assert await blocklist_zones.set_gates(conn, "psbl", on=False, actor="operator:x")
    row = (await shipped(pool))["psbl"]
    assert (row.gates, row.is_enabled, row.changed_by) == (False, True, "operator:x")


async def test_workers_at_once_never_take_more_than_a_list_permits(pool: AsyncConnectionPool) -> None:
    async def take() -> bool:
        async with as_orchestrator(pool) as conn:
            return not await blocklist_zones.take_allowance(conn, {"mailspike": 30_000, "psbl": 30_000})

    assert sorted(await asyncio.gather(*(take() for _ in range(6)))) == [False] * 3 + [True] * 3
    rows = await shipped(pool)
    assert (rows["mailspike"].asked_today, rows["mailspike"].daily_limit) == (90_000, 100_000)
    assert (rows["psbl"].asked_today, rows["psbl"].daily_limit) == (0, None)
