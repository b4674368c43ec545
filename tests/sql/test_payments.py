"""Payment events: once, in any order, in one currency each; and what they do to the subscription."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from sql import payments, subscriptions
from sql.infrastructure_events import list_events
from sql.payments import Mismatch, PaymentEvent
from sql.session import AlreadyExists, as_orchestrator, as_tenant
from tests.support.postgres import TenantRow, add_tenant

END = datetime(2026, 11, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def tenant(database: str) -> TenantRow:
    made = add_tenant(database)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("INSERT INTO plans (plan_name, price) VALUES ('starter', 49)")
        conn.execute(
            "INSERT INTO subscriptions (tenant_id, plan_id, status, expires_at) VALUES (%s, 1, 'active', %s)",
            [made.pk, END],
        )
    return made


def event(tenant: TenantRow, status: str = "succeeded", *, at: datetime = END - DAY, **other: object) -> PaymentEvent:
    values = {
        "tenant_id": tenant.pk,
        "subscription_id": 1,
        "stripe_payment_id": "pi_1",
        "amount": Decimal("49.00"),
        "currency": "USD",
        "status": status,
        "at": at,
    }
    return PaymentEvent(**{**values, **other})


async def told(pool, *events: PaymentEvent) -> payments.Recorded:
    recorded: payments.Recorded | None = None
    for one in events:
        async with as_orchestrator(pool) as conn:
            recorded = await payments.record_payment(conn, one, actor="stripe")
    assert recorded is not None
    return recorded


async def test_a_success_extends_by_one_month_from_the_end(pool, tenant) -> None:
    recorded = await told(pool, event(tenant))
    assert (recorded.subscription_status, recorded.expires_at) == ("active", datetime(2026, 12, 30, tzinfo=UTC))
    assert (recorded.payment.period_start, recorded.payment.paid_at) == (END, END - DAY)
    async with as_orchestrator(pool) as conn:
        (line,) = await list_events(conn, tenant.pk)
    assert (line.event, line.actor, line.details["payment"]) == ("payment_succeeded", "stripe", "pi_1")


async def test_the_same_event_twice_counts_once(pool, tenant) -> None:
    first = await told(pool, event(tenant))
    again = await told(pool, event(tenant))
    assert (first.changed, again.changed) == (True, False)
    assert again.expires_at == first.expires_at


async def test_five_copies_at_once_count_once(pool, tenant) -> None:
    await asyncio.gather(*(told(pool, event(tenant)) for _ in range(5)))
    async with as_orchestrator(pool) as conn:
        (subscription,) = await subscriptions.list_subscriptions(conn, tenant.pk)
    assert subscription.expires_at == datetime(2026, 12, 30, tzinfo=UTC)


async def test_a_late_word_of_an_earlier_time_changes_nothing(pool, tenant) -> None:
    recorded = await told(pool, event(tenant, "refunded", at=END), event(tenant, "succeeded", at=END - DAY))
    assert (recorded.changed, recorded.payment.status, recorded.subscription_status) == (False, "refunded", "past_due")
    assert recorded.expires_at == END  # nothing was ever added


async def test_pending_then_failed_then_succeeded(pool, tenant) -> None:
    words = ("pending", "failed", "succeeded")
    recorded = await told(pool, *(event(tenant, word, at=END + n * DAY) for n, word in enumerate(words)))
    assert (recorded.payment.status, recorded.expires_at) == ("succeeded", datetime(2026, 12, 30, tzinfo=UTC))


async def test_a_refund_takes_the_month_back_and_is_past_due(pool, tenant) -> None:
    recorded = await told(pool, event(tenant), event(tenant, "refunded", at=END))
    assert (recorded.subscription_status, recorded.expires_at) == ("past_due", END)
    assert not (await told(pool, event(tenant, "succeeded", at=END + DAY))).changed


async def test_a_dispute_that_is_won_restores_without_a_second_month(pool, tenant) -> None:
    lost = await told(pool, event(tenant), event(tenant, "disputed", at=END))
    assert lost.subscription_status == "past_due"
    won = await told(pool, event(tenant, "succeeded", at=END + DAY))
    assert (won.subscription_status, won.expires_at) == ("active", datetime(2026, 12, 30, tzinfo=UTC))


async def test_a_dispute_that_is_won_after_the_paid_time_pays_for_nothing_more(pool, tenant) -> None:
    lost = await told(pool, event(tenant), event(tenant, "disputed", at=END))
    won = await told(pool, event(tenant, "succeeded", at=END + 90 * DAY))
    assert (won.changed, won.subscription_status, won.expires_at) == (True, "past_due", lost.expires_at)


@pytest.mark.parametrize("word", ["refunded", "disputed"])
async def test_money_that_goes_back_does_not_end_a_suspension(pool, tenant, database: str, word: str) -> None:
    await told(pool, event(tenant))
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("UPDATE subscriptions SET status = 'suspended', past_due_since = now()")
    gone = await told(pool, event(tenant, word, at=END))
    assert (gone.changed, gone.subscription_status) == (True, "suspended")


async def test_a_late_payer_pays_for_the_time_that_comes(pool, tenant, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("UPDATE subscriptions SET status = 'past_due', past_due_since = now()")
        conn.execute("UPDATE plans SET billing_cycle = 'weekly'")
    paid = await told(pool, event(tenant, at=END + 10 * DAY))
    assert (paid.subscription_status, paid.expires_at) == ("active", END + 17 * DAY)
    soon = await told(pool, event(tenant, at=END + 20 * DAY, stripe_payment_id="pi_2"))
    assert soon.expires_at == END + 24 * DAY


async def test_a_dispute_told_again_after_it_was_won_changes_nothing(pool, tenant) -> None:
    dispute = event(tenant, "disputed", at=END)
    recorded = await told(pool, event(tenant), dispute, event(tenant, "succeeded", at=END + DAY), dispute)
    assert (recorded.changed, recorded.payment.status, recorded.subscription_status) == (False, "succeeded", "active")


async def test_another_payment_does_not_hide_an_open_dispute(pool, tenant) -> None:
    await told(pool, event(tenant), event(tenant, "disputed", at=END))
    recorded = await told(pool, event(tenant, at=END + DAY, stripe_payment_id="pi_2"))
    assert recorded.subscription_status == "past_due"


@pytest.mark.parametrize(
    "other",
    [{"currency": "EUR"}, {"amount": Decimal("4.90")}, {"subscription_id": 2}],
    ids=["currency", "amount", "subscription"],
)
async def test_another_story_about_a_known_payment_is_refused(pool, tenant, database, other) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("INSERT INTO subscriptions (tenant_id, plan_id) VALUES (%s, 1)", [tenant.pk])
    await told(pool, event(tenant, "pending"))
    with pytest.raises(Mismatch):
        await told(pool, event(tenant, at=END, **other))


async def test_the_payment_of_another_tenant_is_refused(pool, tenant, database) -> None:
    await told(pool, event(tenant))
    beta = add_tenant(database, "beta")
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("INSERT INTO subscriptions (tenant_id, plan_id) VALUES (%s, 1)", [beta.pk])
    with pytest.raises((Mismatch, AlreadyExists)):
        await told(pool, event(beta, subscription_id=2))


async def test_a_subscription_of_another_tenant_cannot_be_paid(pool, tenant, database) -> None:
    with pytest.raises(LookupError, match="has no subscription"):
        await told(pool, event(add_tenant(database, "beta")))


async def test_currencies_are_never_added_together(pool, tenant) -> None:
    await told(
        pool,
        event(tenant),
        event(tenant, stripe_payment_id="pi_2"),
        event(tenant, stripe_payment_id="pi_3", currency="EUR"),
        event(tenant, "failed", stripe_payment_id="pi_4"),
    )
    async with as_tenant(pool, tenant.uuid) as conn:
        found = await payments.totals(conn, tenant.pk)
    assert [(total.currency, total.amount) for total in found] == [("EUR", Decimal(49)), ("USD", Decimal(98))]


async def test_a_subscription_without_an_end_keeps_none(pool, tenant, database) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("UPDATE subscriptions SET expires_at = NULL")
    assert (await told(pool, event(tenant))).expires_at is None


async def test_a_tenant_cannot_record_a_payment(pool, tenant) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with as_tenant(pool, tenant.uuid) as conn:
            await payments.record_payment(conn, event(tenant), actor="tenant")


async def test_unpaid_goes_past_due_suspended_planned_and_a_payment_restores(pool, tenant) -> None:
    grace = 7 * DAY

    async def follow(now: datetime) -> list[str]:
        async with as_orchestrator(pool) as conn:
            await subscriptions.lapse(conn, now, actor="follow_subscriptions")
            await subscriptions.suspend(conn, now, grace=grace, actor="follow_subscriptions")
            return [one.status for one in await subscriptions.list_subscriptions(conn, tenant.pk)]

    assert await follow(END - DAY) == ["active"]
    assert await follow(END + DAY) == ["past_due"]
    assert await follow(END + 8 * DAY) == ["suspended"]
    assert await follow(END + 9 * DAY) == ["suspended"]
    async with as_orchestrator(pool) as conn:
        assert await subscriptions.plan_release(conn, 1, END + 20 * DAY, actor="follow_subscriptions")
        assert not await subscriptions.plan_release(conn, 1, END + 20 * DAY, actor="follow_subscriptions")
        assert await subscriptions.due_for_release(conn, END + 19 * DAY) == []
        assert len(await subscriptions.due_for_release(conn, END + 20 * DAY)) == 1
        assert len(await list_events(conn, tenant.pk)) == 3
    paid = await told(pool, event(tenant, at=END + 10 * DAY))
    assert (paid.subscription_status, paid.expires_at) == ("active", datetime(2027, 1, 10, tzinfo=UTC))
    async with as_orchestrator(pool) as conn:
        (restored,) = await subscriptions.list_subscriptions(conn, tenant.pk)
        assert await subscriptions.due_for_release(conn, END + 20 * DAY) == []
    assert (restored.past_due_since, restored.release_planned_for) == (None, None)
