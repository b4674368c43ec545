"""The queue on a real server: leases, fencing, turns, backoff, dedupe, notices, and what kills do to it."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from sql import jobs
from sql.job_news import CHANNEL, News, wake_ups
from sql.jobs import Job, NewJob
from sql.session import AlreadyExists, as_orchestrator, as_tenant, open_pool

DNS = "dns-verification"
ORDERS = "infra-provisioning"
PAST = timedelta(seconds=-1)


async def put(pool: AsyncConnectionPool, *new: NewJob) -> list[UUID | None]:
    async with as_orchestrator(pool) as conn:
        return [await jobs.put(conn, job) for job in new]


async def claim(
    pool: AsyncConnectionPool, worker: str = "w1", limit: int = 10, *queues: str, lease: timedelta = jobs.LEASE
) -> list[Job]:
    async with as_orchestrator(pool) as conn:
        return await jobs.claim(conn, queues=queues or (DNS,), worker=worker, limit=limit, lease=lease)


async def status(pool: AsyncConnectionPool, job_id: UUID) -> tuple[str, list[str]]:
    async with as_orchestrator(pool) as conn:
        found = await jobs.inspect(conn, job_id)
    assert found is not None
    return found[0].status, [line.status for line in found[1]]


async def make_due(pool: AsyncConnectionPool) -> None:
    async with as_orchestrator(pool) as conn:
        await conn.execute("UPDATE jobs SET run_at = now() - interval '1 second' WHERE status = 'queued'")


async def test_a_job_goes_from_queued_to_completed_with_a_log(pool) -> None:
    (job_id,) = await put(pool, NewJob(DNS, {"domain": 7}))
    (job,) = await claim(pool)
    assert (job.id, job.payload, job.attempt, job.worker_id, job.priority) == (job_id, {"domain": 7}, 1, "w1", 75)
    async with as_orchestrator(pool) as conn:
        assert await jobs.finish(conn, "w1", [job]) == {job.id}
    assert await status(pool, job.id) == ("completed", ["completed"])
    assert await claim(pool) == []


async def test_a_queue_nobody_knows_is_refused(pool) -> None:
    with pytest.raises(ValueError, match="no queue is called 'lost'"):
        await put(pool, NewJob("lost", {}))


async def test_one_live_job_a_dedupe_key_and_again_after_its_end(pool) -> None:
    same = NewJob(DNS, {}, dedupe_key="domain:7")
    first, second = await put(pool, same, same)
    assert first is not None
    assert second is None
    (job,) = await claim(pool)
    assert await put(pool, same) == [None]
    async with as_orchestrator(pool) as conn:
        await jobs.finish(conn, "w1", [job])
    assert await put(pool, same) != [None]


async def test_many_come_by_copy_all_or_none(pool) -> None:
    async with as_orchestrator(pool) as conn:
        assert await jobs.put_many(conn, [NewJob(ORDERS, {"n": number}) for number in range(500)]) == 500
    (job, *_) = await claim(pool, "w1", 1, ORDERS)
    assert (job.priority, job.max_attempts) == (50, 5)
    twice = [NewJob(DNS, {}, dedupe_key="k"), NewJob(DNS, {}, dedupe_key="k")]
    with pytest.raises(AlreadyExists, match="jobs_dedupe_key"):
        async with as_orchestrator(pool) as conn:
            await jobs.put_many(conn, twice)


async def test_claims_and_ends_read_little_however_much_waits_and_before_any_statistics(pool) -> None:
    async with as_orchestrator(pool) as conn:
        await jobs.put_many(conn, [NewJob(DNS, {}, tenant_id=UUID(int=1 + n % 2)) for n in range(4000)])
    for _ in range(7):  # from the sixth on a function's plan is kept
        held = await claim(pool, "w1", 10)
        async with as_orchestrator(pool) as conn:
            finished = await jobs.finish(conn, "w1", held)
            taken = await jobs.take(conn, worker="w1", queues=[DNS], limit=10)
            read = await counted(conn, "tuples_returned")
        assert (len(finished), len(taken)) == (10, 10)
        assert 20 <= read < 2000, read


async def test_a_plan_made_while_nothing_waited_serves_when_much_does(database: str) -> None:
    pool = await open_pool(database, part="test", max_size=1)  # a plan is a session's own
    async with pool:
        for _ in range(7):
            async with as_orchestrator(pool) as conn:
                await jobs.finish(conn, "w1", await jobs.held_by(conn, "w1"))
                await jobs.take(conn, worker="w1", queues=[DNS], limit=10)
        async with as_orchestrator(pool) as conn:
            await jobs.put_many(conn, [NewJob(DNS, {}) for _ in range(4000)])
        held = await claim(pool, "w1", 10)
        async with as_orchestrator(pool) as conn:
            before = await counted(conn, "tuples_returned")
            finished = await jobs.finish(conn, "w1", held)
            taken = await jobs.take(conn, worker="w1", queues=[DNS], limit=10)
            read = await counted(conn, "tuples_returned") - before
        assert (len(finished), len(taken)) == (10, 10)
        assert read < 500, read


def finished_and_never_vacuumed(database: str, count: int) -> int:
    """So many jobs went through; pages of the index that claims go by."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("ALTER TABLE jobs SET (autovacuum_enabled = off)")
        conn.execute(
            "INSERT INTO jobs (queue_name, payload, priority, run_at)"
            " SELECT %s, '{}', 75, now() - interval '1 hour' + n * interval '1 ms' FROM generate_series(1, %s) n",
            [DNS, count],
        )
        conn.execute("UPDATE jobs SET status = 'completed', completed_at = now()")
        row = conn.execute("SELECT pg_relation_size('idx_jobs_dequeue') / 8192").fetchone()
    assert row is not None
    return int(row[0])


