"""Campaigns: one message a lead, accounts in turn, moves from where they may come."""

import psycopg
import pytest

from sql import campaigns, templates
from sql.session import as_tenant
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
