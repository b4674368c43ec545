"""Whose turn it is to be looked at, and runs that only the worker who holds the look may write."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from sql import blacklist_checks, provider_blacklist_status
from sql.blacklist_checks import Due, RunRow
from sql.session import AlreadyExists, as_orchestrator
from tests.support.postgres import TenantRow, add_tenant

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def add_addresses(dsn: str, tenant: TenantRow, net: str, count: int, **columns: str) -> None:
    extra = "".join(f", {name}" for name in columns), "".join(f", {value}" for value in columns.values())
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            f"INSERT INTO smtp_ip_addresses (tenant_id, ip_address{extra[0]})"
            f" SELECT %s, %s::inet + n{extra[1]} FROM generate_series(1, %s) n",
            [tenant.pk, net, count],
        )


async def claimed(pool: AsyncConnectionPool, limit: int) -> list[Due]:
    async with as_orchestrator(pool) as conn:
        return await blacklist_checks.claim_due(conn, "ip", limit=limit)


def run(due: Due, verdict: str = "pass", **changes: object) -> RunRow:
    listed = {"category": "SBL", "effect": "listed", "tier": 1, "codes": ("127.0.0.2",)} if verdict == "fail" else {}
    bare = RunRow(
        None, due.id, "psbl", verdict, None, None, None, NOW, (), None, None, None, None, None, NOW,
        NOW + timedelta(hours=1),
    )  # fmt: skip
    return replace(bare, **{**listed, **changes})


async def test_one_tenants_thousand_do_not_keep_another_waiting(database: str, pool: AsyncConnectionPool) -> None:
    crowd, small = add_tenant(database, "crowd"), add_tenant(database, "small")
    add_addresses(database, crowd, "198.51.100.0", 200, blacklist_next_check_at="now() - interval '1 hour'")
    add_addresses(database, small, "203.0.113.0", 5)
    tenants = [due.tenant_id for due in await claimed(pool, 10)]
    assert (tenants.count(crowd.pk), tenants.count(small.pk)) == (5, 5)


async def test_a_subject_is_claimed_by_one_worker_and_comes_back_when_that_one_dies(
    database: str, pool: AsyncConnectionPool
) -> None:
    add_addresses(database, add_tenant(database), "198.51.100.0", 3)
    first = await claimed(pool, 2)
    assert len({due.id for due in (*first, *(await claimed(pool, 2)))}) == 3
    assert await claimed(pool, 2) == []
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "UPDATE smtp_ip_addresses SET blacklist_next_check_at = blacklist_next_check_at - interval '11 min'"
        )
    assert len(await claimed(pool, 5)) == 3


async def test_a_row_that_another_claims_right_now_is_passed_over(database: str, pool: AsyncConnectionPool) -> None:
    add_addresses(database, add_tenant(database), "198.51.100.0", 4)
    async with as_orchestrator(pool) as conn:
        one = await blacklist_checks.claim_due(conn, "ip", limit=2)
        two = await claimed(pool, 10)
    assert len({due.id for due in (*one, *two)}) == len(one) + len(two) == 4


async def test_what_is_released_deleted_or_not_due_is_left_alone(database: str, pool: AsyncConnectionPool) -> None:
    tenant = add_tenant(database)
    add_addresses(database, tenant, "198.51.100.0", 1, status="'released'")
    add_addresses(database, tenant, "203.0.113.0", 1, blacklist_next_check_at="now() + interval '1 minute'")
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO domains (tenant_id, domain_name, verification_status) VALUES (%s, 'gone.example', 'deleted')",
            [tenant.pk],
        )
    async with as_orchestrator(pool) as conn:
        assert not await blacklist_checks.any_due(conn, "ip")
        assert not await blacklist_checks.any_due(conn, "domain")
        assert await blacklist_checks.claim_due(conn, "ip", limit=5) == []
        assert await blacklist_checks.claim_due(conn, "domain", limit=5) == []


async def test_a_claimed_domain_comes_with_the_names_its_servers_say(database: str, pool: AsyncConnectionPool) -> None:
    tenant = add_tenant(database)
    add_addresses(database, tenant, "198.51.100.0", 1, rdns_hostname="'mail.acme.example'")
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("INSERT INTO domains (tenant_id, domain_name) VALUES (%s, 'acme.example')", [tenant.pk])
        conn.execute(
            "INSERT INTO domain_ip_assignments (tenant_id, domain_id, smtp_ip_address_id)"
            " SELECT d.tenant_id, d.id, i.id FROM domains d, smtp_ip_addresses i"
        )
    async with as_orchestrator(pool) as conn:
        (due,) = await blacklist_checks.claim_due(conn, "domain", limit=5)
    assert (due.subject, due.hosts, due.is_sending, due.tenant_uuid) == (
        "acme.example", ["mail.acme.example"], True, tenant.uuid,
    )  # fmt: skip


async def test_a_look_that_comes_back_too_late_writes_nothing(database: str, pool: AsyncConnectionPool) -> None:
    add_addresses(database, add_tenant(database), "198.51.100.0", 1)
    late = await claimed(pool, 1)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("UPDATE smtp_ip_addresses SET blacklist_next_check_at = now() - interval '1 second'")
    again = await claimed(pool, 1)
    async with as_orchestrator(pool) as conn:
        assert await blacklist_checks.still_ours(conn, "ip", late) == set()
        assert await blacklist_checks.still_ours(conn, "ip", again) == {again[0].id}


async def test_a_run_is_opened_renewed_and_ended_and_its_picture_stands_beside_the_address(
    database: str, pool: AsyncConnectionPool
) -> None:
    add_addresses(database, add_tenant(database), "198.51.100.0", 1)
    (due,) = await claimed(pool, 1)
    async with as_orchestrator(pool) as conn:
        await blacklist_checks.begin_runs(conn, "ip", {due.id: due}, [run(due, "fail")])
        (opened,) = await blacklist_checks.open_runs(conn, "ip", [due.id])
        assert (opened.verdict, opened.category, opened.since, list(opened.codes)) == (
            "fail",
            "SBL",
            NOW,
            ["127.0.0.2"],
        )
        doubted = replace(opened, unknown_since=NOW, unknown_reason="list_dead")
        await blacklist_checks.renew_runs(conn, [doubted])
        (renewed,) = await blacklist_checks.open_runs(conn, "ip", [due.id])
        assert renewed == replace(doubted, codes=["127.0.0.2"])
        await provider_blacklist_status.note_status(conn, "ip", {due.id: [renewed]}, {due.id: renewed.next_check_at})
        picture = await provider_blacklist_status.stored_status(conn, "ip", "198.51.100.1")
        assert picture
        assert (picture["psbl"]["verdict"], picture["psbl"]["unknown_reason"]) == ("fail", "list_dead")
        await blacklist_checks.end_runs(conn, [opened.id or 0], NOW, delisted=True)
        assert await blacklist_checks.open_runs(conn, "ip", [due.id]) == []


async def test_two_open_runs_of_one_subject_on_one_list_cannot_be(database: str, pool: AsyncConnectionPool) -> None:
    add_addresses(database, add_tenant(database), "198.51.100.0", 1)
    (due,) = await claimed(pool, 1)
    with pytest.raises(AlreadyExists, match="blacklist_checks_open_key"):
        async with as_orchestrator(pool) as conn:
            await blacklist_checks.begin_runs(conn, "ip", {due.id: due}, [run(due), run(due)])


async def test_an_end_that_another_listing_follows_is_told_as_still_listed(
    database: str, pool: AsyncConnectionPool
) -> None:
    add_addresses(database, add_tenant(database), "198.51.100.0", 1)
    (due,) = await claimed(pool, 1)
    async with as_orchestrator(pool) as conn:
        await blacklist_checks.begin_runs(conn, "ip", {due.id: due}, [run(due, "fail")])
        (news,) = await blacklist_checks.untold(conn)
        await blacklist_checks.mark_told(conn, news)
        assert await blacklist_checks.untold(conn) == []
        await blacklist_checks.end_runs(conn, [news.id], NOW, delisted=False)
        await blacklist_checks.begin_runs(conn, "ip", {due.id: due}, [run(due, "fail", category="XBL")])
        ended, begun = await blacklist_checks.untold(conn)
    assert (ended.is_listed_still, ended.ended_at, begun.category, begun.ended_at) == (True, NOW, "XBL", None)


async def test_only_a_clean_answer_delists(database: str, pool: AsyncConnectionPool) -> None:
    add_addresses(database, add_tenant(database), "198.51.100.0", 2)
    one, two = await claimed(pool, 2)
    async with as_orchestrator(pool) as conn:
        await blacklist_checks.begin_runs(conn, "ip", {one.id: one, two.id: two}, [run(one, "fail"), run(two, "fail")])
        first, second = await blacklist_checks.open_runs(conn, "ip", [one.id, two.id])
        await blacklist_checks.end_runs(conn, [first.id or 0], NOW, delisted=True)
        await blacklist_checks.end_runs(conn, [second.id or 0], NOW, delisted=False)
    with psycopg.connect(database) as conn:
        rows = conn.execute("SELECT delisted_at FROM blacklist_checks ORDER BY id").fetchall()
    assert rows == [(NOW,), (None,)]


async def test_an_operator_makes_all_lists_of_a_subject_due(database: str, pool: AsyncConnectionPool) -> None:
    add_addresses(database, add_tenant(database), "198.51.100.0", 1)
    (due,) = await claimed(pool, 1)
    async with as_orchestrator(pool) as conn:
        await blacklist_checks.begin_runs(
            conn, "ip", {due.id: due}, [run(due, next_check_at=NOW + timedelta(days=900))]
        )
        assert await blacklist_checks.make_due(conn, "ip", "198.51.100.1") == 1
        assert await blacklist_checks.make_due(conn, "ip", "198.51.100.9") == 0
    (again,) = await claimed(pool, 1)
    async with as_orchestrator(pool) as conn:
        (row,) = await blacklist_checks.open_runs(conn, "ip", [again.id])
    assert row.next_check_at <= datetime.now(UTC)