async def test_a_job_taken_by_name_costs_the_same_behind_any_number_of_finished_ones(pool, database) -> None:
    pages = finished_and_never_vacuumed(database, 10_000)
    (job_id,) = await put(pool, NewJob(DNS, {}))
    assert job_id is not None
    async with as_orchestrator(pool) as conn:
        before = await counted(conn, "blocks_fetched")
        taken = await jobs.take(conn, worker="w1", queues=[DNS], limit=10, named=[job_id])
        fetched = await counted(conn, "blocks_fetched") - before
    assert [job.id for job in taken] == [job_id]
    assert fetched < 40 < pages, (fetched, pages)


async def test_a_look_walks_once_over_what_was_claimed_since_the_last_vacuum(pool, database) -> None:
    pages = finished_and_never_vacuumed(database, 10_000)
    await put(pool, NewJob(DNS, {}), NewJob(DNS, {}))
    assert len(await claim(pool, "w1", 1)) == 1  # the first to pass marks the dead
    async with as_orchestrator(pool) as conn:
        before = await counted(conn, "blocks_fetched")
        taken = await jobs.take(conn, worker="w1", queues=[DNS], limit=10)
        fetched = await counted(conn, "blocks_fetched") - before
    assert len(taken) == 1
    assert fetched < 1.5 * pages, (fetched, pages)


async def counted(conn: AsyncConnection, what: str) -> int:
    """What this transaction did so far to the queue's table and indexes."""
    row = await (
        await conn.execute(
            f"""
            SELECT sum(pg_stat_get_xact_{what}(oid)) FROM (
              SELECT indexrelid AS oid FROM pg_index WHERE indrelid = 'jobs'::regclass
               UNION ALL SELECT 'jobs'::regclass) r
            """
        )
    ).fetchone()
    assert row is not None
    return int(row[0])


async def test_by_name_too_only_what_is_due_asked_for_and_not_paused_is_taken(pool) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    named = await put(pool, NewJob(DNS, {}), NewJob(DNS, {}, run_at=later), NewJob(ORDERS, {}), NewJob("warmup", {}))
    ids = [one for one in named if one is not None]
    async with as_orchestrator(pool) as conn:
        await jobs.pause(conn, "warmup")
        asked = {"worker": "w1", "queues": [DNS, "warmup"]}
        assert await jobs.take(conn, **asked, limit=0, named=ids) == []
        assert [job.id for job in await jobs.take(conn, **asked, limit=10, named=ids)] == ids[:1]
        assert await jobs.take(conn, **asked, limit=10, named=ids) == []


