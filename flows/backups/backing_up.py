"""Dump each database and store the dump, sealed; it counts once a restore has proven it (restoring.py).

One moment of the database is held still. Its tables are counted and summed, then pg_dump reads the same moment; what
it says is sealed on its way to the disk, so nothing plain lies anywhere. Before the dump leaves, the rows in it are
counted against the tables': a dump that row security silently emptied is refused here. After it has left it is read
back to the last byte. The figures travel inside the dump: to restore it, nothing is needed but store and sealing keys.
"""

import asyncio
import json
import logging
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from uuid import UUID, uuid4

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import states
from flows.policy.backups import name_of, note_and_rest, with_note
from flows.redact import redactor
from flows.resources import Resources, direct_dsn, migration_dsn, object_store, resources, sealing_keys, settings
from providers import sealed_files
from providers.errors import NotFound, ProviderError, Unconfirmed
from providers.object_store import ObjectStore
from providers.sealed_files import Written
from sql import alerts, backups, dumps, table_sums
from sql.backups import Backup
from sql.dumps import DumpRefused
from sql.migration_files import Target
from sql.session import Contended, as_orchestrator, change_lock
from sql.table_sums import Picture

log = logging.getLogger(__name__)

FORMAT = 1


async def targets() -> tuple[Target, ...]:
    """The databases there are: one dump holds both targets where they share one."""
    core, analytics = await migration_dsn("core"), await migration_dsn("analytics")
    return ("core",) if dumps.same_database(core, analytics) else ("core", "analytics")


async def dump_and_store(r: Resources, target: Target) -> Backup:
    """One dump, stored and read back. Raises DumpRefused, ProviderError or Contended; its row then says why."""
    async with change_lock(await direct_dsn(), f"backup {target}"):
        store, begun = object_store(), datetime.now(UTC)
        key, (keys, active) = name_of(target, begun, uuid4().hex), sealing_keys()
        async with as_orchestrator(r.pool) as conn:
            made = await backups.begin(conn, target=target, store=store.url, object_key=key, key_id=active)
        try:
            await _dump_and_store(r, made, target, store, key, keys, active)
        except Exception as error:
            await note_failure(r, target, made, error)
            raise
        async with as_orchestrator(r.pool) as conn:
            found = await backups.of_key(conn, store.url, key)
    if found is None:
        raise LookupError(f"no row of {key}")
    return found


async def _dump_and_store(
    r: Resources, made: UUID, target: Target, store: ObjectStore, key: str, keys: Mapping[str, bytes], active: str
) -> None:
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="penguin-backup-") as folder:
        file = Path(folder) / "dump.sealed"
        async with dumps.frozen(await migration_dsn(target)) as source:
            client = dumps.find_client(source.server_major, settings().backup.client_dir)
            with timed(seconds, "count"):
                was = await table_sums.picture(source.conn)
            note = note_of(target, was, source.server_major)
            with timed(seconds, "dump"):
                stream = with_note(note, dumps.dumped(client, source))
                stream = sealed_files.sealed(stream, keys=keys, active_key_id=active)
                written = await asyncio.to_thread(sealed_files.write, stream, file)
        with timed(seconds, "check"):
            await asyncio.to_thread(expect_rows, client, file, keys, was)
        with timed(seconds, "upload"):
            await put(store, key, file)
        with timed(seconds, "read_back"):
            await expect_stored(store, key, written)
    async with as_orchestrator(r.pool) as conn:
        await backups.mark_stored(
            conn, made, tables=len(was.tables), row_total=was.row_total, size_bytes=written.size_bytes,
            sha256=written.sha256, seconds=seconds,
        )  # fmt: skip


def note_of(target: Target, was: Picture, server_major: int) -> bytes:
    """What a dump says of itself, for whoever restores it without our tables."""
    body = {"format": FORMAT, "target": target, "server_major": server_major, "picture": was.as_json()}
    return json.dumps(body, separators=(",", ":")).encode()


def expect_rows(client: dumps.Client, file: Path, keys: Mapping[str, bytes], was: Picture) -> None:
    """The dump itself holds every row of every table: a silently empty one ends here. Blocks."""
    if not was.tables:
        raise DumpRefused("the database holds no tables: is it the right one?")
    _, archive = note_and_rest(sealed_files.read(file, keys=keys))
    held = dumps.rows_in(client, archive)
    short = [
        f"{held.get(name, 0)} of {table.rows} rows of {name}"
        for name, table in was.tables.items()
        if held.get(name, 0) != table.rows
    ]
    if short:
        raise DumpRefused(f"the dump holds {', '.join(short)}")


async def put(store: ObjectStore, key: str, file: Path) -> None:
    """Store a dump; where the answer was lost, what is there decides."""
    try:
        await store.put_file(key, file)
    except Unconfirmed:
        if await store.find(key) is None:
            raise


async def expect_stored(store: ObjectStore, key: str, written: Written) -> None:
    """What the store gives back is what it was given. What is not is taken away, so that no listing shows it."""
    try:
        back = await store.fetch(key)
    except NotFound as error:
        raise DumpRefused(f"the store took {key} and does not have it") from error
    if (back.size_bytes, back.sha256) != (written.size_bytes, written.sha256):
        with suppress(ProviderError):
            await store.delete(key)
        raise DumpRefused(
            f"the store gave back {back.size_bytes} bytes of {key} that are not the {written.size_bytes} it was given"
        )


@contextmanager
def timed(seconds: dict[str, float], part: str) -> Generator[None]:
    """Note how long this block took, under a name."""
    began = monotonic()
    yield
    seconds[part] = round(monotonic() - began, 3)


async def note_failure(r: Resources, target: Target, made: UUID | None, error: Exception) -> None:
    """The row says why, and staff are told."""
    sentence = redactor.clean(str(error) or type(error).__name__)[:1000]
    if made is not None:
        async with as_orchestrator(r.pool) as conn:
            await backups.mark_failed(conn, made, sentence)
    async with as_orchestrator(r.analytics) as conn:
        await alerts.raise_alert(
            conn, dedupe_key=f"backup:{target}", category="backup", title=f"No backup of {target}",
            message=f"{sentence}. Next: python -m flows backups, then python -m flows drill", severity="high",
        )  # fmt: skip


@task(name="back_up_database", cache_policy=NO_CACHE, persist_result=False)
async def back_up_database(target: Target) -> str:
    """One line about one database."""
    async with resources() as r:
        done = await dump_and_store(r, target)
    return f"{done.object_key}: {done.row_total} rows, {done.size_bytes} bytes"


@flow(name="back_up", retries=0)
async def back_up() -> State[None]:
    """Every night, each database; one that fails does not keep the other from its dump."""
    lines: list[str] = []
    failures: list[str] = []
    for target in await targets():
        try:
            lines.append(await back_up_database(target))
        except (DumpRefused, ProviderError, Contended) as error:
            failures.append(f"{target}: {redactor.clean(str(error))}")
    for line in (*lines, *failures):
        log.info("%s", line)
    return states.failed("; ".join(failures)) if failures else states.succeeded("; ".join(lines))
