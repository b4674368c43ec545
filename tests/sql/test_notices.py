"""Notices once a cause; mail claimed before it is sent, under one Message-ID."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sql import notices
from sql.session import as_orchestrator, as_tenant

TENANT, USER = UUID(int=7), UUID(int=8)
PAST = timedelta(seconds=-1)


async def put(pool, key: str | None = None):
    async with as_orchestrator(pool) as conn:
        return await notices.put_message(
            conn, tenant_id=TENANT, user_id=USER, type="ready", payload={"domain": "acme.example"}, dedupe_key=key
        )


async def claim(pool, sender: str = "s1", lease: timedelta = notices.LEASE) -> list[notices.Message]:
    async with as_orchestrator(pool) as conn:
        return await notices.claim_messages(conn, sender, 10, lease)


async def test_a_notice_is_shown_once_a_cause_until_it_is_read(pool) -> None:
    async with as_orchestrator(pool) as conn:
        for expected in (True, False):
            assert expected is await notices.notify(
                conn, tenant_id=TENANT, user_id=USER, type="dns", title="t", message="m", dedupe_key="dns:7"
            )
        gone = datetime.now(UTC) - timedelta(days=1)
        await notices.notify(conn, tenant_id=TENANT, user_id=USER, type="old", title="t", message="m", expires_at=gone)
    async with as_tenant(pool, TENANT) as conn:
        (notice,) = await notices.unread(conn, tenant_id=TENANT, user_id=USER)
        assert await notices.mark_read(conn, tenant_id=TENANT, user_id=USER, notice_id=notice.id)
        assert not await notices.mark_read(conn, tenant_id=TENANT, user_id=USER, notice_id=notice.id)
        assert await notices.unread(conn, tenant_id=TENANT, user_id=USER) == []


async def test_a_message_is_queued_once_a_cause(pool) -> None:
    assert await put(pool, "ready:7") is not None
    assert await put(pool, "ready:7") is None


async def test_four_senders_take_a_message_once_and_it_is_sent_once(pool) -> None:
    await put(pool)
    taken = await asyncio.gather(*(claim(pool, f"s{n}") for n in range(4)))
    ((sender, message),) = [(f"s{n}", one) for n, got in enumerate(taken) for one in got]
    async with as_orchestrator(pool) as conn:
        assert not await notices.message_sent(conn, "another", message)
        assert await notices.message_sent(conn, sender, message)
        assert not await notices.message_sent(conn, sender, message)
    assert await claim(pool) == []


async def test_a_message_whose_sender_died_is_taken_again_under_the_same_id(pool) -> None:
    await put(pool)
    (first,) = await claim(pool, lease=PAST)
    (second,) = await claim(pool)
    assert first.message_id("penguin.example") == second.message_id("penguin.example")
    assert (first.attempt, second.attempt) == (1, 2)
    async with as_orchestrator(pool) as conn:
        assert not await notices.message_sent(conn, "s1", first)
        assert await notices.message_failed(conn, "s1", first, "late") is None


async def test_a_refused_message_is_tried_later_and_then_stays_with_its_reason(pool) -> None:
    await put(pool)
    for attempt in range(1, notices.TRIES + 1):
        (message,) = await claim(pool)
        async with as_orchestrator(pool) as conn:
            word = await notices.message_failed(conn, "s1", message, "451 later")
        assert word == ("failed" if attempt == notices.TRIES else "queued")
        assert await claim(pool) == []
        async with as_orchestrator(pool) as conn:
            await conn.execute("UPDATE transactional_emails SET next_try_at = now() WHERE status = 'queued'")
    async with as_orchestrator(pool) as conn:
        row = await (
            await conn.execute("SELECT last_error_message, failed_at IS NOT NULL FROM transactional_emails")
        ).fetchone()
    assert row == ("451 later", True)


async def test_a_refusal_for_good_is_not_tried_again(pool) -> None:
    await put(pool)
    (message,) = await claim(pool)
    async with as_orchestrator(pool) as conn:
        assert await notices.message_failed(conn, "s1", message, "550 unknown", retryable=False) == "failed"