async def test_a_better_priority_goes_first_whatever_its_queue(pool) -> None:
    await put(pool, NewJob("warmup", {}), NewJob(DNS, {"late": 1}), NewJob(ORDERS, {}), NewJob(DNS, {}, priority=10))
    taken = [(await claim(pool, "w1", 1, "warmup", DNS, ORDERS))[0].priority for _ in range(4)]
    assert taken == [10, 50, 75, 150]


async def test_a_delayed_job_waits_and_does_not_hold_up_others(pool) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    await put(pool, NewJob(DNS, {"later": 1}, priority=1, run_at=later), NewJob(DNS, {"now": 1}))
    assert [job.payload for job in await claim(pool)] == [{"now": 1}]


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(pool) -> None:
    await put(pool, NewJob(DNS, {}))
    async with as_orchestrator(pool) as conn:
        assert await jobs.pause(conn, DNS)
        assert not await jobs.pause(conn, "lost")
    assert await claim(pool) == []
    async with as_orchestrator(pool) as conn:
        await jobs.resume(conn, DNS)
    assert len(await claim(pool)) == 1


async def test_workers_at_once_never_take_the_same_job(pool) -> None:
    async with as_orchestrator(pool) as conn:
        await jobs.put_many(conn, [NewJob(DNS, {"n": n}, tenant_id=UUID(int=n % 5 + 1)) for n in range(200)])

    async def work(worker: str) -> list[UUID]:
        mine: list[UUID] = []
        while taken := await claim(pool, worker, 7):
            mine += [job.id for job in taken]
        return mine

    taken = [job for mine in await asyncio.gather(*(work(f"w{n}") for n in range(4))) for job in mine]
    assert len(taken) == len(set(taken)) == 200


async def test_a_tenant_with_very_many_jobs_does_not_starve_the_others(pool) -> None:
    crowd = UUID("88888888-8888-8888-8888-888888888888")
    few = [UUID(int=n << 120) for n in range(1, 10)]
    async with as_orchestrator(pool) as conn:
        await jobs.put_many(conn, [NewJob(DNS, {}, tenant_id=crowd) for _ in range(50_000)])
        await jobs.put_many(conn, [NewJob(DNS, {}, tenant_id=tenant) for tenant in few for _ in range(3)])
    seen: Counter[UUID | None] = Counter()
    for _ in range(2):
        seen.update(job.tenant_id for job in await claim(pool, "w1", 20))
    assert sum(seen[tenant] for tenant in few) == 27
    assert sum(seen.values()) == 40


async def test_a_ring_of_more_tenants_than_one_turn_holds_is_walked_to_its_end(pool) -> None:
    tenants = [UUID(int=n << 112) for n in range(1, 131)]
    later = datetime.now(UTC) + timedelta(hours=1)
    async with as_orchestrator(pool) as conn:
        await jobs.put_many(conn, [NewJob(DNS, {}, tenant_id=tenant, run_at=later) for tenant in tenants])
        await jobs.put_many(conn, [NewJob(DNS, {}, tenant_id=tenant) for tenant in (tenants[3], tenants[126])])
    assert {job.tenant_id for job in await claim(pool, "w1", 10)} == {tenants[3], tenants[126]}


async def test_single_claims_take_turns_too(pool) -> None:
    tenants = [UUID(int=n << 120) for n in (0x20, 0x60, 0xA0, 0xE0)]
    async with as_orchestrator(pool) as conn:
        await jobs.put_many(conn, [NewJob(DNS, {}, tenant_id=tenant) for tenant in tenants for _ in range(100)])
        await jobs.put_many(conn, [NewJob(DNS, {}) for _ in range(100)])  # the platform's own
    seen: Counter[UUID | None] = Counter()
    for _ in range(100):
        (job,) = await claim(pool, "w1", 1)
        seen[job.tenant_id] += 1
    assert set(seen) == {*tenants, None}  # 0.875 ** 100: a tenant is left out once in a million runs


