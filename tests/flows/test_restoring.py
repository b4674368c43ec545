"""A dump is a backup once a restore has shown it; a database that lives is never overwritten."""

import asyncio
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from flows.__main__ import app
from flows.backups.backing_up import dump_and_store
from flows.backups.restoring import prune, rehearse, restore_into
from flows.resources import resources
from providers.sealed_files import NotWhole
from sql import databases
from sql.databases import InTheWay
from sql.dumps import DumpRefused
from tests.support.backups import OTHER_KEY, Installation
from tests.support.s3 import S3Server


async def backed_up() -> str:
    async with resources() as r:
        return (await dump_and_store(r, "core")).object_key


async def rehearsed() -> dict[str, float]:
    async with resources() as r:
        return await rehearse(r, "core")


def words(installed: Installation) -> list[tuple]:
    return installed.rows("SELECT status FROM backups ORDER BY started_at")


def scratch_databases(installed: Installation) -> list[tuple]:
    return installed.rows(f"SELECT datname FROM pg_database WHERE datname LIKE '{databases.SCRATCH}%'")


def change(file: Path, place: int, *, cut: bool = False) -> None:
    held = bytearray(file.read_bytes())
    if cut:
        del held[place:]
    else:
        held[place] ^= 1
    file.write_bytes(held)


async def test_a_dump_is_proven_by_a_restore_that_leaves_nothing(installation: Installation) -> None:
    await backed_up()
    assert set(await rehearsed()) == {"fetch", "restore", "prove"}
    assert words(installation) == [("verified",)]
    assert scratch_databases(installation) == []


