"""Bring a database to the schema of the files, one file a transaction, one migrator at a time.

Refused: an edited, missing, doubled or unknown file, and a way back that loses rows without consent. The lock is held
on a direct connection of its own, so the DSN must not lead through a transaction pooler.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row

from sql.catalog import difference, snapshot
from sql.migration_doctor import Finding, doctor
from sql.migration_files import FOLDER, ROLES_FILE, Migration, Refused, Target, migrations_of
from sql.session import CONNECT_SECONDS, our_errors

__all__ = [
    "AppliedRow",
    "Finding",
    "Moved",
    "Refused",
    "Status",
    "Verified",
    "baseline",
    "doctor",
    "down",
    "status",
    "up",
    "verify",
]

LOCK = "SELECT pg_advisory_lock(hashtext('penguin_migrations'))"
LEDGER = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        target TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
        applied_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT clock_timestamp(), duration_ms INTEGER NOT NULL,
        PRIMARY KEY (target, version)
    );
    GRANT SELECT ON schema_migrations TO penguin_app, penguin_orchestrator, penguin_backup
"""


@dataclass(frozen=True, slots=True)
class AppliedRow:
    """One line of the ledger."""

    target: str
    version: int
    name: str
    sha256: str
    applied_at: datetime
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Moved:
    """One file that was run, or would be (`dry_run`)."""

    label: str
    direction: str  # up, down or baseline
    duration_ms: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Status:
    """How far a database is. `problem` is why the runner would refuse, None when it would go on."""

    target: Target
    applied: tuple[AppliedRow, ...]
    pending: tuple[str, ...]
    problem: str | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` saw; no difference means that every way back is one."""

    target: Target
    versions: int
    differences: tuple[str, ...]


async def up(
    dsn: str, target: Target, *, to: int | None = None, dry_run: bool = False, folder: Path = FOLDER
) -> tuple[Moved, ...]:
    """Apply what is pending, up to version `to`. A dry run does it all in one transaction and takes it back."""
    known = migrations_of(target, folder)
    async with _alone(dsn) as conn:
        if dry_run:
            async with conn.transaction(force_rollback=True):
                return await _climb(conn, known, to, dry_run=True)
        return await _climb(conn, known, to, dry_run=False)


async def _climb(
    conn: AsyncConnection, known: Sequence[Migration], to: int | None, *, dry_run: bool
) -> tuple[Moved, ...]:
    await _prepare(conn)
    pending = _pending(known, await _applied(conn, known))
    return tuple(
        [
            await _apply(conn, migration, dry_run=dry_run)
            for migration in pending
            if to is None or migration.version <= to
        ]
    )


async def down(
    dsn: str,
    target: Target,
    *,
    to: int,
    allow_data_loss: bool = False,
    dry_run: bool = False,
    folder: Path = FOLDER,
) -> tuple[Moved, ...]:
    """Go back to version `to`, newest first; 0 is before the first file. Refused where rows would be lost."""
    known = migrations_of(target, folder)
    async with _alone(dsn) as conn:
        applied = await _applied(conn, known)
        _pending(known, applied)
        back = [migration for migration in reversed(known[: len(applied)]) if migration.version > to]
        lossy = next((migration for migration in back if migration.loses), None)
        if lossy is not None and not (allow_data_loss or dry_run):
            raise Refused(f"{lossy.label}: going back loses {lossy.loses}; say --allow-data-loss if that is meant")
        async with conn.transaction(force_rollback=dry_run):
            return tuple([await _take_back(conn, migration, dry_run=dry_run) for migration in back])


async def status(dsn: str, target: Target, *, folder: Path = FOLDER) -> Status:
    """What is applied, what is pending, and what is wrong. Changes nothing, takes no lock."""
    known = migrations_of(target, folder)
    with our_errors():
        async with await _connect(dsn) as conn:
            applied = await _applied(conn, known)
    try:
        pending = _pending(known, applied)
    except Refused as refusal:
        return Status(target, applied, (), str(refusal))
    return Status(target, applied, tuple(migration.label for migration in pending), None)


async def baseline(
    dsn: str, target: Target, version: int, *, dry_run: bool = False, folder: Path = FOLDER
) -> tuple[Moved, ...]:
    """Record files up to `version` as applied without running them: for a database that holds the seed's tables."""
    known = migrations_of(target, folder)
    async with _alone(dsn) as conn:
        async with conn.transaction(force_rollback=dry_run):
            await _prepare(conn)
            if await _applied(conn, known):
                raise Refused(f"{target}: the ledger is not empty, a baseline comes first or never")
            await _expect_tables(conn, known[:version])
            for migration in known[:version]:
                await _record(conn, migration, 0)
        return tuple(Moved(migration.label, "baseline", 0, dry_run) for migration in known[:version])


async def verify(dsn: str, target: Target, *, folder: Path = FOLDER) -> Verified:
    """Climb, go all the way back and climb again in a scratch database on the same server, comparing at every version.

    Needs the right to create databases. The scratch database is dropped whatever happens.
    """
    scratch = f"penguin_verify_{uuid4().hex[:12]}"
    name = sql.Identifier(scratch)
    with our_errors():
        async with await _connect(dsn) as admin:
            await admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
            try:
                return await _there_and_back(make_conninfo(dsn, dbname=scratch), target, folder)
            finally:
                await admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


async def _there_and_back(dsn: str, target: Target, folder: Path) -> Verified:
    known = migrations_of(target, folder)
    pictures = [await _picture(dsn)]
    for migration in known:
        await up(dsn, target, to=migration.version, folder=folder)
        pictures.append(await _picture(dsn))
    differences: list[str] = []
    for version in reversed(range(len(known))):
        await down(dsn, target, to=version, allow_data_loss=True, folder=folder)
        label = f"down to {version:04}"
        differences += [f"{label}: {line}" for line in difference(pictures[version], await _picture(dsn))]
    await up(dsn, target, folder=folder)
    differences += [f"up again: {line}" for line in difference(pictures[-1], await _picture(dsn))]
    return Verified(target, len(known), tuple(differences))


async def _picture(dsn: str) -> tuple[str, ...]:
    async with await _connect(dsn) as conn:
        return await snapshot(conn, ignored=("schema_migrations", "schema_migrations_pkey"))


async def _connect(dsn: str) -> AsyncConnection:
    return await AsyncConnection.connect(
        dsn, autocommit=True, application_name="penguin:migrate", connect_timeout=CONNECT_SECONDS
    )


@asynccontextmanager
async def _alone(dsn: str) -> AsyncGenerator[AsyncConnection]:
    """A connection that holds the migrators' lock; a second one waits a minute, then is told (Contended)."""
    with our_errors():
        async with await _connect(dsn) as conn:
            await conn.execute("SELECT set_config('lock_timeout', '60s', false)")
            await conn.execute(LOCK)
            yield conn


async def _prepare(conn: AsyncConnection) -> None:
    async with conn.transaction():
        await conn.execute(ROLES_FILE.read_bytes())
        await conn.execute("SET LOCAL ROLE penguin_owner")
        await conn.execute(LEDGER)


async def _applied(conn: AsyncConnection, known: Sequence[Migration]) -> tuple[AppliedRow, ...]:
    found = await (await conn.execute("SELECT to_regclass('public.schema_migrations') IS NOT NULL")).fetchone()
    if found is None or not found[0] or not known:
        return ()
    cursor = conn.cursor(row_factory=class_row(AppliedRow))
    await cursor.execute(
        """
        SELECT target, version, name, sha256, applied_at, duration_ms FROM schema_migrations
         WHERE target = %s ORDER BY version
        """,
        [known[0].target],
    )
    return tuple(await cursor.fetchall())


def _pending(known: Sequence[Migration], applied: Sequence[AppliedRow]) -> Sequence[Migration]:
    """The files still to run. Raises Refused when the ledger and the files disagree."""
    by_version = {migration.version: migration for migration in known}
    for place, row in enumerate(applied, start=1):
        migration = by_version.get(row.version)
        if migration is None:
            raise Refused(
                f"{row.target} {row.version:04} {row.name} is applied and has no file: newer program elsewhere?"
            )
        if row.version != place:
            raise Refused(
                f"{row.target} {place:04} was skipped in this database, {row.version:04} stands in the ledger"
            )
        if row.sha256 != migration.sha256:
            raise Refused(f"{migration.label} was edited after it was applied: restore the file, write a new migration")
    return known[len(applied) :]


async def _apply(conn: AsyncConnection, migration: Migration, *, dry_run: bool) -> Moved:
    started = time.monotonic()
    if migration.in_transaction:
        async with conn.transaction():
            await _as_owner(conn, migration, migration.up)
            await _record(conn, migration, _since(started))
    elif not dry_run:  # CONCURRENTLY cannot be taken back: a dry run only names it
        await conn.execute("SET ROLE penguin_owner")
        try:
            await _run_file(conn, migration, migration.up)
        finally:
            if not conn.closed:
                await conn.execute("RESET ROLE")
        await _record(conn, migration, _since(started))
    return Moved(migration.label, "up", _since(started), dry_run)


async def _take_back(conn: AsyncConnection, migration: Migration, *, dry_run: bool) -> Moved:
    started = time.monotonic()
    async with conn.transaction():
        await _as_owner(conn, migration, migration.down)
        await conn.execute(
            "DELETE FROM schema_migrations WHERE target = %s AND version = %s", [migration.target, migration.version]
        )
    return Moved(migration.label, "down", _since(started), dry_run)


async def _as_owner(conn: AsyncConnection, migration: Migration, text: bytes) -> None:
    await conn.execute("SET LOCAL ROLE penguin_owner")
    await conn.execute("SET LOCAL lock_timeout = '5s'")
    await _run_file(conn, migration, text)


async def _run_file(conn: AsyncConnection[Any], migration: Migration, text: bytes) -> None:
    """Run a file's statements. A database error becomes Refused with the file's name; a lost lock stays Contended."""
    try:
        await conn.execute(text)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise Refused(f"{migration.label}: {str(error).strip()}") from error


async def _record(conn: AsyncConnection, migration: Migration, duration_ms: int) -> None:
    await conn.execute("SELECT set_config('role', 'penguin_owner', true)")
    await conn.execute(
        "INSERT INTO schema_migrations (target, version, name, sha256, duration_ms) VALUES (%s, %s, %s, %s, %s)",
        [migration.target, migration.version, migration.name, migration.sha256, duration_ms],
    )


async def _expect_tables(conn: AsyncConnection, adopted: Sequence[Migration]) -> None:
    """A baseline claims that the tables are there: they must be."""
    for migration in adopted:
        for line in migration.up.decode().splitlines():
            if line.startswith("CREATE TABLE "):
                table = line.split()[2]
                cursor = await conn.execute("SELECT to_regclass(%s) IS NULL", [f"public.{table}"])
                missing = await cursor.fetchone()
                if missing is None or missing[0]:
                    raise Refused(f"{migration.label}: table {table} is not here, so this is no baseline; use up")


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