async def test_a_batch_is_filled_from_whoever_has_jobs(pool) -> None:
    async with as_orchestrator(pool) as conn:
        await jobs.put_many(conn, [NewJob(DNS, {}, tenant_id=UUID(int=1 << 100)) for _ in range(95)])
        await jobs.put_many(conn, [NewJob(DNS, {}, tenant_id=UUID(int=2 << 100)) for _ in range(5)])
    assert len(await claim(pool, "w1", 100)) == 100


async def test_a_worker_that_was_given_up_changes_nothing(pool) -> None:
    await put(pool, NewJob(DNS, {}))
    (zombie,) = await claim(pool, "w1", lease=PAST)
    async with as_orchestrator(pool) as conn:
        assert await jobs.reap(conn) == 1
    (job,) = await claim(pool, "w1")  # the same worker, its second attempt: the number alone tells them apart
    assert (job.id, job.attempt) == (zombie.id, 2)
    async with as_orchestrator(pool) as conn:
        assert await jobs.finish(conn, "w1", [zombie]) == set()
        assert await jobs.heartbeat(conn, "w1", [zombie]) == set()
        assert await jobs.fail(conn, "w1", zombie, "late") is None
        assert await jobs.finish(conn, "w2", [job]) == set()
        assert await jobs.heartbeat(conn, "w2", [job]) == set()
        assert await jobs.fail(conn, "w2", job, "not mine") is None
        assert await jobs.finish(conn, "w1", [job]) == {job.id}
    assert await status(pool, job.id) == ("completed", ["crashed", "completed"])


async def test_a_beat_keeps_the_lease(pool) -> None:
    await put(pool, NewJob(DNS, {}))
    (job,) = await claim(pool, "w1", lease=PAST)
    async with as_orchestrator(pool) as conn:
        assert await jobs.heartbeat(conn, "w1", [job]) == {job.id}
        assert await jobs.reap(conn) == 0


async def test_a_failure_is_tried_again_later_and_then_stays_with_its_reason(pool) -> None:
    (job_id,) = await put(pool, NewJob(DNS, {}))
    assert job_id is not None
    for attempt in (1, 2, 3):
        (job,) = await claim(pool)
        async with as_orchestrator(pool) as conn:
            word = await jobs.fail(conn, "w1", job, f"no answer {attempt}")
        assert word == ("failed" if attempt == 3 else "queued")
        assert await claim(pool) == []
        await make_due(pool)
    async with as_orchestrator(pool) as conn:
        (dead,) = await jobs.list_jobs(conn, status="failed")
    assert (dead.id, dead.last_error_message, dead.attempt) == (job_id, "no answer 3", 3)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 2), (2, 4), (5, 32), (12, 300)])
async def test_the_pause_doubles_has_jitter_and_a_ceiling(pool, attempt: int, longest: int) -> None:
    (job_id,) = await put(pool, NewJob(DNS, {}, max_attempts=20))
    async with as_orchestrator(pool) as conn:
        await conn.execute("UPDATE jobs SET attempt_count = %s WHERE id = %s", [attempt - 1, job_id])
    (job,) = await claim(pool)
    async with as_orchestrator(pool) as conn:
        await jobs.fail(conn, "w1", job, "no answer")
        row = await (
            await conn.execute(
                "SELECT extract(epoch FROM run_at - updated_at)::float8 FROM jobs WHERE id = %s", [job_id]
            )
        ).fetchone()
    assert row is not None
    assert longest / 2 - 0.1 <= row[0] <= longest + 0.1


async def test_what_is_not_worth_a_retry_fails_at_once(pool) -> None:
    await put(pool, NewJob(DNS, {}))
    (job,) = await claim(pool)
    async with as_orchestrator(pool) as conn:
        assert await jobs.fail(conn, "w1", job, "no such domain", retryable=False) == "failed"


async def test_a_poison_job_that_kills_every_worker_ends(pool) -> None:
    (job_id,) = await put(pool, NewJob(DNS, {}))
    assert job_id is not None
    for _ in range(3):
        assert len(await claim(pool, lease=PAST)) == 1
        async with as_orchestrator(pool) as conn:
            assert await jobs.reap(conn) == 1
    assert await claim(pool) == []
    assert await status(pool, job_id) == ("failed", ["crashed"] * 3)


