"""The record of dumps: what moves where, and what a dead process leaves."""

import psycopg
import pytest

from sql import backups
from sql.session import as_orchestrator

STORED = {"tables": 40, "row_total": 7, "size_bytes": 100, "sha256": "a" * 64, "seconds": {"dump": 1.5}}


async def begun(pool, key: str, target="core"):
    async with as_orchestrator(pool) as conn:
        return await backups.begin(conn, target=target, store="/x", object_key=key, key_id="k1")


async def words(pool) -> dict[str, str]:
    async with as_orchestrator(pool) as conn:
        return {row.object_key: row.status for row in await backups.list_backups(conn)}


async def test_a_dump_is_begun_stored_verified_and_pruned(pool) -> None:
    made = await begun(pool, "core/1")
    async with as_orchestrator(pool) as conn:
        assert not await backups.mark_verified(conn, made, seconds={})
        assert await backups.mark_stored(conn, made, **STORED)
        assert not await backups.mark_stored(conn, made, **STORED)
        assert await backups.mark_verified(conn, made, seconds={"restore": 2.5})
        assert await backups.verified_keys(conn, "/x") == {"core/1"}
        assert await backups.verified_keys(conn, "/y") == frozenset()
        (row,) = await backups.list_backups(conn)
        assert row.seconds == {"dump": 1.5, "restore": 2.5}
        await backups.mark_pruned(conn, "/x", "core/1")
        assert await backups.verified_keys(conn, "/x") == frozenset()
    assert await words(pool) == {"core/1": "pruned"}


async def test_a_dump_whose_process_died_is_told_as_failed_by_the_next(pool) -> None:
    await begun(pool, "core/1")
    await begun(pool, "analytics/1", "analytics")
    await begun(pool, "core/2")
    assert await words(pool) == {"core/1": "failed", "analytics/1": "started", "core/2": "started"}


async def test_a_failed_dump_is_never_verified(pool) -> None:
    made = await begun(pool, "core/1")
    async with as_orchestrator(pool) as conn:
        await backups.mark_failed(conn, made, "the dump holds 0 of 5 rows of leads")
        assert not await backups.mark_verified(conn, made, seconds={})
        row = await backups.of_key(conn, "/x", "core/1")
    assert row is not None
    assert (row.status, row.reason) == ("failed", "the dump holds 0 of 5 rows of leads")


async def test_the_table_refuses_a_stored_dump_without_its_digest(pool) -> None:
    made = await begun(pool, "core/1")
    with pytest.raises(psycopg.errors.CheckViolation):
        async with as_orchestrator(pool) as conn:
            await conn.execute("UPDATE backups SET status = 'stored' WHERE id = %s", [made])
