"""Payments as their provider tells of them: each event counts once, in whatever order they come.

`stripe_payment_id` names the payment, `at` the moment of the event. A success extends the subscription by one billing
cycle, once; a refund or dispute makes it past due; a dispute that is won restores it. Currencies are never added up.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.infrastructure_events import record_event

PaymentStatus = Literal["pending", "succeeded", "failed", "refunded", "disputed"]

MOVES: Final[dict[str, frozenset[str]]] = {
    "pending": frozenset({"succeeded", "failed", "refunded", "disputed"}),
    "failed": frozenset({"pending", "succeeded"}),
    "succeeded": frozenset({"refunded", "disputed"}),
    "disputed": frozenset({"succeeded", "refunded"}),
    "refunded": frozenset(),
}
CYCLES: Final = {"weekly": "7 days", "monthly": "1 month", "quarterly": "3 months", "yearly": "1 year"}


class Mismatch(Exception):
    """An event says another tenant, subscription, amount or currency of a payment that we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentEvent:
    """One word of the payment provider."""

    tenant_id: int
    subscription_id: int
    stripe_payment_id: str
    amount: Decimal
    currency: str  # ISO 4217, upper case
    status: PaymentStatus
    at: datetime


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as it stands."""

    id: int
    tenant_id: int
    subscription_id: int | None
    stripe_payment_id: str | None
    amount: Decimal
    currency: str
    status: str
    status_at: datetime
    paid_at: datetime | None
    period_start: datetime | None
    period_end: datetime | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an event came to; `changed` is False for one that was told before, or is older than what we know."""

    payment: Payment
    changed: bool
    subscription_status: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Total:
    """What a tenant paid in one currency, refunds and disputes left out."""

    currency: str
    amount: Decimal
    payments: int


@dataclass(frozen=True, slots=True)
class _Subscription:
    status: str
    expires_at: datetime | None
    billing_cycle: str


PAYMENT: Final = """id, tenant_id, subscription_id, stripe_payment_id, amount, currency, status, status_at, paid_at,
                    period_start, period_end"""


async def record_payment(conn: AsyncConnection, event: PaymentEvent, *, actor: str) -> Recorded:
    """Take in one event. Raises Mismatch, or LookupError for a subscription the tenant has not."""
    before = await _locked_subscription(conn, event)
    known = await _known(conn, event)
    if known is None:
        known = await _first_word(conn, event)
        news = True
    else:
        news = event.at >= known.status_at and event.status in MOVES[known.status]
        if news:
            await conn.execute(
                "UPDATE payments SET status = %s, status_at = %s, updated_at = now() WHERE id = %s",
                [event.status, event.at, known.id],
            )
    if news:
        await _act(conn, event, known, before)
    payment = await _known(conn, event)
    after = await _locked_subscription(conn, event)
    if payment is None:
        raise LookupError(f"payment {event.stripe_payment_id} went away")
    if after.status != before.status or after.expires_at != before.expires_at:
        await _tell(conn, event, before, after, actor)
    return Recorded(payment, news, after.status, after.expires_at)


async def list_payments(conn: AsyncConnection, tenant_id: int, *, limit: int = 100) -> list[Payment]:
    """A tenant's payments, newest first."""
    cursor = conn.cursor(row_factory=class_row(Payment))
    await cursor.execute(
        f"SELECT {PAYMENT} FROM payments WHERE tenant_id = %s ORDER BY status_at DESC, id DESC LIMIT %s",  # noqa: S608 - a literal
        [tenant_id, limit],
    )
    return await cursor.fetchall()


async def totals(conn: AsyncConnection, tenant_id: int) -> list[Total]:
    """What was paid, one row a currency."""
    cursor = conn.cursor(row_factory=class_row(Total))
    await cursor.execute(
        """
        SELECT currency, sum(amount) AS amount, count(*) AS payments FROM payments
         WHERE tenant_id = %s AND status = 'succeeded' GROUP BY currency ORDER BY currency
        """,
        [tenant_id],
    )
    return await cursor.fetchall()


async def _locked_subscription(conn: AsyncConnection, event: PaymentEvent) -> _Subscription:
    """The subscription, ours until the transaction ends: two events of it follow one another."""
    cursor = conn.cursor(row_factory=class_row(_Subscription))
    await cursor.execute(
        """
        SELECT s.status, s.expires_at, coalesce(p.billing_cycle, 'monthly') AS billing_cycle
          FROM subscriptions s JOIN plans p ON p.id = s.plan_id
         WHERE s.tenant_id = %s AND s.id = %s FOR UPDATE OF s
        """,
        [event.tenant_id, event.subscription_id],
    )
    found = await cursor.fetchone()
    if found is None:
        raise LookupError(f"tenant {event.tenant_id} has no subscription {event.subscription_id}")
    if found.billing_cycle not in CYCLES:
        raise LookupError(f"billing cycle {found.billing_cycle!r} is none of {', '.join(CYCLES)}")
    return found


