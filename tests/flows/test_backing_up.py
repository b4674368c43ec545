"""A dump is stored, sealed and read back, or it is told why there is none; nothing in between counts."""

import logging

import psycopg
import pytest

from flows.backups.backing_up import dump_and_store, expect_rows, targets
from flows.resources import resources
from providers import sealed_files
from providers.errors import Unauthorized, Unavailable, Unconfirmed
from sql.backups import Backup
from sql.dumps import DumpRefused, find_client
from sql.table_sums import Picture, TableSum
from tests.support.backups import Installation
from tests.support.s3 import S3Server

KEYS = {"k1": bytes(range(32))}


async def backed_up() -> Backup:
    async with resources() as r:
        return await dump_and_store(r, "core")


def row(installed: Installation) -> tuple:
    (found,) = installed.rows("SELECT status, coalesce(reason, '') FROM backups")
    return found


async def test_a_dump_is_stored_with_its_figures_and_nothing_of_it_is_plain(installation: Installation) -> None:
    made = await backed_up()
    (file,) = installation.stored()
    assert str(file).endswith(made.object_key)
    assert (made.status, made.size_bytes) == ("stored", file.stat().st_size)
    assert made.row_total is not None
    assert made.row_total > 40
    assert set(made.seconds) == {"count", "dump", "check", "upload", "read_back"}
    sealed = file.read_bytes()
    assert b"acme" not in sealed
    plain = b"".join(sealed_files.read(file, keys=KEYS))
    assert b'"public.leads":[40,' in plain
    assert b"PGDMP" in plain


async def test_a_database_of_its_own_for_analytics_is_a_second_target(installation: Installation) -> None:
    assert await targets() == ("core",)
    installation.configure(DATABASE__ANALYTICS_DSN=installation.dsn.replace("/test_", "/other_"))
    assert await targets() == ("core", "analytics")


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ({"refuse": frozenset({"PUT"})}, Unconfirmed, "503"),
        ({"swallow": True}, DumpRefused, "does not have it"),
        ({"cut": True}, Unavailable, "fetch"),
        ({"alter": True}, DumpRefused, "are not the"),
    ],
    ids=["refused", "swallowed", "truncated", "altered"],
)
async def test_a_store_that_fails_leaves_a_failed_row_and_an_alert(
    installation: Installation, s3: S3Server, fault: dict, error: type[Exception], words: str
) -> None:
    installation.keep_in(s3)
    for name, value in fault.items():
        setattr(s3, name, value)
    with pytest.raises(error, match=words):
        await backed_up()
    status, reason = row(installation)
    assert status == "failed"
    assert words in reason
    alert = "SELECT severity, message LIKE '%%drill' FROM system_notifications WHERE dedupe_key = 'backup:core'"
    assert installation.rows(alert) == [("high", True)]


async def test_a_store_that_works_again_gets_the_next_dump(installation: Installation, s3: S3Server) -> None:
    installation.keep_in(s3)
    s3.refuse = frozenset({"PUT"})
    with pytest.raises(Unconfirmed):
        await backed_up()
    s3.refuse = frozenset()
    assert (await backed_up()).status == "stored"


async def test_a_wrong_secret_is_told_without_being_shown(
    installation: Installation, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    installation.keep_in(s3)
    installation.configure(BACKUP__S3_SECRET_ACCESS_KEY="wrong-secret-value")
    with caplog.at_level(logging.DEBUG), pytest.raises(Unauthorized) as refused:
        await backed_up()
    assert "wrong-secret-value" not in f"{refused.value}{caplog.text}{row(installation)}"


async def test_a_silently_empty_dump_never_leaves_the_machine(installation: Installation) -> None:
    # A policy that hides every row from whom row security binds, where nobody may pass it by.
    with psycopg.connect(installation.dsn, autocommit=True) as conn:
        conn.execute("ALTER ROLE penguin_backup NOBYPASSRLS")
        try:
            conn.execute("CREATE POLICY blind ON leads AS RESTRICTIVE TO penguin_orchestrator USING (false)")
            with pytest.raises(DumpRefused, match="leads"):
                await backed_up()
        finally:
            conn.execute("ALTER ROLE penguin_backup BYPASSRLS")
    assert installation.stored() == []
    assert row(installation)[0] == "failed"


async def test_a_database_without_tables_is_not_the_right_one(installation: Installation) -> None:
    with pytest.raises(DumpRefused, match="no tables"):
        expect_rows(find_client(18), installation.folder, KEYS, Picture({}, {}, 0))


async def test_an_archive_that_lacks_rows_is_refused_with_their_table(installation: Installation) -> None:
    await backed_up()
    (file,) = installation.stored()
    with pytest.raises(DumpRefused, match=r"40 of 41 rows of public\.leads"):
        expect_rows(find_client(18), file, KEYS, Picture({"public.leads": TableSum(41, "0")}, {}, 0))


async def test_a_dump_that_died_half_way_is_told_as_failed_by_the_next(installation: Installation) -> None:
    installation.rows(
        "INSERT INTO backups (target, store, object_key, key_id) VALUES ('core', '/x', 'core/dead.sealed', 'k1')"
    )
    await backed_up()
    found = installation.rows("SELECT status FROM backups ORDER BY started_at")
    assert found == [("failed",), ("stored",)]