@pytest.mark.parametrize("cut", [True, False], ids=["truncated", "altered"])
async def test_a_dump_that_was_damaged_where_it_lies_is_no_backup(installation: Installation, cut: bool) -> None:
    await backed_up()
    (file,) = installation.stored()
    change(file, file.stat().st_size // 2, cut=cut)
    with pytest.raises(NotWhole, match="changed or cut short"):
        await rehearsed()
    assert words(installation) == [("failed",)]
    assert scratch_databases(installation) == []


async def test_a_dump_whose_key_is_lost_is_no_backup(installation: Installation) -> None:
    await backed_up()
    installation.configure(SEALING__KEYS=f'{{"k2": "{OTHER_KEY}"}}')
    with pytest.raises(NotWhole, match="'k1'"):
        await rehearsed()
    assert words(installation) == [("failed",)]


async def test_secrets_that_do_not_open_any_more_are_told(installation: Installation) -> None:
    installation.rows("UPDATE secrets SET ciphertext = set_byte(ciphertext, 20, 255 - get_byte(ciphertext, 20))")
    await backed_up()
    with pytest.raises(DumpRefused, match="1 sealed secrets do not open"):
        await rehearsed()


async def test_a_table_left_open_to_other_tenants_is_told(installation: Installation) -> None:
    installation.rows("CREATE TABLE notes (id int PRIMARY KEY, tenant_id uuid NOT NULL)")
    installation.rows("GRANT SELECT ON notes TO penguin_backup")
    await backed_up()
    with pytest.raises(DumpRefused, match="notes: row security is off"):
        await rehearsed()


async def test_an_alert_of_a_failed_backup_ends_with_a_proven_one(installation: Installation, s3: S3Server) -> None:
    installation.keep_in(s3)
    s3.alter = True
    with pytest.raises(DumpRefused):
        await backed_up()
    s3.alter = False
    await backed_up()
    await rehearsed()
    assert installation.rows("SELECT is_resolved FROM system_notifications") == [(True,)]


async def test_without_any_dump_the_rehearsal_says_so(installation: Installation) -> None:
    with pytest.raises(DumpRefused, match="holds no dump of core"):
        await rehearsed()


async def test_old_dumps_go_once_a_newer_one_is_proven_and_strangers_files_stay(installation: Installation) -> None:
    installation.configure(BACKUP__KEEP_DAILY="1", BACKUP__KEEP_WEEKLY="0", BACKUP__KEEP_MONTHLY="0")
    old = installation.folder / "core" / "20260101T020000Z-00000000.sealed"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x")
    (installation.folder / "core" / "notes.txt").write_bytes(b"x")
    newest = await backed_up()
    async with resources() as r:
        assert await prune(r, "core") == []
        await rehearse(r, "core")
        assert await prune(r, "core") == ["core/20260101T020000Z-00000000.sealed"]
    left = sorted(path.name for path in (installation.folder / "core").iterdir())
    assert left == sorted(["notes.txt", newest.removeprefix("core/")])


async def test_a_restore_needs_no_table_of_ours_and_makes_a_database_that_lives(installation: Installation) -> None:
    await backed_up()
    name = f"{databases.name_in(installation.dsn)}_new"
    sentence, _ = await restore_into("core", None, name, None)
    try:
        assert sentence.endswith(f"stands as {name}")
        with psycopg.connect(databases.renamed(installation.dsn, name)) as conn:
            assert conn.execute("SELECT count(*) FROM leads").fetchone() == (40,)
    finally:
        await databases.drop(installation.dsn, name)


async def test_a_database_that_is_there_steps_aside_only_when_its_name_is_said_twice(
    installation: Installation,
) -> None:
    await backed_up()
    live = f"{databases.name_in(installation.dsn)}_live"
    await databases.make_empty(installation.dsn, live)
    try:
        for again in (None, "", "other"):
            with pytest.raises(InTheWay, match=f"--again {live}"):
                await restore_into("core", None, live, again)
        with (
            psycopg.connect(databases.renamed(installation.dsn, live)),
            pytest.raises(InTheWay, match="somebody is connected"),
        ):
            await restore_into("core", None, live, live)
        sentence, _ = await restore_into("core", None, live, live)
        with psycopg.connect(databases.renamed(installation.dsn, live)) as conn:
            assert conn.execute("SELECT count(*) FROM leads").fetchone() == (40,)
        aside = sentence.split()[-1]
        assert aside.startswith(f"{live}_before_")
        await databases.drop(installation.dsn, aside)
    finally:
        await databases.drop(installation.dsn, live)


def test_a_database_that_is_gone_is_restored_by_whoever_is_there_though_there_was_a_staff(
    installation: Installation,
) -> None:
    asyncio.run(backed_up())
    name = f"{databases.name_in(installation.dsn)}_gone"
    installation.configure(
        DATABASE__CORE_DSN=databases.renamed(installation.dsn, name), STAFF__PLATFORM_TENANT=str(uuid4())
    )
    try:
        ran = CliRunner().invoke(app, ["restore", name])
        assert ran.exit_code == 0, ran.output
        assert f"stands as {name}" in ran.output
        asked_again = CliRunner().invoke(app, ["restore", name])
        assert "is no tenant" in asked_again.stderr  # it is there again, and with it whoever must be asked
    finally:
        asyncio.run(databases.drop(installation.dsn, name))


async def test_a_restore_that_fails_leaves_no_half_of_a_database(installation: Installation) -> None:
    await backed_up()
    (file,) = installation.stored()
    change(file, file.stat().st_size - 5, cut=True)
    name = f"{databases.name_in(installation.dsn)}_half"
    with pytest.raises(NotWhole):
        await restore_into("core", None, name, None)
    assert not await databases.exists(installation.dsn, name)


def test_the_commands_drill_list_and_refuse(installation: Installation) -> None:
    def flows(*given: str):
        return CliRunner().invoke(app, list(given))

    drilled = flows("drill")
    assert drilled.exit_code == 0, drilled.output
    for part in ("count", "dump", "check", "upload", "read_back", "fetch", "restore", "prove", "all"):
        assert f"\n{part}\t" in f"\n{drilled.output}"
    assert drilled.output.rstrip().endswith("all as they were; proven")
    assert "verified" in flows("backups").output
    assert '"state": "verified"' in flows("backups", "--json").output
    name = databases.name_in(installation.dsn)
    refused = flows("restore", name)
    assert refused.exit_code == 5
    assert f"--again {name}" in refused.stderr
    assert flows("backup", "--target", "moon").exit_code == 2
