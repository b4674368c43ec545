"""subscriptions and payments: what is paid, what follows from it, and a payment told by hand."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, cast, get_args

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.status import AsJson, TenantWord, known_tenant
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.resources import resources
from sql import payments, subscriptions
from sql.payments import Mismatch, PaymentEvent, PaymentStatus
from sql.session import as_orchestrator

subscriptions_app = typer.Typer(no_args_is_help=True, help="Where subscriptions stand, and what follows from it.")
payments_app = typer.Typer(no_args_is_help=True, help="What was paid, and a word of the payment provider by hand.")

LONGEST_ID: Final = 255
TOO_MUCH: Final = Decimal(10) ** 8  # what the column holds
CURRENCY: Final = re.compile("[A-Z]{3}")
CLOCKS_DIFFER: Final = timedelta(days=1)


@subscriptions_app.command("list")
def list_subscriptions(tenant: TenantWord, as_json: AsJson = False) -> None:
    """A tenant's subscriptions: status, end, and when unpaid ones are given back."""
    run(_list_subscriptions(tenant, as_json=as_json))


async def _list_subscriptions(word: str, *, as_json: bool) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_orchestrator(r.pool) as conn:
            found = await subscriptions.list_subscriptions(conn, tenant.id)
    fields = ("id", "status", "expires_at", "past_due_since", "release_planned_for")
    rows = [tuple(getattr(one, name) for name in fields) for one in found]
    if as_json:
        say_json([dict(zip(fields, row, strict=True)) for row in rows])
        return
    show_table("subscriptions", fields, [tuple(cell if cell is not None else "-" for cell in row) for row in rows])


@subscriptions_app.command()
@changes("subscription.follow")
def follow(
    as_of: Annotated[str | None, typer.Option("--as-of", help="play another time, ISO 8601; in a sandbox only")] = None,
) -> None:
    """Do what the hourly sweep does: past due, suspended, hosts told, releases planned."""
    run(_follow(as_of))


async def _follow(as_of: str | None) -> None:
    from flows.following import followed, moment  # noqa: PLC0415  Prefect is slow to import

    async with resources() as r:
        if as_of is not None and not r.terms.practice:
            stop(Exit.REJECTED, "--as-of is for the sandbox: outside it the clock is the clock")
        for line in await followed(r, moment(as_of)) or ["nothing changed"]:
            out.print(line, markup=False)


@payments_app.command("list")
def list_payments(tenant: TenantWord, as_json: AsJson = False) -> None:
    """A tenant's payments, newest first, and what was paid in each currency."""
    run(_list_payments(tenant, as_json=as_json))


async def _list_payments(word: str, *, as_json: bool) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_orchestrator(r.pool) as conn:
            found, totals = await payments.list_payments(conn, tenant.id), await payments.totals(conn, tenant.id)
    fields = ("stripe_payment_id", "amount", "currency", "status", "status_at", "period_end")
    rows = [tuple(getattr(one, name) for name in fields) for one in found]
    if as_json:
        say_json({"payments": [dict(zip(fields, row, strict=True)) for row in rows],
                  "paid": {total.currency: total.amount for total in totals}})  # fmt: skip
        return
    show_table("payments", fields, [tuple(cell if cell is not None else "-" for cell in row) for row in rows])
    show_table("paid", ("currency", "amount"), [(total.currency, total.amount) for total in totals])


@payments_app.command()
@changes("payment.record")
def record(
    tenant: TenantWord,
    payment: Annotated[str, typer.Argument(metavar="PAYMENT", help="the payment provider's id of it")],
    amount: Annotated[str, typer.Option(help="e.g. 49.00")],
    currency: Annotated[str, typer.Option(help="ISO 4217, e.g. USD")] = "USD",
    status: Annotated[str, typer.Option(help="pending, succeeded, failed, refunded or disputed")] = "succeeded",
    at: Annotated[str | None, typer.Option(help="when it happened, ISO 8601 with zone; now")] = None,
    subscription: Annotated[int | None, typer.Option(help="which one; the newest")] = None,
) -> None:
    """Take in one event of a payment: it counts once, in whatever order events come. The host is told at once."""
    if status not in get_args(PaymentStatus):
        stop(Exit.USAGE, f"--status is one of {', '.join(get_args(PaymentStatus))}")
    if not 0 < len(payment) <= LONGEST_ID:
        stop(Exit.USAGE, f"a payment's id has 1 to {LONGEST_ID} characters, this one {len(payment)}")
    if not CURRENCY.fullmatch(currency.upper()):
        stop(Exit.USAGE, f"{currency!r} is no currency: three letters by ISO 4217, e.g. USD")
    run(_record(tenant, payment, money(amount), currency.upper(), cast("PaymentStatus", status), at, subscription))


def money(words: str) -> Decimal:
    """An amount with at most two decimals; ends the command otherwise."""
    try:
        amount = Decimal(words)
    except InvalidOperation:
        stop(Exit.USAGE, f"{words!r} is no amount")
    if not amount.is_finite() or not 0 <= amount < TOO_MUCH or amount != round(amount, 2):
        stop(Exit.USAGE, f"{words} is no amount: write e.g. 49.00")
    return amount


def event_time(words: str | None) -> datetime:
    """When it happened, in UTC; ends the command for what is no time, or one that cannot have come yet."""
    from flows.following import moment  # noqa: PLC0415  Prefect is slow to import

    try:
        at = moment(words).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        stop(Exit.USAGE, f"--at {words}: {error}")
    if at > datetime.now(UTC) + CLOCKS_DIFFER:
        stop(Exit.USAGE, f"--at {words} has not come yet: every true word after it would count as old")
    return at


async def _record(
    word: str, payment: str, amount: Decimal, currency: str, status: PaymentStatus, at: str | None, chosen: int | None
) -> None:
    from flows.following import hosts_settled  # noqa: PLC0415  Prefect is slow to import

    happened = event_time(at)
    async with resources() as r:
        tenant = await known_tenant(r, word)
        try:
            async with as_orchestrator(r.pool) as conn:
                if chosen is None:
                    owned = await subscriptions.list_subscriptions(conn, tenant.id)
                    chosen = owned[0].id if owned else 0
                event = PaymentEvent(
                    tenant_id=tenant.id, subscription_id=chosen, stripe_payment_id=payment, amount=amount,
                    currency=currency, status=status, at=happened,
                )  # fmt: skip
                recorded = await payments.record_payment(conn, event, actor=actor())
        except (Mismatch, LookupError) as refused:
            stop(Exit.REJECTED, str(refused))
        lines = await hosts_settled(r, tenant.id)
    end = recorded.expires_at.isoformat() if recorded.expires_at else "never"
    news = "" if recorded.changed else " (known already)"
    out.print(f"{payment}: {status}{news}; subscription {recorded.subscription_status}, ends {end}", markup=False)
    for line in lines:
        out.print(line, markup=False)
