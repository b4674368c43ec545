"""Restore dumps: every one into a scratch database, to prove it; one into a database that is to live.

A dump is proven when a restore of it holds every row, digest, sequence and policy that its note tells of, no tenant
reaches another's rows in it, and the sealed secrets open with the keys we have. A restore never touches a database that
is there already, unless its name was said twice: then the restored one takes its name and the old one steps aside.
"""

import asyncio
import json
import logging
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import states
from flows.backups.backing_up import FORMAT, note_failure, targets, timed
from flows.policy.backups import STAMP, Dump, Keep, made_at, note_and_rest, superfluous
from flows.redact import redactor
from flows.resources import Resources, migration_dsn, object_store, resources, sealing_keys, settings
from flows.vault import owner
from providers import sealed_files
from providers.errors import ProviderError
from providers.keys import SealBroken, Sealed, Sealer
from providers.object_store import ObjectStore
from sql import alerts, backups, databases, dumps, isolation, migrate, sealed_secrets, table_sums
from sql.databases import InTheWay
from sql.dumps import DumpRefused
from sql.migration_files import TARGETS, Target
from sql.session import Contended, as_orchestrator, open_pool

log = logging.getLogger(__name__)

UNPROVEN = (DumpRefused, InTheWay, ProviderError, Contended)
"""What a restore may end with; each carries one sentence."""


async def newest_key(store: ObjectStore, target: Target) -> str:
    """The newest dump the store has, whatever our tables say of it."""
    keys = [one.key for one in await store.listing(f"{target}/") if made_at(one.key) is not None]
    if not keys:
        raise DumpRefused(f"{store.url} holds no dump of {target}")
    return max(keys)  # the name begins with its time


@asynccontextmanager
async def fetched(store: ObjectStore, key: str, seconds: dict[str, float]) -> AsyncGenerator[Path]:
    """The sealed dump in a folder of our own, for as long as this block lasts."""
    with tempfile.TemporaryDirectory(prefix="penguin-restore-") as folder:
        file = Path(folder) / "dump.sealed"
        with timed(seconds, "fetch"):
            await store.fetch(key, file)
        yield file


def fill(file: Path, dsn: str, keys: Mapping[str, bytes]) -> Mapping[str, Any]:
    """Restore a sealed dump into an empty database; the note it carries. Blocks."""
    try:
        note, archive = note_and_rest(sealed_files.read(file, keys=keys))
        told = json.loads(note)
    except ValueError as error:
        raise DumpRefused("the dump carries no note of ours: it was not made by this program") from error
    if told.get("format") != FORMAT:
        raise DumpRefused(f"the dump is of format {told.get('format')}, this program reads {FORMAT}: take a newer one")
    client = dumps.find_client(int(told["server_major"]), settings().backup.client_dir)
    dumps.restored(client, dsn, archive)
    return told


async def faults(dsn: str, told: Mapping[str, Any]) -> tuple[str, ...]:
    """Everything in which a restored database is not what its dump tells of, or is not safe; none: it is proven."""
    async with dumps.frozen(dsn) as source:
        found = await table_sums.picture(source.conn)
    was = table_sums.picture_from(told["picture"])
    ledgers = [await migrate.status(dsn, target) for target in TARGETS]
    return (
        *table_sums.differences(was, found),
        *(ledger.problem for ledger in ledgers if ledger.problem),
        *await isolation.breaches_of(dsn),
        *await unopened_secrets(dsn),
    )


async def unopened_secrets(dsn: str) -> tuple[str, ...]:
    """Sealed secrets of a restored database that our keys do not open."""
    if not await sealed_secrets.are_kept_in(dsn):
        return ()
    sealer, broken = Sealer(*sealing_keys()), 0
    async with await open_pool(dsn, part="restore", max_size=1) as pool, as_orchestrator(pool) as conn:
        async for row in sealed_secrets.every_sealed(conn):
            try:
                sealer.open(
                    Sealed(row.key_id, row.ciphertext), tenant=owner(row.tenant_id), purpose=row.purpose, path=row.path
                )
            except SealBroken:
                broken += 1
    return (f"{broken} sealed secrets do not open with the sealing keys that are set",) if broken else ()


