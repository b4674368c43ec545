"""What is old enough goes, by the retention preset, in chunks that hold nobody up."""

from collections.abc import Mapping
from datetime import UTC, datetime

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import states
from flows.policy.presets import RETENTION
from flows.resources import Resources, resources
from sql import policy_presets, retention
from sql.session import as_orchestrator


async def retention_days(r: Resources) -> Mapping[str, int]:
    """Rule to days: the default preset of the database, or the one we ship where none was put in yet."""
    async with as_orchestrator(r.pool) as conn:
        row = await policy_presets.default_preset(conn, RETENTION.kind)
    return RETENTION.body if row is None else row.body


@task(name="purge_by_rule", cache_policy=NO_CACHE, persist_result=False)
async def purge_by_rule() -> str:
    """One sentence: what was taken away, by rule."""
    async with resources() as r:
        days, now = await retention_days(r), datetime.now(UTC)
        purged = await retention.purge(r.pool, "core", days, now)
        purged += await retention.purge(r.analytics, "analytics", days, now)
    gone = [f"{one.rows} of {one.name}" for one in purged if one.rows]
    return ", ".join(gone) or "nothing was old enough"


@flow(name="purge_expired", retries=0)
async def purge_expired() -> State[None]:
    """Once a day. Raw interactions go only from days that a rollup has counted."""
    return states.succeeded(await purge_by_rule())
