"""Look at addresses and domains on blocklists when their time has come, and keep the history of listings.

Lists are tested before they are believed. Due subjects are claimed in chunks, one of each tenant first, by any number
of workers; what each list says is weighed against the stored run, where a listing and its end need a second answer;
runs, pictures and next looks are written in one transaction. What began or ended is told to people afterwards, and
again if a crash came between.
"""

import asyncio
import logging
import random
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from time import monotonic
from typing import Final, get_args

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import states
from flows.blocklists.lists import found_on, is_subject, proven_lists, spent_lists, tell_of_codes
from flows.blocklists.looked import Looked, ended, weighed
from flows.blocklists.turns import Turn, turn_of
from flows.collector import seldom_collecting
from flows.policy.blocklists import Act, Kind, kind_of
from flows.resources import Resources, resources
from sql import alerts, blacklist_checks, infrastructure_events, provider_blacklist_status
from sql.alerts import Severity
from sql.blacklist_checks import CheckType, RunRow, Untold
from sql.session import Connection, as_orchestrator

log = logging.getLogger(__name__)

ACTOR: Final = "check_blocklists"
NOTHING_TO_ASK: Final = timedelta(hours=6)  # a subject of which no enabled list knows the kind
SEVERITY: Final[Mapping[int, Severity]] = {1: "critical", 2: "medium"}  # tier 3 is recorded and told to nobody


@flow(name="check_blocklists", retries=0)
async def check_blocklists(subject: str | None = None) -> State[None]:
    """What is due, until nothing is or the sweep's time is over; `subject`: this address or domain at once."""
    async with resources() as r:
        until = monotonic() + r.settings.blocklists.sweep_minutes * 60
        if subject is not None and not await hurried(r, subject):
            return states.rejected(f"no live address or domain {subject}")
        looks = 0
        for check_type in get_args(CheckType):
            while monotonic() < until and await is_due(r, check_type):
                if not (looked := await check_chunk(check_type)):
                    break  # other workers have them
                looks += looked
        told = await tell(r)
    return states.succeeded(f"{looks} subjects looked at, {told} changes told")


async def hurried(r: Resources, subject: str) -> int:
    """Make a subject due, whatever its rows say; how many rows it has."""
    check_type: CheckType = "domain" if kind_of(subject) is Kind.DOMAIN else "ip"
    async with as_orchestrator(r.pool) as conn:
        return await blacklist_checks.make_due(conn, check_type, subject)


async def is_due(r: Resources, check_type: CheckType) -> bool:
    """Whether anything is due: one index look-up, so that a tick with nothing to do costs nothing."""
    async with as_orchestrator(r.pool) as conn:
        return await blacklist_checks.any_due(conn, check_type)


@task(name="check_listings", cache_policy=NO_CACHE, persist_result=False)
async def check_chunk(check_type: CheckType) -> int:
    """Claim one chunk and look at it; how many subjects that were."""
    async with resources() as r:
        return await checked(r, check_type)


async def checked(r: Resources, check_type: CheckType) -> int:
    """The same, within resources that are open."""
    async with as_orchestrator(r.pool) as conn:
        due = await blacklist_checks.claim_due(conn, check_type, limit=r.settings.blocklists.chunk)
        rows = await blacklist_checks.open_runs(conn, check_type, [one.id for one in due])
    fit = [one for one in due if is_subject(one.subject)]
    lists = await proven_lists(r, {kind_of(one.subject) for one in fit})
    runs = runs_by_subject(rows)
    turns = [turn_of(lists, one, runs.get(one.id, {})) for one in fit]
    spent = await spent_lists(r, [(one, len(turn.names)) for turn in turns for one in turn.lists])
    with seldom_collecting():
        looked = await asyncio.gather(*(look(r, turn, spent) for turn in turns))
    looked += [Looked(one, (), (), (), ()) for one in due if one not in fit]  # a name that is none: nothing to ask
    await tell_of_codes(r, [found for one in looked for found in one.found])
    async with as_orchestrator(r.pool) as conn:
        await write(conn, check_type, looked)
    return len(due)


def runs_by_subject(rows: Sequence[RunRow]) -> dict[int, dict[str, RunRow]]:
    """Open runs by subject and list."""
    ordered = sorted(rows, key=lambda row: row.subject_id)
    return {key: {row.list_name: row for row in of} for key, of in groupby(ordered, key=lambda row: row.subject_id)}


