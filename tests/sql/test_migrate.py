"""The runner on real servers: up, down, refusals, two migrators, one killed."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path

import psycopg
import pytest

from sql import migrate
from sql.migration_files import FOLDER, Refused, migrations_of
from sql.session import Contended

ROOT = Path(__file__).parents[2]


def ask(dsn: str, statement: str) -> list[tuple]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        cursor = conn.execute(statement)
        return cursor.fetchall() if cursor.description else []


def change(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(statement)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may spoil."""
    shutil.copytree(FOLDER, tmp_path / "migrations")
    return tmp_path / "migrations"


async def test_up_applies_every_file_once_and_then_nothing(empty_database: str) -> None:
    first = await migrate.up(empty_database, "core")
    assert [moved.label for moved in first] == [migration.label for migration in migrations_of("core")]
    assert await migrate.up(empty_database, "core") == ()
    assert len(ask(empty_database, "SELECT 1 FROM schema_migrations")) == len(first)


async def test_every_table_belongs_to_the_owner_role(each_database: str) -> None:
    owners = ask(each_database, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == [("penguin_owner",)]


async def test_a_dry_run_leaves_nothing_behind(empty_database: str) -> None:
    tried = await migrate.up(empty_database, "core", dry_run=True)
    assert len(tried) == len(migrations_of("core"))
    assert ask(empty_database, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


async def test_core_and_analytics_live_in_two_databases_as_well(empty_database: str) -> None:
    await migrate.up(empty_database, "analytics")
    assert ask(empty_database, "SELECT to_regclass('jobs') IS NOT NULL, to_regclass('tenants') IS NULL") == [
        (True, True)
    ]


async def test_an_edited_file_is_refused(each_database: str, files: Path) -> None:
    edited = files / "core" / "0002_indexes.sql"
    edited.write_text(edited.read_text() + "-- one more word\n")
    with pytest.raises(Refused, match="core 0002 indexes was edited"):
        await migrate.up(each_database, "core", folder=files)


async def test_a_missing_file_is_refused(each_database: str, files: Path) -> None:
    for path in (files / "core").glob("0005_*"):
        path.unlink()
    with pytest.raises(Refused, match="core: number 0005 is missing"):
        await migrate.up(each_database, "core", folder=files)


async def test_a_newer_programs_database_is_refused(each_database: str, files: Path) -> None:
    last = max(migration.version for migration in migrations_of("core"))
    for path in (files / "core").glob(f"{last:04}_*"):
        path.unlink()
    with pytest.raises(Refused, match="is applied and has no file"):
        await migrate.up(each_database, "core", folder=files)


def test_a_doubled_number_is_refused(files: Path) -> None:
    (files / "core" / "0002_again.sql").write_text("SELECT 1;")
    with pytest.raises(Refused, match="number 0002 twice"):
        migrations_of("core", files)


def test_a_file_without_a_way_back_is_refused(files: Path) -> None:
    (files / "core" / "0004_row_security.down.sql").unlink()
    with pytest.raises(Refused, match="its way back"):
        migrations_of("core", files)


def test_a_stray_file_is_refused(files: Path) -> None:
    (files / "core" / "notes.txt").write_text("hello")
    with pytest.raises(Refused, match=r"notes\.txt"):
        migrations_of("core", files)


async def test_a_broken_file_is_rolled_back_whole_and_named(empty_database: str, files: Path) -> None:
    (files / "core" / "0002_indexes.sql").write_text("CREATE TABLE half (id int); SELECT 1 / 0;")
    with pytest.raises(Refused, match="core 0002 indexes: division by zero"):
        await migrate.up(empty_database, "core", folder=files)
    assert ask(empty_database, "SELECT to_regclass('half')") == [(None,)]
    assert [row.version for row in (await migrate.status(empty_database, "core")).applied] == [1]


async def test_going_back_that_loses_rows_needs_consent(each_database: str) -> None:
    with pytest.raises(Refused, match=r"core \d{4} \w+: going back loses"):
        await migrate.down(each_database, "core", to=11)
    assert ask(each_database, "SELECT to_regclass('warmup_schedules') IS NOT NULL") == [(True,)]
    await migrate.down(each_database, "core", to=11, allow_data_loss=True)
    assert ask(each_database, "SELECT to_regclass('warmup_schedules')") == [(None,)]


async def test_going_back_without_loss_needs_no_consent(empty_database: str) -> None:
    await migrate.up(empty_database, "core", to=4)
    moved = await migrate.down(empty_database, "core", to=1)
    assert [one.direction for one in moved] == ["down"] * 3


async def test_a_dry_run_of_going_back_changes_nothing(each_database: str) -> None:
    await migrate.down(each_database, "analytics", to=0, dry_run=True)
    assert (await migrate.status(each_database, "analytics")).pending == ()


async def test_status_tells_pending_and_refusals_without_changing_anything(empty_database: str, files: Path) -> None:
    before = await migrate.status(empty_database, "core")
    assert (len(before.applied), before.problem) == (0, None)
    assert before.pending[0] == "core 0001 seed"
    await migrate.up(empty_database, "core", to=3)
    edited = files / "core" / "0003_tenant_keys.sql"
    edited.write_text(edited.read_text() + "\n")
    after = await migrate.status(empty_database, "core", folder=files)
    assert after.problem is not None
    assert "0003 tenant_keys was edited" in after.problem


async def test_a_file_without_transaction_runs_as_the_owner(empty_database: str, files: Path) -> None:
    text = "-- no-transaction: built beside live writes\nCREATE INDEX CONCURRENTLY idx_late ON tenants (status)"
    number = len(migrations_of("core")) + 1
    (files / "core" / f"{number:04}_late.sql").write_text(text)
    (files / "core" / f"{number:04}_late.down.sql").write_text("DROP INDEX idx_late;")
    await migrate.up(empty_database, "core", folder=files)
    owner = ask(empty_database, "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'idx_late'")
    assert owner == [("penguin_owner",)]


async def test_baseline_adopts_a_database_that_holds_the_seeds_tables(empty_database: str) -> None:
    seed = migrations_of("core")[0].up.decode()
    change(empty_database, seed)
    change(
        empty_database,
        """
        INSERT INTO tenants (name) VALUES ('old');
        INSERT INTO domains (tenant_id, domain_name) VALUES (1, 'Old.Example');
        INSERT INTO smtp_ip_addresses (tenant_id, ip_address) VALUES (1, '198.51.100.7');
        INSERT INTO staff_members (tenant_id, name, email) VALUES (1, 'Ada', 'ada@old.example');
        INSERT INTO staff_roles (tenant_id, role_name) VALUES (1, 'owner');
        INSERT INTO staff_role_assignments (staff_member_id, role_id) VALUES (1, 1);
        """,
    )
    await migrate.baseline(empty_database, "core", 1)
    await migrate.up(empty_database, "core")
    assert ask(empty_database, "SELECT domain_name FROM domains") == [("old.example",)]
    assert ask(empty_database, "SELECT status FROM smtp_ip_addresses") == [("assigned",)]
    assert ask(empty_database, "SELECT tenant_id FROM staff_role_assignments") == [(1,)]
    assert ask(empty_database, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == [
        ("penguin_owner",)
    ]


async def test_baseline_of_analytics_gives_running_jobs_a_lease(empty_database: str) -> None:
    change(empty_database, migrations_of("analytics")[0].up.decode())
    change(
        empty_database,
        "INSERT INTO job_queues (name) VALUES ('old'); INSERT INTO jobs (queue_name, status, payload)"
        " VALUES ('old', 'running', '{}'), ('old', 'migrated_to_redis', '{}')",
    )
    await migrate.baseline(empty_database, "analytics", 1)
    await migrate.up(empty_database, "analytics")
    rows = ask(empty_database, "SELECT status, lease_expires_at IS NOT NULL FROM jobs ORDER BY status")
    assert rows == [("queued", False), ("running", True)]


async def test_baseline_of_a_database_without_the_tables_is_refused(empty_database: str) -> None:
    with pytest.raises(Refused, match="table tenants is not here"):
        await migrate.baseline(empty_database, "core", 1)
    assert ask(empty_database, "SELECT to_regclass('schema_migrations')") == [(None,)]


async def test_a_row_without_a_tenant_stops_the_migration(empty_database: str) -> None:
    await migrate.up(empty_database, "core", to=2)
    change(empty_database, "INSERT INTO leads (email) VALUES ('nobody@acme.example')")
    with pytest.raises(Refused, match='column "tenant_id" of relation "leads" contains null values'):
        await migrate.up(empty_database, "core")


async def test_two_migrators_at_once_apply_each_file_once(empty_database: str) -> None:
    both = await asyncio.gather(migrate.up(empty_database, "core"), migrate.up(empty_database, "core"))
    assert sorted(len(moved) for moved in both) == [0, len(migrations_of("core"))]


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT, text=True)


async def test_a_killed_migrator_leaves_whole_files_and_a_free_lock(empty_database: str, files: Path) -> None:
    slow = files / "core" / "0003_tenant_keys.sql"
    slow.write_text(slow.read_text() + "SELECT pg_sleep(60);\n")
    child = start(KILLED_MIGRATOR, empty_database, str(files))
    try:
        await until(empty_database, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        os.kill(child.pid, signal.SIGKILL)
        child.wait(timeout=30)
    finally:
        child.kill()
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    ask(empty_database, ended)  # the server sees the broken socket only when it writes; this is that moment
    moved = await migrate.up(empty_database, "core")
    assert moved[0].label == "core 0003 tenant_keys"


KILLED_MIGRATOR = """
import asyncio, sys
from pathlib import Path
from sql import migrate
asyncio.run(migrate.up(sys.argv[1], "core", folder=Path(sys.argv[2])))
"""


async def until(dsn: str, statement: str) -> None:
    for _ in range(600):
        if ask(dsn, statement):
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"never true: {statement}")


SLEEPS = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


async def cut(dsn: str, migrator: Awaitable[object]) -> None:
    """Let the database go away under a migrator in the middle of a file; it says so in one sentence."""
    running = asyncio.ensure_future(migrator)
    await until(dsn, SLEEPS)
    ask(dsn, SLEEPS.replace("SELECT 1", "SELECT pg_terminate_backend(pid)"))
    with pytest.raises(Contended, match=r"^database: terminating connection[^\n]*$"):
        await running


async def test_a_database_that_goes_away_under_a_file_leaves_whole_files(empty_database: str, files: Path) -> None:
    slow = files / "core" / "0003_tenant_keys.sql"
    slow.write_text(slow.read_text() + "SELECT pg_sleep(60);\n")
    await cut(empty_database, migrate.up(empty_database, "core", folder=files))
    assert ask(empty_database, "SELECT max(version) FROM schema_migrations") == [(2,)]
    await migrate.up(empty_database, "core", to=3)
    back = files / "core" / "0002_indexes.down.sql"
    back.write_text(back.read_text() + "SELECT pg_sleep(60);\n")
    shutil.copy(FOLDER / "core" / slow.name, slow)
    await cut(empty_database, migrate.down(empty_database, "core", to=1, allow_data_loss=True, folder=files))
    assert ask(empty_database, "SELECT max(version) FROM schema_migrations") == [(3,)]  # all of the way back, or none
    assert (await migrate.up(empty_database, "core"))[0].label.startswith("core 0004 ")


async def test_a_database_that_goes_away_under_a_file_without_transaction_leaves_it_pending(
    empty_database: str, files: Path
) -> None:
    last = len(migrations_of("core")) + 1
    (files / "core" / f"{last:04}_slow.sql").write_text("-- no-transaction: slow\nSELECT pg_sleep(60);\n")
    (files / "core" / f"{last:04}_slow.down.sql").write_text("SELECT 1;\n")
    await cut(empty_database, migrate.up(empty_database, "core", folder=files))
    assert (await migrate.status(empty_database, "core", folder=files)).pending == (f"core {last:04} slow",)


async def test_a_table_in_use_is_waited_for_only_briefly(empty_database: str) -> None:
    await migrate.up(empty_database, "core", to=2)
    async with await psycopg.AsyncConnection.connect(empty_database) as holder:
        await holder.execute("LOCK TABLE users IN ACCESS SHARE MODE")
        with pytest.raises(Contended, match="lock timeout"):
            await migrate.up(empty_database, "core")
    assert (await migrate.status(empty_database, "core")).pending[0] == "core 0003 tenant_keys"