async def _known(conn: AsyncConnection, event: PaymentEvent) -> Payment | None:
    cursor = conn.cursor(row_factory=class_row(Payment))
    await cursor.execute(
        f"SELECT {PAYMENT} FROM payments WHERE stripe_payment_id = %s",  # noqa: S608 - a literal
        [event.stripe_payment_id],
    )
    known = await cursor.fetchone()
    if known is not None:
        told = (event.tenant_id, event.subscription_id, event.amount, event.currency)
        if told != (known.tenant_id, known.subscription_id, known.amount, known.currency):
            raise Mismatch(
                f"payment {event.stripe_payment_id} is {known.amount} {known.currency} for subscription "
                f"{known.subscription_id}; an event says {event.amount} {event.currency} for {event.subscription_id}"
            )
    return known


async def _first_word(conn: AsyncConnection, event: PaymentEvent) -> Payment:
    """Raises AlreadyExists when another tenant's event of the same payment comes at this very moment."""
    cursor = conn.cursor(row_factory=class_row(Payment))
    await cursor.execute(
        f"""
        INSERT INTO payments (tenant_id, subscription_id, stripe_payment_id, amount, currency, status, status_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {PAYMENT}
        """,  # noqa: S608 - a literal
        [
            event.tenant_id,
            event.subscription_id,
            event.stripe_payment_id,
            event.amount,
            event.currency,
            event.status,
            event.at,
        ],
    )
    made = await cursor.fetchone()
    if made is None:
        raise LookupError(f"payment {event.stripe_payment_id} was not written")
    return made


async def _act(conn: AsyncConnection, event: PaymentEvent, payment: Payment, before: _Subscription) -> None:
    """What the word means for the subscription."""
    if event.status == "succeeded":
        if payment.period_start is None:
            await _extend(conn, event, payment, before)
        await conn.execute(
            """
            UPDATE subscriptions SET status = 'active', past_due_since = NULL, release_planned_for = NULL,
                   updated_at = now()
             WHERE id = %(id)s AND status <> 'cancelled' AND (expires_at IS NULL OR expires_at > %(at)s)
               AND NOT EXISTS (SELECT FROM payments WHERE subscription_id = %(id)s AND status = 'disputed')
            """,
            {"id": event.subscription_id, "at": event.at},
        )
    elif event.status in {"refunded", "disputed"}:
        given_back = event.status == "refunded" and payment.period_start is not None
        await conn.execute(
            """
            UPDATE subscriptions SET status = CASE status WHEN 'suspended' THEN status ELSE 'past_due' END,
                   past_due_since = coalesce(past_due_since, %(at)s),
                   expires_at = expires_at - %(length)s::interval, updated_at = now()
             WHERE id = %(id)s AND status IN ('trialing', 'active', 'past_due', 'suspended')
            """,
            {
                "id": event.subscription_id,
                "at": event.at,
                "length": _length(payment) if given_back else "0",
            },
        )


def _length(payment: Payment) -> str:
    if payment.period_start is None or payment.period_end is None:
        return "0"
    return f"{(payment.period_end - payment.period_start).total_seconds()} seconds"


async def _extend(conn: AsyncConnection, event: PaymentEvent, payment: Payment, before: _Subscription) -> None:
    """One cycle on top of what is paid; from the day of payment when that would be over already. In UTC months.

    A subscription without an end keeps none: what the tenant has is never shortened by paying.
    """
    runs_on = before.status in {"trialing", "active", "past_due"} and before.expires_at is not None
    start = before.expires_at if runs_on and before.expires_at is not None else event.at
    await conn.execute(
        """
        WITH after_start AS (
            SELECT start, ((start AT TIME ZONE 'UTC') + %(cycle)s::interval) AT TIME ZONE 'UTC' AS ending, place
              FROM unnest(ARRAY[%(start)s, %(at)s]::timestamptz[]) WITH ORDINALITY AS starts (start, place)),
        period AS (SELECT start, ending FROM after_start WHERE ending > %(at)s ORDER BY place LIMIT 1)
        UPDATE payments SET paid_at = coalesce(paid_at, %(at)s), period_start = period.start, period_end = period.ending
          FROM period WHERE id = %(payment)s
        """,
        {"at": event.at, "start": start, "cycle": CYCLES[before.billing_cycle], "payment": payment.id},
    )
    await conn.execute(
        """
        UPDATE subscriptions s SET expires_at = p.period_end, updated_at = now()
          FROM payments p WHERE p.id = %s AND s.id = p.subscription_id AND s.expires_at IS NOT NULL
        """,
        [payment.id],
    )


async def _tell(
    conn: AsyncConnection, event: PaymentEvent, before: _Subscription, after: _Subscription, actor: str
) -> None:
    await record_event(
        conn,
        tenant_id=event.tenant_id,
        subject_type="subscription",
        subject_id=event.subscription_id,
        event=f"payment_{event.status}",
        from_status=before.status,
        to_status=after.status,
        actor=actor,
        details={
            "payment": event.stripe_payment_id,
            "expires_at": None if after.expires_at is None else after.expires_at.isoformat(),
        },
    )
