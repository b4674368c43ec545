"""Runs, steps and tries: joined, fenced, waited, orphaned, counted."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from psycopg_pool import AsyncConnectionPool

from sql import provisioning, retries
from sql.provisioning import Run
from sql.session import AlreadyExists, as_orchestrator, as_tenant, lock_is_free, run_lock
from tests.support.postgres import TenantRow, add_tenant

ROOT = Path(__file__).parents[2]
SOON = datetime.now(UTC) + timedelta(hours=1)
PAST = datetime.now(UTC) - timedelta(hours=1)
MINE = UUID(int=1)
THEIRS = UUID(int=2)


@pytest.fixture
def tenant(database: str) -> TenantRow:
    return add_tenant(database)


async def opened(pool: AsyncConnectionPool, tenant: TenantRow, key: str = "job:1", target: str = "") -> Run:
    async with as_orchestrator(pool) as conn:
        return await provisioning.open_or_join_run(
            conn,
            tenant_id=tenant.pk,
            kind="onboard",
            target=target,
            idempotency_key=key,
            requested_by="test",
            input={"ips": 1},
        )


async def started(pool: AsyncConnectionPool, run: Run, by: UUID = MINE) -> Run | None:
    async with as_orchestrator(pool) as conn:
        return await provisioning.start_run(conn, run.id, by)


async def waiting(
    pool: AsyncConnectionPool, run: Run, *, resume_at: datetime, deadline_at: datetime = SOON, reason: str = "dns"
) -> bool:
    async with as_orchestrator(pool) as conn:
        return await provisioning.wait_run(
            conn, run.id, MINE, reason=reason, detail="an A record", resume_at=resume_at, deadline_at=deadline_at
        )


async def look(pool: AsyncConnectionPool, run: Run) -> Run:
    async with as_orchestrator(pool) as conn:
        found = await provisioning.get_run(conn, run.id)
    assert found is not None
    return found


async def test_a_second_trigger_joins_the_live_run(pool, tenant) -> None:
    first = await opened(pool, tenant, "job:1")
    second = await opened(pool, tenant, "job:2")
    assert (second.id, second.idempotency_key, second.tenant_uuid) == (first.id, "job:1", tenant.uuid)


async def test_the_same_key_finds_its_run_even_when_it_has_ended(pool, tenant) -> None:
    first = await opened(pool, tenant)
    await started(pool, first)
    async with as_orchestrator(pool) as conn:
        assert await provisioning.finish_run(conn, first.id, MINE, "succeeded")
    again = await opened(pool, tenant)
    assert (again.id, again.status) == (first.id, "succeeded")
    assert (await opened(pool, tenant, "job:2")).id != first.id


async def test_another_target_is_another_run(pool, tenant) -> None:
    assert (await opened(pool, tenant, "job:1", "7")).id != (await opened(pool, tenant, "job:2", "8")).id


async def test_twenty_triggers_at_once_make_one_run(pool, tenant) -> None:
    runs = await asyncio.gather(*(opened(pool, tenant, f"job:{number}") for number in range(20)))
    assert len({run.id for run in runs}) == 1


async def test_a_start_is_counted_and_a_resume_from_a_wait_is_not(pool, tenant) -> None:
    run = await opened(pool, tenant)
    first = await started(pool, run)
    assert first is not None
    assert (first.status, first.starts, first.idle_starts, first.flow_run_id) == ("running", 1, 1, MINE)
    await waiting(pool, run, resume_at=PAST)
    resumed = await started(pool, run)
    assert resumed is not None
    assert (resumed.status, resumed.starts, resumed.idle_starts, resumed.wait_reason) == ("running", 1, 1, None)
    crashed = await started(pool, run)
    assert crashed is not None
    assert (crashed.starts, crashed.idle_starts) == (2, 2)


@pytest.mark.parametrize("status", ["succeeded", "rejected", "cancelled"])
async def test_a_run_that_ended_for_good_does_not_start_again(pool, tenant, status: str) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    async with as_orchestrator(pool) as conn:
        await provisioning.finish_run(conn, run.id, MINE, status, "the end")
    assert await started(pool, run) is None


async def test_a_failed_run_starts_again_unless_another_lives(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    async with as_orchestrator(pool) as conn:
        await provisioning.finish_run(conn, run.id, MINE, "failed", "a bug")
    assert (await look(pool, run)).last_error_message == "a bug"
    await opened(pool, tenant, "job:2")
    with pytest.raises(AlreadyExists, match="provisioning_runs_one_live"):
        await started(pool, run)


async def test_a_late_writer_changes_nothing(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run, THEIRS)
    await started(pool, run, MINE)
    async with as_orchestrator(pool) as conn:
        assert not await provisioning.finish_run(conn, run.id, THEIRS, "failed", "late")
        assert not await provisioning.wait_run(
            conn, run.id, THEIRS, reason="operator", detail="late", resume_at=None, deadline_at=None
        )
        step = await provisioning.intend_step(
            conn, run_id=run.id, tenant_id=tenant.pk, step_key="admit", ordinal=1, intent={}
        )
        assert not await provisioning.finish_step(conn, step.id, status="succeeded", flow_run_id=THEIRS)
        assert await provisioning.finish_step(conn, step.id, status="succeeded", flow_run_id=MINE)
    assert (await look(pool, run)).status == "running"


async def test_the_same_end_said_twice_is_no_failure(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    async with as_orchestrator(pool) as conn:
        assert await provisioning.finish_run(conn, run.id, MINE, "succeeded")
        assert await provisioning.finish_run(conn, run.id, MINE, "succeeded")
        assert not await provisioning.finish_run(conn, run.id, MINE, "failed")


async def test_a_due_wait_is_claimed_by_one_sweep_and_is_due_again_later(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    await waiting(pool, run, resume_at=PAST)

    async def sweep() -> list[Run]:
        async with as_orchestrator(pool) as conn:
            return await provisioning.claim_due_runs(conn, 10)

    claimed = await asyncio.gather(*(sweep() for _ in range(4)))
    assert sum(len(runs) for runs in claimed) == 1
    again = (await look(pool, run)).resume_at
    assert again is not None
    assert again > datetime.now(UTC)


async def test_a_wait_that_is_not_due_stays(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    await waiting(pool, run, resume_at=SOON)
    async with as_orchestrator(pool) as conn:
        assert await provisioning.claim_due_runs(conn, 10) == []


async def test_a_wait_for_the_provider_past_its_deadline_waits_for_an_operator(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    await waiting(pool, run, reason="provider", resume_at=PAST, deadline_at=PAST)
    async with as_orchestrator(pool) as conn:
        (expired,) = await provisioning.expire_waits(conn)
        assert await provisioning.expire_waits(conn) == []
        assert await provisioning.claim_due_runs(conn, 10) == []
    assert (expired.status, expired.wait_reason) == ("waiting", "operator")
    assert expired.wait_detail == "waited for provider until the deadline: an A record"


async def test_a_wait_for_dns_past_its_deadline_ends_the_run_and_a_retry_begins_a_new_patience(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    await waiting(pool, run, resume_at=PAST, deadline_at=PAST)
    async with as_orchestrator(pool) as conn:
        (expired,) = await provisioning.expire_waits(conn)
        assert await provisioning.expire_waits(conn) == []
        assert await provisioning.claim_due_runs(conn, 10) == []
    assert (expired.status, expired.wait_reason, expired.wait_detail) == ("failed", None, None)
    assert expired.last_error_message == (
        f"waited for dns until the deadline: an A record; once it is: python -m flows retry {run.id}"
    )
    async with as_orchestrator(pool) as conn:
        rearmed = await retries.rearm_run(conn, run.id, from_ordinal=None)
        assert await provisioning.expire_waits(conn) == []
    assert rearmed is not None
    assert (rearmed.status, rearmed.deadline_at) == ("pending", None)
    assert (rearmed.starts, rearmed.idle_starts) == (0, 0)


@pytest.mark.parametrize("status", ["waiting", "unconfirmed", "running", "failed"])
async def test_a_retry_gives_whatever_is_not_done_a_new_patience(pool, tenant, status: str) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    async with as_orchestrator(pool) as conn:
        step = await provisioning.intend_step(
            conn, run_id=run.id, tenant_id=tenant.pk, step_key="publish_dns", ordinal=1, intent={}
        )
        await conn.execute(
            "UPDATE provisioning_steps SET status = %s, started_at = now() - interval '20 days' WHERE id = %s",
            [status, step.id],
        )
        await retries.rearm_run(conn, run.id, from_ordinal=None)
        (again,) = await provisioning.list_steps(conn, run.id)
    assert again.started_at is not None
    assert again.started_at > datetime.now(UTC) - timedelta(hours=1)
    assert again.status == (status if status in {"unconfirmed", "running"} else "pending")


async def test_waiting_again_for_the_same_thing_does_not_put_off_the_deadline(pool, tenant) -> None:
    run = await opened(pool, tenant)
    for days in (1, 2, 3):
        await started(pool, run)
        await waiting(pool, run, resume_at=PAST, deadline_at=SOON + timedelta(days=days))
    assert (await look(pool, run)).deadline_at == SOON + timedelta(days=1)


async def test_a_step_that_is_done_begins_a_new_patience(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    await waiting(pool, run, resume_at=PAST, deadline_at=SOON)
    await started(pool, run)
    async with as_orchestrator(pool) as conn:
        step = await provisioning.intend_step(
            conn, run_id=run.id, tenant_id=tenant.pk, step_key="publish_dns", ordinal=1, intent={}
        )
        await provisioning.finish_step(conn, step.id, status="succeeded")
    await waiting(pool, run, resume_at=PAST, deadline_at=SOON + timedelta(days=3))
    moved = await look(pool, run)
    assert (moved.deadline_at, moved.idle_starts) == (SOON + timedelta(days=3), 0)


async def test_a_wait_for_dns_without_an_end_is_refused(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    with pytest.raises(Exception, match="provisioning_runs_wait_ends"):
        async with as_orchestrator(pool) as conn:
            await provisioning.wait_run(
                conn, run.id, MINE, reason="dns", detail="forever", resume_at=SOON, deadline_at=None
            )


async def test_a_running_run_with_a_held_lock_is_no_orphan(pool, tenant, database) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    async with run_lock(database, run.id) as mine, as_orchestrator(pool) as conn:
        assert mine
        assert await provisioning.orphaned_runs(conn) == []
        assert not await lock_is_free(conn, run.id)


def holder(database: str, run: Run) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, database, str(run.id)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_the_death_of_a_process_frees_its_run_and_the_start_is_counted(pool, tenant, database) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    with holder(database, run) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        async with as_orchestrator(pool) as conn:
            assert await provisioning.orphaned_runs(conn) == []
        os.kill(child.pid, signal.SIGKILL)
    orphans: list[Run] = []
    for _ in range(200):
        async with as_orchestrator(pool) as conn:
            orphans = await provisioning.orphaned_runs(conn)
        if orphans:
            break
        await asyncio.sleep(0.05)
    assert [(orphan.id, orphan.status, orphan.starts, orphan.idle_starts) for orphan in orphans] == [
        (run.id, "pending", 2, 2)
    ]
    again = await started(pool, run)
    assert again is not None
    assert (again.starts, again.idle_starts) == (2, 2)  # the sweep has counted this start


HOLDER = """
import asyncio, sys
from uuid import UUID
from sql.session import run_lock
async def hold():
    async with run_lock(sys.argv[1], UUID(sys.argv[2])) as mine:
        print("held" if mine else "not held", flush=True)
        await asyncio.sleep(600)
