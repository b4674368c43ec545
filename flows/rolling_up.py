"""Raw interactions, and what core sent, into the daily figures.

Days that saw a row since the last time are counted anew, each figure in one statement: a run that is killed, runs twice
or comes late changes nothing that is right already. Days whose raw rows may be purged by now are left as they were.
"""

from datetime import UTC, datetime, timedelta

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import states
from flows.purging import retention_days
from flows.resources import Resources, resources
from sql import analytics, sent
from sql.session import as_orchestrator

RAW = ("email_opens", "email_clicks", "email_bounces", "email_replies", "email_complaints", "warmup_interactions")
FOR_EVER_DAYS = 36_500  # where no rule takes raw rows away


@task(name="count_touched_days", cache_policy=NO_CACHE, persist_result=False)
async def count_touched_days() -> str:
    """One sentence: days looked at, figures that changed."""
    async with resources() as r:
        return await rolled_up(r)


async def rolled_up(r: Resources) -> str:
    """Count, and remember up to when, in one transaction of the analytics database."""
    kept = await retention_days(r)
    days_kept = min((kept[name] for name in RAW if name in kept), default=FOR_EVER_DAYS)
    oldest = (datetime.now(UTC) - timedelta(days=days_kept - 1)).date()
    async with as_orchestrator(r.analytics) as conn:
        seen_until = await sent.counted_until(conn)
        touched, mark = await analytics.touched_days(conn, oldest=oldest)
    async with as_orchestrator(r.pool) as conn:
        days = sorted({*touched, *await sent.days_with_sends(conn, seen_until, oldest=oldest)})
        told = await sent.sent_on(conn, days)
    async with as_orchestrator(r.analytics) as conn:
        changed = await analytics.roll_up(conn, days) + await analytics.roll_up_sent(conn, days, told)
        await analytics.remember(conn, mark)
    return f"{len(days)} days counted, {changed} figures changed"


@flow(name="roll_up_analytics", retries=0)
async def roll_up_analytics() -> State[None]:
    """Every quarter of an hour."""
    return states.succeeded(await count_touched_days())
