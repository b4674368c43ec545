"""Due domains: fair between tenants, once each, cheap when none is due; looks written only over what was seen."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from sql import dns_checks, domains
from sql.dns_checks import CheckOf, DnsCheck
from sql.domains import DueDomain, Look
from sql.session import as_orchestrator
from tests.support.postgres import add_tenant

FILL = """
    INSERT INTO domains (tenant_id, domain_name, verification_status, dns_next_check_at)
    SELECT %s, 'd' || n || '.t' || %s || '.example', 'pending', now() + %s FROM generate_series(1, %s) n
"""
OVERDUE, LATER = timedelta(hours=-1), timedelta(hours=1)


@pytest.fixture
def tables(database: str) -> Any:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def filled(tables: psycopg.Connection, database: str, count: int, when: timedelta, name: str = "acme") -> int:
    tenant = add_tenant(database, name).pk
    tables.execute(FILL, [tenant, tenant, when, count])
    return tenant


async def taken(pool: AsyncConnectionPool, limit: int) -> list[DueDomain]:
    async with as_orchestrator(pool) as conn:
        return await domains.claim_due(conn, limit)


async def test_a_crowd_of_one_tenant_leaves_the_others_their_turn(
    pool: AsyncConnectionPool, tables: psycopg.Connection, database: str
) -> None:
    crowd = filled(tables, database, 1000, OVERDUE * 10)
    few = {filled(tables, database, 3, OVERDUE, f"small {n}") for n in range(4)}
    served: Counter[int] = Counter()
    for _ in range(24):  # each turn begins at a random tenant: the second of five is missed by all in 0.6 ** 24
        served.update(domain.tenant_id for domain in await taken(pool, 40))
    assert all(served[tenant] == 3 for tenant in few)
    assert served[crowd] == 24 * 40 - 12


async def test_every_due_domain_is_taken_once_by_many_at_a_time(
    pool: AsyncConnectionPool, tables: psycopg.Connection, database: str
) -> None:
    for n in range(5):
        filled(tables, database, 30, OVERDUE, f"t{n}")
    filled(tables, database, 30, LATER, "later")
    chunks = await asyncio.gather(*(taken(pool, 40) for _ in range(4)))
    rest = await taken(pool, 40)
    names = [domain.domain_name for chunk in (*chunks, rest) for domain in chunk]
    assert len(names) == len(set(names)) == 150
    assert await taken(pool, 40) == []


async def test_a_look_that_died_is_due_again(
    pool: AsyncConnectionPool, tables: psycopg.Connection, database: str
) -> None:
    filled(tables, database, 1, OVERDUE)
    await taken(pool, 10)
    (pause,) = tables.execute("SELECT dns_next_check_at - now() FROM domains").fetchone() or ()
    assert timedelta(minutes=9) < pause <= timedelta(minutes=10)


async def test_a_deleted_domain_is_never_due(
    pool: AsyncConnectionPool, tables: psycopg.Connection, database: str
) -> None:
    filled(tables, database, 1, OVERDUE)
    tables.execute("UPDATE domains SET verification_status = 'deleted'")
    assert await taken(pool, 10) == []


async def test_whether_any_is_due_is_one_step_down_one_index(
    pool: AsyncConnectionPool, tables: psycopg.Connection, database: str
) -> None:
    filled(tables, database, 5000, LATER)
    tables.execute("ANALYZE domains")
    plan = tables.execute(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT EXISTS (SELECT FROM domains"
        " WHERE verification_status <> 'deleted' AND dns_next_check_at <= now())"
    ).fetchone()
    assert plan is not None
    text = str(plan[0])
    assert "idx_domains_dns_verification" in text
    assert "Seq Scan" not in text
    assert plan[0][0]["Plan"]["Shared Hit Blocks"] + plan[0][0]["Plan"]["Shared Read Blocks"] < 10


async def test_looks_are_written_together_and_not_over_a_row_that_changed(
    pool: AsyncConnectionPool, tables: psycopg.Connection, database: str
) -> None:
    filled(tables, database, 3, OVERDUE)
    first, second, third = sorted(await taken(pool, 10), key=lambda domain: domain.id)
    tables.execute(
        "UPDATE domains SET dns_records = '{\"records\": [1]}', updated_at = clock_timestamp() WHERE id = %s",
        [second.id],
    )
    at = datetime.now(UTC) + LATER
    looks = [
        Look(first.id, first.updated_at, {"records": []}, {"reason": "missing"}, at),
        Look(second.id, second.updated_at, {"records": []}, None, at),
        Look(third.id, third.updated_at, None, None, None),
    ]
    async with as_orchestrator(pool) as conn:
        assert await domains.note_looks(conn, looks) == {first.id, third.id}
    rows = tables.execute(
        "SELECT dns_records, dns_verification_error, dns_next_check_at = 'infinity' FROM domains ORDER BY id"
    ).fetchall()
    assert rows == [
        ({"records": []}, {"reason": "missing"}, False),
        ({"records": [1]}, None, False),
        ({}, None, True),
    ]


async def test_history_of_many_domains_is_written_in_one_statement(
    pool: AsyncConnectionPool, tables: psycopg.Connection, database: str
) -> None:
    tenant = filled(tables, database, 2, OVERDUE)
    due = await taken(pool, 10)
    check = DnsCheck(
        "dmarc", "TXT", "_dmarc.x", "fail", "missing" * 20, "v=DMARC1", ["a", 'quo"te', ""], 60, {"seen": []}
    )
    async with as_orchestrator(pool) as conn:
        await dns_checks.add_many(conn, [CheckOf(tenant, domain.id, check) for domain in due], None)
        await dns_checks.add_many(conn, [], None)
        (row,) = await dns_checks.latest(conn, due[0].id)
    assert row[1:] == ("dmarc", "fail", ("missing" * 20)[:50], ["a", 'quo"te', ""])


async def test_a_name_that_several_tenants_claim_shows_the_verified_row_first(
    pool: AsyncConnectionPool, tables: psycopg.Connection, database: str
) -> None:
    for name in ("a", "b"):
        tables.execute(
            "INSERT INTO domains (tenant_id, domain_name, verification_status) VALUES (%s, 'acme.example', %s)",
            [add_tenant(database, name).pk, "verified" if name == "b" else "pending"],
        )
    async with as_orchestrator(pool) as conn:
        found = await domains.find_live(conn, "acme.example")
        assert await domains.get_live(conn, found[0].id) == found[0]
    assert [domain.verification_status for domain in found] == ["verified", "pending"]


async def test_of_two_tenants_who_are_verified_at_the_same_moment_one_has_the_name(
    pool: AsyncConnectionPool, tables: psycopg.Connection, database: str
) -> None:
    claims: list[int] = []
    for name in ("a", "b"):
        row = tables.execute(
            "INSERT INTO domains (tenant_id, domain_name) VALUES (%s, 'acme.example') RETURNING id",
            [add_tenant(database, name).pk],
        ).fetchone()
        assert row is not None
        claims.append(row[0])

    async def verified(claim: int) -> str | None:
        async with as_orchestrator(pool) as conn:
            before = await domains.move(conn, claim, to="verified", allowed_from=["pending"])
            await asyncio.sleep(0.1)  # both are at it
            return before

    ends = await asyncio.gather(*map(verified, claims), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["AlreadyExists", "str"]
    rows = tables.execute("SELECT verification_status FROM domains ORDER BY 1").fetchall()
    assert [word for (word,) in rows] == ["pending", "verified"]
