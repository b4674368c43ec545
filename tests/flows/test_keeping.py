"""The daily figures and the retention, as their flows run them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.purging import purge_expired
from flows.rolling_up import roll_up_analytics
from sql.sent import NOBODY
from tests.support.product import Customer, Product

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)


def send(product: Product, customer: Customer, times: int, at: datetime = NOON) -> int:
    """Sent messages of the tenant's first mailbox; its key."""
    (box,) = product.rows("SELECT id FROM email_accounts WHERE tenant_id = %s LIMIT 1", customer.pk)
    for _ in range(times):
        product.rows(
            "INSERT INTO emails (tenant_id, email_account_id, status, sent_at) VALUES (%s, %s, 'sent', %s)",
            customer.pk, box["id"], at,
        )  # fmt: skip
    return box["id"]


def opened(product: Product, customer: Customer, mailbox: int, message: str, written: datetime | None = None) -> None:
    product.rows(
        "INSERT INTO email_opens (tenant_id, user_id, email_id, mailbox_id, opened_at, created_at)"
        " VALUES (%s, %s, %s, %s, %s, coalesce(%s, now()))",
        customer.uuid, NOBODY, message, str(mailbox), NOON, written,
    )  # fmt: skip


def figures(product: Product) -> list[dict[str, Any]]:
    return product.rows("SELECT date, emails_sent, emails_opened, mailbox_id FROM daily_analytics ORDER BY date")


async def ran(flow: Any) -> str:
    state = await flow(return_state=True)
    assert state.is_completed(), state.message
    return str(state.message)


async def test_what_was_sent_and_what_came_back_stand_in_one_row(product: Product) -> None:
    customer = product.sign_up()
    box = send(product, customer, 3)
    opened(product, customer, box, "1")
    opened(product, customer, box, "1")
    assert await ran(roll_up_analytics) == "1 days counted, 2 figures changed"
    expected = [{"date": NOON.date(), "emails_sent": 3, "emails_opened": 1, "mailbox_id": str(box)}]
    assert figures(product) == expected
    assert (await ran(roll_up_analytics)).endswith("0 figures changed")
    assert figures(product) == expected


async def test_a_day_that_only_sent_is_counted_as_well(product: Product) -> None:
    customer = product.sign_up()
    send(product, customer, 2)
    await ran(roll_up_analytics)
    assert [row["emails_sent"] for row in figures(product)] == [2]


async def test_a_day_whose_rows_may_be_purged_keeps_its_figures(product: Product) -> None:
    customer = product.sign_up()
    long_ago = datetime.now(UTC) - timedelta(days=100)
    send(product, customer, 2, long_ago)
    assert await ran(roll_up_analytics) == "0 days counted, 0 figures changed"


async def test_uncounted_rows_are_kept_however_old_and_counted_ones_go(product: Product) -> None:
    customer = product.sign_up()
    box = send(product, customer, 1)
    opened(product, customer, box, "1", written=datetime.now(UTC) - timedelta(days=100))
    assert await ran(purge_expired) == "nothing was old enough"
    await ran(roll_up_analytics)
    assert "1 of email_opens" in await ran(purge_expired)
    assert [row["emails_opened"] for row in figures(product)] == [1]


@pytest.mark.parametrize(("days", "left"), [(8, 0), (6, 1)])
async def test_finished_jobs_go_after_a_week(product: Product, days: int, left: int) -> None:
    product.rows(
        "INSERT INTO jobs (queue_name, status, payload, completed_at) VALUES ('analytics', 'completed', '{}', %s)",
        datetime.now(UTC) - timedelta(days=days),
    )  # fmt: skip
    await ran(purge_expired)
    assert len(product.rows("SELECT 1 FROM jobs")) == left


async def test_a_preset_of_the_installation_holds_instead_of_ours(product: Product) -> None:
    product.rows("UPDATE policy_presets SET is_default = false WHERE kind = 'retention'")
    product.rows("INSERT INTO policy_presets (kind, name, version, body, is_default)"
                 " VALUES ('retention', 'short', 1, '{\"jobs_completed\": 1}', true)")  # fmt: skip
    product.rows(
        "INSERT INTO jobs (queue_name, status, payload, completed_at)"
        " VALUES ('analytics', 'completed', '{}', now() - interval '2 days')"
    )
    assert await ran(purge_expired) == "1 of jobs_completed"
    assert await ran(roll_up_analytics) == "0 days counted, 0 figures changed"
