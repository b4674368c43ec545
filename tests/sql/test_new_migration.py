"""A new table is isolated, granted, indexed and can be taken back, without a word being changed."""

import shutil
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection

from sql import migrate
from sql.isolation import breaches
from sql.migration_files import FOLDER, Refused
from sql.new_migration import write_migration


@pytest.fixture
def files(tmp_path: Path) -> Path:
    shutil.copytree(FOLDER, tmp_path / "migrations")
    return tmp_path / "migrations"


@pytest.mark.parametrize("target", ["core", "analytics"])
async def test_a_new_table_is_isolated_and_can_be_taken_back(each_database: str, files: Path, target) -> None:
    up, down = write_migration(target, "notes", files)
    assert down.name == up.name.replace(".sql", ".down.sql")
    (moved,) = await migrate.up(each_database, target, folder=files)
    async with await AsyncConnection.connect(each_database, autocommit=True) as conn:
        assert await breaches(conn, only=frozenset({"notes"})) == ()
    with psycopg.connect(each_database) as conn:
        rights = "SELECT has_table_privilege('penguin_app', 'notes', p) FROM unnest(ARRAY['SELECT', 'INSERT']) p"
        assert conn.execute(rights).fetchall() == [(True,), (False,)]
    version = int(moved.label.split()[1])
    await migrate.down(each_database, target, to=version - 1, allow_data_loss=True, folder=files)
    with psycopg.connect(each_database) as conn:
        assert conn.execute("SELECT to_regclass('notes')").fetchone() == (None,)


@pytest.mark.parametrize("name", ["", "Notes", "notes; DROP TABLE x", "1notes", "notes__x", "seed"])
def test_an_odd_or_taken_name_is_refused(files: Path, name: str) -> None:
    with pytest.raises(Refused):
        write_migration("core", name, files)