async def look(r: Resources, turn: Turn, spent: Collection[str]) -> Looked:
    """Ask the lists whose turn it is about one subject, and weigh their words against the open runs."""
    now, jitter = datetime.now(UTC), random.uniform(-1, 1)  # noqa: S311  spreads load, guards nothing
    found = await found_on(r, turn.lists, turn.kind, turn.names, spent=spent)
    steps = [weighed(turn.due, turn.runs.get(one.listname), one, now, jitter) for one in found]
    resting = [run for name, run in turn.runs.items() if name not in {one.listname for one in found}]
    return Looked(
        turn.due, tuple(found), tuple(steps), tuple(run for run in resting if run.list_name in turn.enabled),
        tuple(run for run in resting if run.list_name not in turn.enabled),
    )  # fmt: skip


async def write(conn: Connection, check_type: CheckType, looked: Sequence[Looked]) -> None:
    """Everything one chunk brought, for the subjects that are still ours."""
    ours = await blacklist_checks.still_ours(conn, check_type, [one.due for one in looked])
    kept = [one for one in looked if one.due.id in ours]
    steps = [step for one in kept for step in one.steps]
    now = datetime.now(UTC)
    turned = [step.before.id for step in steps if step.act is Act.TURN and step.before and step.before.id]
    clean = {step.before.id for step in steps if step.before and step.after.verdict == "pass"}
    unasked = [run.id for one in kept for run in one.unasked if run.id]
    for ids, delisted in (([i for i in turned if i in clean], True), ([i for i in turned if i not in clean], False),
                          (unasked, False)):  # fmt: skip
        if ids:
            await blacklist_checks.end_runs(conn, ids, now, delisted=delisted)
    await blacklist_checks.renew_runs(conn, [step.after for step in steps if step.after.id is not None])
    subjects = {one.due.id: one.due for one in kept}
    await blacklist_checks.begin_runs(conn, check_type, subjects, [s.after for s in steps if s.after.id is None])
    for one in kept:
        await note_events(conn, check_type, one)
    pictures = {one.due.id: one.open_runs for one in kept}
    times = {
        one.due.id: min((run.next_check_at for run in one.open_runs), default=now + NOTHING_TO_ASK) for one in kept
    }
    await provider_blacklist_status.note_status(conn, check_type, pictures, times)


async def note_events(conn: Connection, check_type: CheckType, looked: Looked) -> None:
    """One line of the trail for each listing that began or ended."""
    for step in looked.steps:
        if step.act is Act.KEEP or not (step.after.verdict == "fail" or ended(step)):
            continue
        await infrastructure_events.record_event(
            conn, tenant_id=looked.due.tenant_id, subject_type=check_type, subject_id=looked.due.id, actor=ACTOR,
            event="listed" if step.after.verdict == "fail" else "delisted",
            from_status=step.before.category if step.before else None, to_status=step.after.category,
            reason=step.after.list_name, details={"codes": list(step.after.codes), "tier": step.after.tier},
        )  # fmt: skip


async def tell(r: Resources) -> int:
    """Open and close alerts for listings that began or ended since the last time; how many."""
    async with as_orchestrator(r.pool) as conn:
        news = await blacklist_checks.untold(conn)
    for one in news:
        if one.tier in SEVERITY and one.effect != "age":
            async with as_orchestrator(r.analytics) as conn:
                await tell_one(conn, one)
        async with as_orchestrator(r.pool) as conn:
            await blacklist_checks.mark_told(conn, one)
    return len(news)


async def tell_one(conn: Connection, one: Untold) -> None:
    """One open alert a subject and list; closed when no listing is left on it."""
    key = f"listing:{one.list_name}:{one.check_type}:{one.subject_id}"
    if one.ended_at is not None:
        if not one.is_listed_still:
            await alerts.resolve(conn, key, ACTOR)
        return
    reason = f": {one.reason}" if one.reason else ""
    await alerts.raise_alert(
        conn, dedupe_key=key, category="blocklist", tenant_id=one.tenant_uuid, severity=SEVERITY[one.tier],
        title=f"{one.subject} is on {one.list_name} ({one.category})",
        message=f"Listed since {one.listed_since:%Y-%m-%d %H:%M}Z, {', '.join(one.codes)}{reason}."
        f" End the cause, then ask for removal: python -m flows listings {one.subject}",
        details={"list": one.list_name, "class": one.category, "tier": one.tier, "codes": one.codes},
    )  # fmt: skip