asyncio.run(hold())
"""


async def test_one_lock_serves_one_process_and_runs_do_not_share_it(pool, tenant, database) -> None:
    run_id, other = uuid4(), uuid4()
    async with (
        run_lock(database, run_id) as first,
        run_lock(database, run_id) as second,
        run_lock(database, other) as third,
    ):
        assert (first, second, third) == (True, False, True)
    async with run_lock(database, run_id) as again:
        assert again


async def test_a_lock_is_free_as_soon_as_it_is_left(pool, tenant, database) -> None:
    run_id = uuid4()
    free: list[bool] = []
    for _ in range(50):
        async with run_lock(database, run_id) as mine:
            assert mine
        async with as_orchestrator(pool) as conn:
            free.append(await lock_is_free(conn, run_id))
    assert all(free)


async def test_four_sweeps_at_once_take_an_orphan_once(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)

    async def sweep() -> list[Run]:
        async with as_orchestrator(pool) as conn:
            return await provisioning.orphaned_runs(conn)

    taken = await asyncio.gather(*(sweep() for _ in range(4)))
    assert sum(len(runs) for runs in taken) == 1


async def test_a_run_that_keeps_dying_is_handed_to_an_operator(pool, tenant, database) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    async with run_lock(database, run.id), as_orchestrator(pool) as conn:
        assert not await provisioning.call_operator(conn, run.id, "a process has it")
    async with as_orchestrator(pool) as conn:
        assert await provisioning.call_operator(conn, run.id, "started 3 times")
    assert (await look(pool, run)).wait_detail == "started 3 times"


async def test_a_step_keeps_its_output_and_what_is_behind_it(pool, tenant) -> None:
    run = await opened(pool, tenant)

    async def intend(intent: dict[str, int]):
        async with as_orchestrator(pool) as conn:
            return await provisioning.intend_step(
                conn, run_id=run.id, tenant_id=tenant.pk, step_key="order_server", ordinal=2, intent=intent
            )

    first = await intend({"plan": 1})
    async with as_orchestrator(pool) as conn:
        await provisioning.finish_step(conn, first.id, status="unconfirmed", output={"seen": 1}, external_ref="88")
    doubtful = await intend({"plan": 2})
    assert (doubtful.id, doubtful.status, doubtful.intent) == (first.id, "unconfirmed", {"plan": 1})
    async with as_orchestrator(pool) as conn:
        await provisioning.finish_step(conn, first.id, status="succeeded", output={"ip": "198.51.100.7"})
    done = await intend({"plan": 3})
    assert (done.status, done.external_ref) == ("succeeded", "88")
    assert done.output == {"seen": 1, "ip": "198.51.100.7"}


async def test_steps_come_in_their_order(pool, tenant) -> None:
    run = await opened(pool, tenant)
    async with as_orchestrator(pool) as conn:
        for ordinal, key in ((2, "order_server"), (1, "admit")):
            await provisioning.intend_step(
                conn, run_id=run.id, tenant_id=tenant.pk, step_key=key, ordinal=ordinal, intent={}
            )
        assert [step.step_key for step in await provisioning.list_steps(conn, run.id)] == ["admit", "order_server"]


async def test_tries_are_numbered_timed_and_a_crashed_one_is_closed(pool, tenant) -> None:
    run = await opened(pool, tenant)
    async with as_orchestrator(pool) as conn:
        step = await provisioning.intend_step(
            conn, run_id=run.id, tenant_id=tenant.pk, step_key="admit", ordinal=1, intent={}
        )
        first = await provisioning.begin_attempt(conn, step_id=step.id, tenant_id=tenant.pk, task_run_id=uuid4())
        second = await provisioning.begin_attempt(conn, step_id=step.id, tenant_id=tenant.pk, task_run_id=None)
        assert (first, second) == (1, 2)
        assert await provisioning.end_attempt(
            conn, step.id, 1, outcome="failed", error_type="Unavailable", error_message="x" * 5000
        )
        assert await provisioning.close_crashed_attempts(conn, run.id) == 1
        assert not await provisioning.end_attempt(conn, step.id, 2, outcome="succeeded")
        tries = await provisioning.list_attempts(conn, run.id)
    assert [(one.attempt_number, one.outcome, one.error_type) for one in tries] == [
        (1, "failed", "Unavailable"),
        (2, "crashed", None),
    ]
    assert all(one.duration_seconds is not None and one.duration_seconds >= 0 for one in tries)
    assert len(tries[0].error_message or "") == 2000


async def test_cancel_is_asked_for(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    async with as_orchestrator(pool) as conn:
        assert await provisioning.request_cancel(conn, run.id) == "asked"
        assert await provisioning.request_cancel(conn, uuid4()) is None
    seen = await look(pool, run)
    assert seen.cancel_requested_at is not None


async def test_a_tenant_sees_its_runs_and_cannot_write_them(pool, tenant, database) -> None:
    run = await opened(pool, tenant)
    other = add_tenant(database, "beta")
    async with as_tenant(pool, tenant.uuid) as conn:
        assert [seen.id for seen in await provisioning.list_runs(conn)] == [run.id]
    async with as_tenant(pool, other.uuid) as conn:
        assert await provisioning.list_runs(conn) == []
    with pytest.raises(Exception, match="permission denied"):
        async with as_tenant(pool, tenant.uuid) as conn:
            await provisioning.request_cancel(conn, run.id)


async def test_runs_are_listed_of_one_tenant_or_all(pool, tenant, database) -> None:
    other = add_tenant(database, "beta")
    await opened(pool, tenant)
    await opened(pool, other)
    async with as_orchestrator(pool) as conn:
        assert len(await provisioning.list_runs(conn)) == 2
        assert [run.tenant_id for run in await provisioning.list_runs(conn, other.pk)] == [other.pk]


async def test_a_run_that_only_a_person_would_take_up_is_cancelled_at_once(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    await waiting(pool, run, reason="operator", resume_at=None, deadline_at=None)
    async with as_orchestrator(pool) as conn:
        assert await provisioning.request_cancel(conn, run.id) == "ended"
        assert await provisioning.request_cancel(conn, run.id) is None
    seen = await look(pool, run)
    assert (seen.status, seen.wait_reason) == ("cancelled", None)
    assert "what was made stays" in (seen.last_error_message or "")


async def test_a_run_that_comes_back_by_itself_is_asked_to_stop_then(pool, tenant) -> None:
    run = await opened(pool, tenant)
    await started(pool, run)
    await waiting(pool, run, resume_at=SOON)
    async with as_orchestrator(pool) as conn:
        assert await provisioning.request_cancel(conn, run.id) == "asked"
    assert (await look(pool, run)).status == "waiting"