async def rehearse(r: Resources, target: Target) -> dict[str, float]:
    """Restore the newest dump into a scratch database and prove it; the seconds each part took."""
    store, seconds = object_store(), dict[str, float]()
    key = await newest_key(store, target)
    async with as_orchestrator(r.pool) as conn:
        row = await backups.of_key(conn, store.url, key)
    made = None if row is None else row.id
    try:
        async with (
            fetched(store, key, seconds) as file,
            databases.scratch(await migration_dsn(target)) as scratch,
        ):
            with timed(seconds, "restore"):
                told = await asyncio.to_thread(fill, file, scratch, sealing_keys()[0])
            with timed(seconds, "prove"):
                expect_none(key, await faults(scratch, told))
    except (DumpRefused, sealed_files.NotWhole) as error:
        await note_failure(r, target, made, error)
        raise
    async with as_orchestrator(r.pool) as conn:
        if made is not None:
            await backups.mark_verified(conn, made, seconds=seconds)
    async with as_orchestrator(r.analytics) as conn:
        await alerts.resolve(conn, f"backup:{target}", "platform")
    return seconds


def expect_none(key: str, found: Sequence[str]) -> None:
    """Raise DumpRefused with the first few faults."""
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""  # noqa: PLR2004  one screen
        raise DumpRefused(f"{key} does not restore to what it was: {'; '.join(found[:5])}{more}")


async def prune(r: Resources, target: Target) -> list[str]:
    """Take away what newer proven dumps replace; the names. What the listing does not show is not ours to judge."""
    store, group = object_store(), settings().backup
    async with as_orchestrator(r.pool) as conn:
        proven = await backups.verified_keys(conn, store.url)
    stored = [
        Dump(one.key, at, one.key in proven)
        for one in await store.listing(f"{target}/")
        if (at := made_at(one.key)) is not None
    ]
    gone = superfluous(stored, Keep(group.keep_daily, group.keep_weekly, group.keep_monthly))
    for key in gone:
        await store.delete(key)
        async with as_orchestrator(r.pool) as conn:
            await backups.mark_pruned(conn, store.url, key)
    return list(gone)


async def restore_into(
    target: Target, key: str | None, database: str, again: str | None
) -> tuple[str, dict[str, float]]:
    """Restore a dump, proven on the way, as `database`; one sentence and the seconds. Needs no table of ours.

    A database of that name must not be there, or `again` must say the name a second time: it is renamed, never
    overwritten. Raises DumpRefused, InTheWay, ProviderError, Contended.
    """
    dsn, store, seconds = await migration_dsn(target), object_store(), dict[str, float]()
    stamp = datetime.now(UTC).strftime(STAMP).lower()
    present = await databases.exists(dsn, database)
    if present and again != database:
        raise InTheWay(f"there is a database {database}: to put it aside say its name twice, with --again {database}")
    if present and await databases.is_in_use(dsn, database):
        raise InTheWay(f"somebody is connected to {database}: stop the workers and everything else first")
    key = key or await newest_key(store, target)
    name = f"{database}_restored_{stamp}" if present else database
    async with fetched(store, key, seconds) as file:
        made = await databases.make_empty(dsn, name)
        try:
            with timed(seconds, "restore"):
                told = await asyncio.to_thread(fill, file, made, sealing_keys()[0])
            with timed(seconds, "prove"):
                expect_none(key, await faults(made, told))
        except BaseException:
            await databases.drop(dsn, name)
            raise
    if not present:
        return f"{key} stands as {database}", seconds
    aside = f"{database}_before_{stamp}"
    await databases.change_names(dsn, live=database, aside=aside, restored=name)
    return f"{key} stands as {database}; what was there is {aside}", seconds


@task(name="rehearse_database", cache_policy=NO_CACHE, persist_result=False)
async def rehearse_database(target: Target) -> str:
    """One line about one database."""
    async with resources() as r:
        seconds = await rehearse(r, target)
        gone = await prune(r, target)
    return f"{target}: restored and proven in {sum(seconds.values()):.1f} s, {len(gone)} old dumps taken away"


@flow(name="rehearse_restore", retries=0)
async def rehearse_restore() -> State[None]:
    """Every night after the dumps: a backup that was never restored is none."""
    lines: list[str] = []
    failures: list[str] = []
    for target in await targets():
        try:
            lines.append(await rehearse_database(target))
        except UNPROVEN as error:
            failures.append(f"{target}: {redactor.clean(str(error))}")
    for line in (*lines, *failures):
        log.info("%s", line)
    return states.failed("; ".join(failures)) if failures else states.succeeded("; ".join(lines))