async def test_an_operator_gives_a_dead_job_three_more_attempts(pool) -> None:
    (job_id,) = await put(pool, NewJob(DNS, {}, max_attempts=1))
    assert job_id is not None
    (job,) = await claim(pool)
    async with as_orchestrator(pool) as conn:
        await jobs.fail(conn, "w1", job, "no answer")
        assert await jobs.retry(conn, [job_id, uuid4()], "ops") == [job_id]
    (again,) = await claim(pool)
    assert (again.attempt, again.max_attempts) == (2, 4)


async def test_a_cancelled_job_is_noticed_by_its_worker(pool) -> None:
    first, second = await put(pool, NewJob(DNS, {"n": 1}, priority=1), NewJob(DNS, {"n": 2}))
    assert first is not None
    assert second is not None
    (job,) = await claim(pool, "w1", 1)
    async with as_orchestrator(pool) as conn:
        assert set(await jobs.cancel(conn, [first, second], "ops")) == {first, second}
        assert await jobs.heartbeat(conn, "w1", [job]) == set()
        assert await jobs.finish(conn, "w1", [job]) == set()
    assert await claim(pool) == []
    assert await status(pool, second) == ("cancelled", ["cancelled"])


async def test_depths_tell_how_each_queue_stands(pool) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    await put(pool, NewJob(DNS, {}), NewJob(DNS, {}, run_at=later), NewJob(ORDERS, {}))
    await claim(pool, "w1", 1, ORDERS, lease=PAST)
    async with as_orchestrator(pool) as conn:
        depths = {depth.queue: depth for depth in await jobs.depths(conn)}
    assert set(depths) == set(jobs.QUEUES)
    assert (depths[DNS].due, depths[DNS].delayed, depths[DNS].running) == (1, 1, 0)
    assert depths[DNS].oldest_seconds is not None
    assert (depths[ORDERS].running, depths[ORDERS].expired, depths[ORDERS].oldest_seconds) == (1, 1, None)


async def test_a_new_job_wakes_a_listener_once_a_statement(pool, database) -> None:
    async with wake_ups(database) as heard:
        async with as_orchestrator(pool) as conn:
            await jobs.put_many(conn, [NewJob(DNS, {}) for _ in range(50)])
        assert await heard.next(10) == {News(DNS, None)}
        assert await heard.next(0.2) == frozenset()


async def test_a_job_that_comes_alone_is_named(pool, database) -> None:
    async with wake_ups(database) as heard:
        (job_id,) = await put(pool, NewJob(DNS, {}))
        assert await heard.next(10) == {News(DNS, job_id)}


@pytest.mark.parametrize("payload", ["x y", "", "x y ", "night mail 7"])
async def test_a_notice_without_a_key_is_the_name_of_a_queue(pool, database, payload: str) -> None:
    async with wake_ups(database) as heard:
        async with as_orchestrator(pool) as conn:
            await conn.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])
        assert await heard.next(10) == {News(payload, None)}


async def test_a_delayed_job_wakes_nobody(pool, database) -> None:
    async with wake_ups(database) as heard:
        await put(pool, NewJob(DNS, {}, run_at=datetime.now(UTC) + timedelta(hours=1)))
        assert await heard.next(0.2) == frozenset()


async def test_the_application_has_no_reach_into_the_queue(pool) -> None:
    for statement in ("SELECT * FROM jobs", "SELECT job_reap()", "SELECT * FROM job_logs"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with as_tenant(pool, uuid4()) as conn:
                await conn.execute(statement)


async def test_old_jobs_can_be_deleted_even_when_a_message_came_of_them(pool) -> None:
    (job_id,) = await put(pool, NewJob(DNS, {}))
    async with as_orchestrator(pool) as conn:
        await conn.execute(
            "INSERT INTO transactional_emails (user_id, tenant_id, type, payload, job_id)"
            " VALUES (%s, %s, 'x', '{}', %s)",
            [uuid4(), uuid4(), job_id],
        )
        await conn.execute("DELETE FROM jobs WHERE id = %s", [job_id])
        row = await (await conn.execute("SELECT job_id FROM transactional_emails")).fetchone()
    assert row == (None,)
