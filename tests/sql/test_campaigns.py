"""Campaigns: one message a lead, accounts in turn, moves from where they may come."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from sql import campaigns, suppressions, templates
from sql.session import Connection, as_orchestrator, as_tenant
from tests.support.postgres import TenantRow, add_tenant


@pytest.fixture
def tenant(database: str) -> TenantRow:
    made = add_tenant(database)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            """
            INSERT INTO email_accounts (tenant_id, email_address) VALUES (1, 'a@acme.example'), (1, 'b@acme.example');
            INSERT INTO leads (tenant_id, email) SELECT 1, 'lead' || n || '@beta.example' FROM generate_series(1, 5) n;
            """
        )
    return made


@pytest.fixture
async def campaign(pool, tenant) -> int:
    async with as_tenant(pool, tenant.uuid) as conn:
        template = await templates.put_template(
            conn, tenant_id=tenant.pk, name="hello", subject="Hello", content="Hi", variables={}
        )
        return await campaigns.draft_campaign(
            conn, tenant_id=tenant.pk, name="spring", template_id=template, configuration={"pace": 1}
        )


async def queued(pool, tenant, campaign: int, *leads: int) -> int:
    async with as_tenant(pool, tenant.uuid) as conn:
        return await campaigns.queue_messages(
            conn,
            tenant_id=tenant.pk,
            campaign_id=campaign,
            account_ids=[1, 2],
            lead_ids=leads or None,
            open_words=["draft"],
        )


async def test_each_lead_gets_one_message_and_accounts_take_turns(pool, tenant, campaign) -> None:
    assert await queued(pool, tenant, campaign, 1, 2, 3) == 3
    assert await queued(pool, tenant, campaign) == 2
    assert await queued(pool, tenant, campaign) == 0
    async with as_tenant(pool, tenant.uuid) as conn:
        rows = await (
            await conn.execute("SELECT email_account_id, subject FROM emails WHERE lead_id <= 3 ORDER BY lead_id")
        ).fetchall()
    assert rows == [(1, "Hello"), (2, "Hello"), (1, "Hello")]


async def test_the_suppressed_get_none(pool, tenant, campaign) -> None:
    async with as_tenant(pool, tenant.uuid) as conn:
        await conn.execute(
            "INSERT INTO suppressions (tenant_id, value, reason) VALUES (1, 'lead2@beta.example', 'complaint')"
        )
    assert await queued(pool, tenant, campaign) == 4


LEAD_2 = "lead2@beta.example"


async def by_us(conn: Connection) -> int:
    return await suppressions.suppress(conn, tenant_id=1, scope="address", value=LEAD_2, reason="complaint", until=None)


async def by_the_back_end(conn: Connection) -> int:
    await conn.execute("INSERT INTO suppressions (tenant_id, value, reason) VALUES (1, %s, 'complaint')", [LEAD_2])
    return await counted(conn, "status = 'suppressed' AND updated_at = now()")


async def counted(conn: Connection, which: str) -> int:
    row = await (await conn.execute(f"SELECT count(*) FROM emails WHERE {which}")).fetchone()
    assert row is not None
    return int(row[0])


Way = Callable[[Connection], Awaitable[int]]
whoever_suppresses = pytest.mark.parametrize("way", [by_us, by_the_back_end])


async def suppressed(pool, tenant, way: Way, said: asyncio.Event, go_on: asyncio.Event) -> int:
    """One suppression of lead 2, not committed before `go_on`; how many messages it took back."""
    async with as_tenant(pool, tenant.uuid) as conn:
        await conn.execute("SET LOCAL lock_timeout = '60s'")  # the machine may be slow
        taken = await way(conn)
        said.set()
        await go_on.wait()
        return taken


WAITING = """
SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE NOT l.granted AND l.locktype IN ('advisory', 'transactionid', 'tuple') AND a.datname = current_database()
"""


async def waits_for_a_lock(pool) -> None:
    """Until somebody in this database does."""
    while True:
        async with as_orchestrator(pool) as conn:
            row = await (await conn.execute(WAITING)).fetchone()
        if row and row[0]:
            return
        await asyncio.sleep(0.02)


async def of_lead_2(pool, tenant) -> list[tuple[str]]:
    async with as_tenant(pool, tenant.uuid) as conn:
        return await (await conn.execute("SELECT status FROM emails WHERE lead_id = 2")).fetchall()


async def test_what_an_earlier_fill_queued_is_not_counted_when_it_is_taken_back(pool, tenant, campaign) -> None:
    assert await queued(pool, tenant, campaign) == 5
    async with as_tenant(pool, tenant.uuid) as conn:
        await conn.execute(
            "INSERT INTO suppressions (tenant_id, value, reason) VALUES (1, 'new@beta.example', 'complaint')"
        )
        await conn.execute("UPDATE leads SET email = 'new@beta.example' WHERE id = 2")
    assert await queued(pool, tenant, campaign) == 0
    assert await of_lead_2(pool, tenant) == [("suppressed",)]


async def test_a_fill_waits_longer_for_a_lock_than_other_transactions(pool, tenant, campaign) -> None:
    async with as_tenant(pool, tenant.uuid) as conn:
        await campaigns.queue_messages(
            conn, tenant_id=tenant.pk, campaign_id=campaign, account_ids=[1], lead_ids=[1], open_words=["draft"]
        )
        assert await (await conn.execute("SELECT current_setting('lock_timeout')")).fetchone() == ("2min",)


@whoever_suppresses
async def test_a_suppression_that_commits_while_the_leads_are_read_is_seen(pool, tenant, campaign, way) -> None:
    async with as_orchestrator(pool) as holder:  # the fill has begun, and waits for the row of its campaign
        await holder.execute("SELECT FROM campaigns WHERE id = %s FOR UPDATE", [campaign])
        fill = asyncio.create_task(queued(pool, tenant, campaign))
        await asyncio.wait_for(waits_for_a_lock(pool), 20)
        free = asyncio.Event()
        free.set()
        assert await suppressed(pool, tenant, way, asyncio.Event(), free) == 0
    assert await fill == 4
    assert await of_lead_2(pool, tenant) == [("suppressed",)]


@whoever_suppresses
async def test_a_fill_waits_for_a_suppression_that_is_under_way(pool, tenant, campaign, way) -> None:
    said, go_on = asyncio.Event(), asyncio.Event()
    suppression = asyncio.create_task(suppressed(pool, tenant, way, said, go_on))
    await said.wait()
    fill = asyncio.create_task(queued(pool, tenant, campaign))
    await asyncio.wait_for(waits_for_a_lock(pool), 20)
    go_on.set()
    assert (await suppression, await fill) == (0, 4)
    assert await of_lead_2(pool, tenant) == [("suppressed",)]


@whoever_suppresses
async def test_a_suppression_waits_for_a_fill_that_is_about_to_commit(pool, tenant, campaign, way) -> None:
    go_on = asyncio.Event()
    go_on.set()
    async with as_tenant(pool, tenant.uuid) as conn:
        filled = await campaigns.queue_messages(
            conn, tenant_id=tenant.pk, campaign_id=campaign, account_ids=[1], lead_ids=None, open_words=["draft"]
        )
        suppression = asyncio.create_task(suppressed(pool, tenant, way, asyncio.Event(), go_on))
        await asyncio.wait_for(waits_for_a_lock(pool), 20)
    assert (filled, await suppression) == (5, 1)
    assert await of_lead_2(pool, tenant) == [("suppressed",)]


async def test_an_entry_that_has_ended_takes_nothing_back_until_it_stands_again(pool, tenant, campaign) -> None:
    assert await queued(pool, tenant, campaign) == 5
    entry = "INSERT INTO suppressions (tenant_id, scope, value, reason, expires_at)"
    async with as_tenant(pool, tenant.uuid) as conn:
        await conn.execute(f"{entry} VALUES (1, 'domain', 'beta.example', 'manual', now() - interval '1 day')")
        assert await counted(conn, "status = 'queued'") == 5
        await conn.execute("UPDATE suppressions SET expires_at = NULL")
        assert await counted(conn, "status = 'queued'") == 0


async def test_a_campaign_without_a_mailbox_is_refused(pool, tenant, campaign) -> None:
    with pytest.raises(ValueError, match="at least one mailbox"):
        async with as_tenant(pool, tenant.uuid) as conn:
            await campaigns.queue_messages(
                conn, tenant_id=tenant.pk, campaign_id=campaign, account_ids=[], lead_ids=[1], open_words=["draft"]
            )


async def test_a_campaign_that_is_not_open_takes_nobody(pool, tenant, campaign) -> None:
    async with as_tenant(pool, tenant.uuid) as conn:
        assert await campaigns.move_campaign(conn, campaign, "cancelled", allowed_from=["draft"])
    assert await queued(pool, tenant, campaign) == 0


async def test_a_move_from_elsewhere_is_refused(pool, tenant, campaign) -> None:
    async with as_tenant(pool, tenant.uuid) as conn:
        assert await campaigns.move_campaign(conn, campaign, "running", allowed_from=["draft", "paused"])
        assert not await campaigns.move_campaign(conn, campaign, "running", allowed_from=["draft", "paused"])
        found = await campaigns.get_campaign(conn, campaign)
    assert found is not None
    assert (found.status, found.started_at is not None, found.configuration) == ("running", True, {"pace": 1})


async def test_a_cancelled_campaign_takes_its_queued_messages_with_it(pool, tenant, campaign) -> None:
    await queued(pool, tenant, campaign)
    async with as_tenant(pool, tenant.uuid) as conn:
        assert await campaigns.move_message(conn, 1, "sending", allowed_from=["queued"])
        assert await campaigns.move_message(conn, 1, "sent", allowed_from=["sending"], message_id="<1@acme.example>")
        assert await campaigns.move_campaign(conn, campaign, "cancelled", allowed_from=["draft", "running"])
        assert [(row.status, row.messages) for row in await campaigns.counts(conn, campaign)] == [
            ("cancelled", 4),
            ("sent", 1),
        ]


async def test_a_message_that_bounces_keeps_when_it_was_sent_and_why(pool, tenant, campaign) -> None:
    await queued(pool, tenant, campaign, 1)
    async with as_tenant(pool, tenant.uuid) as conn:
        await campaigns.move_message(conn, 1, "sent", allowed_from=["queued"], message_id="<1@acme.example>")
        assert not await campaigns.move_message(conn, 1, "sent", allowed_from=["queued"])
        assert await campaigns.move_message(conn, 1, "bounced", allowed_from=["sent"], reason="550 5.1.1 unknown")
        row = await (
            await conn.execute(
                "SELECT sent_at IS NOT NULL, bounced_at IS NOT NULL, bounce_reason, message_id FROM emails"
            )
        ).fetchone()
    assert row == (True, True, "550 5.1.1 unknown", "<1@acme.example>")


async def test_a_template_of_another_tenant_is_refused(pool, tenant, campaign, database) -> None:
    beta = add_tenant(database, "beta")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        async with as_tenant(pool, beta.uuid) as conn:
            await campaigns.draft_campaign(conn, tenant_id=beta.pk, name="theft", template_id=1, configuration={})


async def test_a_deleted_lead_leaves_the_send_record(pool, tenant, campaign) -> None:
    await queued(pool, tenant, campaign, 1)
    async with as_tenant(pool, tenant.uuid) as conn:
        await conn.execute("DELETE FROM leads WHERE id = 1")
        row = await (await conn.execute("SELECT lead_id, tenant_id FROM emails")).fetchone()
    assert row == (None, tenant.pk)


async def test_another_text_under_a_templates_name_replaces_it(pool, tenant, campaign) -> None:
    async with as_tenant(pool, tenant.uuid) as conn:
        again = await templates.put_template(
            conn, tenant_id=tenant.pk, name="hello", subject="Again", content="Hi", variables={"x": 1}
        )
    assert again == 1
