"""Interactions are told once, days are counted anew, rates stay in bounds, warm-up stays apart."""

from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address
from uuid import UUID, uuid4

import pytest

from sql import analytics
from sql.analytics import Bounce, Click, Complaint, Open, Reply, Sent, WarmupInteraction
from sql.session import as_orchestrator, as_tenant

TENANT, USER = UUID(int=1), UUID(int=2)
TODAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LONG_AGO = date(2026, 1, 1)


def about(email: str = "1", *, at: datetime = NOON, campaign: str | None = "5", mailbox: str | None = "9") -> dict:
    return {
        "id": uuid4(),
        "tenant_id": TENANT,
        "user_id": USER,
        "email_id": email,
        "campaign_id": campaign,
        "mailbox_id": mailbox,
        "at": at,
    }


async def rolled(pool, *days: date) -> int:
    async with as_orchestrator(pool) as conn:
        return await analytics.roll_up(conn, days or [TODAY])


async def sent(pool, count: int, campaign: str | None = "5", mailbox: str | None = "9") -> int:
    row = Sent(TENANT, USER, campaign, mailbox, TODAY, count)
    async with as_orchestrator(pool) as conn:
        return await analytics.roll_up_sent(conn, [TODAY], [row] if count else [])


async def figures(pool, first: date = TODAY, last: date = TODAY) -> list[analytics.Day]:
    async with as_tenant(pool, TENANT) as conn:
        return await analytics.daily(conn, TENANT, first, last)


async def test_every_kind_of_interaction_is_counted_on_its_day(pool) -> None:
    async with as_tenant(pool, TENANT) as conn:
        seen = Open(**about(), ip_address=IPv4Address("192.0.2.1"), user_agent="mutt")
        assert await analytics.note_opens(conn, [seen]) == 1
        assert await analytics.note_clicks(conn, [Click(**about(), clicked_url="https://acme.example/")]) == 1
        assert await analytics.note_bounces(conn, [Bounce(**about("2"), bounce_type="hard")]) == 1
        assert await analytics.note_replies(conn, [Reply(**about("3"))]) == 1
        assert await analytics.note_complaints(conn, [Complaint(**about("4"), source="bigmail.example")]) == 1
    assert await rolled(pool) == 1
    await sent(pool, 10)
    (day,) = await figures(pool)
    counts = (day.emails_sent, day.emails_opened, day.emails_clicked, day.emails_bounced, day.emails_replied)
    assert (counts, day.emails_complained) == ((10, 1, 1, 1, 1), 1)
    assert (day.open_rate, day.bounce_rate) == (10.0, 10.0)


async def test_the_same_event_told_twice_is_one_row(pool) -> None:
    seen = Open(**about())
    async with as_tenant(pool, TENANT) as conn:
        assert await analytics.note_opens(conn, [seen]) == 1
        assert await analytics.note_opens(conn, [seen, Open(**about("2"))]) == 1


async def test_a_message_opened_ten_times_is_one_opened_message(pool) -> None:
    async with as_tenant(pool, TENANT) as conn:
        await analytics.note_opens(conn, [Open(**about()) for _ in range(10)])
    await rolled(pool)
    await sent(pool, 1)
    (day,) = await figures(pool)
    assert (day.emails_opened, day.open_rate) == (1, 100.0)


async def test_more_opens_than_sends_do_not_break_the_day(pool) -> None:
    async with as_tenant(pool, TENANT) as conn:
        await analytics.note_opens(conn, [Open(**about(str(number))) for number in range(20)])
    await rolled(pool)
    await sent(pool, 1)
    (day,) = await figures(pool)
    assert (day.emails_opened, day.open_rate) == (20, 999.99)


async def test_counting_twice_changes_nothing_and_a_late_event_is_added(pool) -> None:
    async with as_tenant(pool, TENANT) as conn:
        await analytics.note_opens(conn, [Open(**about())])
    assert await rolled(pool) == 1
    assert await rolled(pool) == 0
    async with as_tenant(pool, TENANT) as conn:
        await analytics.note_opens(conn, [Open(**about("2"))])
    assert await rolled(pool) == 1
    (day,) = await figures(pool)
    assert day.emails_opened == 2


async def test_figures_without_campaign_or_mailbox_do_not_double(pool) -> None:
    async with as_tenant(pool, TENANT) as conn:
        await analytics.note_replies(conn, [Reply(**about(campaign=None, mailbox=None))])
    await rolled(pool)
    await sent(pool, 3, None, None)
    async with as_tenant(pool, TENANT) as conn:
        await analytics.note_replies(conn, [Reply(**about("2", campaign=None, mailbox=None))])
    await rolled(pool)
    (day,) = await figures(pool)
    assert (day.emails_sent, day.emails_replied) == (3, 2)


async def test_days_are_utc_days(pool) -> None:
    late = datetime(2026, 11, 20, 23, 30, tzinfo=UTC).astimezone()
    async with as_tenant(pool, TENANT) as conn:
        await conn.execute("SET LOCAL TIME ZONE 'Pacific/Auckland'")
        await analytics.note_opens(conn, [Open(**about(at=late))])
    async with as_orchestrator(pool) as conn:
        await conn.execute("SET LOCAL TIME ZONE 'Pacific/Auckland'")
        assert (await analytics.touched_days(conn, oldest=LONG_AGO))[0] == [TODAY]
        await analytics.roll_up(conn, [TODAY])
    assert len(await figures(pool)) == 1


async def test_sends_that_are_no_longer_told_of_become_none(pool) -> None:
    await sent(pool, 7)
    assert await sent(pool, 7) == 0
    await sent(pool, 0)
    (day,) = await figures(pool)
    assert day.emails_sent == 0


async def test_warmup_never_enters_the_real_figures(pool) -> None:
    turns = [
        WarmupInteraction(id=uuid4(), tenant_id=TENANT, user_id=USER, mailbox_id="9", kind=kind, at=NOON)
        for kind in ("send", "send", "open", "reply", "rescue")
    ]
    async with as_tenant(pool, TENANT) as conn:
        assert await analytics.note_warmup(conn, turns) == 5
    await rolled(pool)
    (day,) = await figures(pool)
    assert (day.emails_opened, day.emails_replied, day.warmup_opens, day.warmup_replies) == (0, 0, 1, 1)
    async with as_tenant(pool, TENANT) as conn:
        cursor = await conn.execute("SELECT emails_sent, opens_received, replies_received FROM warmup_daily_stats")
        assert await cursor.fetchall() == [(2, 1, 1)]


async def test_only_days_written_to_since_the_mark_are_touched(pool) -> None:
    async with as_tenant(pool, TENANT) as conn:
        await analytics.note_opens(conn, [Open(**about(at=NOON - timedelta(days=3))), Open(**about("2"))])
    async with as_orchestrator(pool) as conn:
        days, mark = await analytics.touched_days(conn, oldest=LONG_AGO)
        assert days == [TODAY - timedelta(days=3), TODAY]
        assert (await analytics.touched_days(conn, oldest=TODAY))[0] == [TODAY]
        await analytics.remember(conn, mark + analytics.LATE)
        assert (await analytics.touched_days(conn, oldest=LONG_AGO))[0] == []
        await analytics.remember(conn, mark - timedelta(days=1))  # a mark never goes back
        assert (await analytics.touched_days(conn, oldest=LONG_AGO))[0] == []


async def test_rows_of_another_tenant_cannot_be_told_of(pool) -> None:
    with pytest.raises(Exception, match="row-level security"):
        async with as_tenant(pool, uuid4()) as conn:
            await analytics.note_opens(conn, [Open(**about())])
