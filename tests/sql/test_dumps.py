"""A dump holds what the snapshot held, comes back whole into an empty database, and nothing less is taken for one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from sql import databases, dumps
from sql.dumps import DumpRefused
from sql.isolation import breaches
from sql.table_sums import Picture, TableSum, differences, picture, picture_from
from tests.support.postgres import add_tenant

MAJOR = {"embedded": 18, "debian": 15}
AWKWARD = "INSERT INTO leads (tenant_id, email, first_name) VALUES (1, 'n@acme.example', E'tab\\t line\\n \\\\. end')"


@pytest.fixture
def filled(each_database: str) -> str:
    tenant = add_tenant(each_database)
    with psycopg.connect(each_database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO leads (tenant_id, email) SELECT %s, n || '@acme.example' FROM generate_series(1, 500) n",
            [tenant.pk],
        )
        conn.execute(AWKWARD)
        conn.execute("INSERT INTO email_opens (email_id, user_id, tenant_id) VALUES ('1', %s, %s)", [tenant.uuid] * 2)
    return each_database


@pytest.fixture
def client(each_server) -> dumps.Client:
    return dumps.find_client(MAJOR[each_server.name])


@contextmanager
def login(dsn: str, rights: str) -> Iterator[str]:
    """The same database through a login that is no superuser."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS plain_login")
        conn.execute(f"CREATE ROLE plain_login LOGIN NOSUPERUSER {rights}")
    try:
        yield make_conninfo(dsn, user="plain_login")
    finally:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("DROP ROLE plain_login")


async def archive_of(client: dumps.Client, dsn: str) -> tuple[bytes, Picture]:
    async with dumps.frozen(dsn) as source:
        seen = await picture(source.conn)
        return b"".join(dumps.dumped(client, source)), seen


async def seen_in(dsn: str) -> Picture:
    async with dumps.frozen(dsn) as source:
        return await picture(source.conn)


async def test_everything_comes_back(filled: str, client: dumps.Client) -> None:
    archive, was = await archive_of(client, filled)
    assert was.tables["public.leads"].rows == 501
    assert dumps.rows_in(client, [archive]) == {name: table.rows for name, table in was.tables.items()}
    async with databases.scratch(filled) as scratch:
        dumps.restored(client, scratch, [archive])
        assert differences(was, await seen_in(scratch)) == ()
        async with await psycopg.AsyncConnection.connect(scratch, autocommit=True) as conn:
            assert await breaches(conn, only=frozenset({"leads", "email_opens"})) == ()
    assert not await databases.exists(filled, databases.name_in(scratch))


async def test_an_ordinary_login_dumps_and_restores_too(filled: str, client: dumps.Client) -> None:
    member = "CREATEDB NOINHERIT IN ROLE penguin_owner, penguin_backup, penguin_orchestrator"
    with login(filled, member) as plain:
        archive, was = await archive_of(client, plain)
        async with databases.scratch(plain) as scratch:
            dumps.restored(client, scratch, [archive])
            assert differences(was, await seen_in(scratch)) == ()
            with psycopg.connect(scratch) as conn:
                owners = conn.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
                assert owners.fetchall() == [("penguin_owner",)]


async def test_what_is_written_after_the_snapshot_is_not_in_the_dump(filled: str, client: dumps.Client) -> None:
    async with dumps.frozen(filled) as source:
        was = await picture(source.conn)
        with psycopg.connect(filled, autocommit=True) as conn:
            conn.execute("INSERT INTO leads (tenant_id, email) VALUES (1, 'late@acme.example')")
        archive = b"".join(dumps.dumped(client, source))
    assert dumps.rows_in(client, [archive])["public.leads"] == was.tables["public.leads"].rows == 501


@contextmanager
def without_bypass(dsn: str) -> Iterator[None]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ALTER ROLE penguin_backup NOBYPASSRLS")
        try:
            yield
        finally:
            conn.execute("ALTER ROLE penguin_backup BYPASSRLS")


async def test_where_row_security_binds_every_role_the_orchestrator_dumps(filled: str, client: dumps.Client) -> None:
    with without_bypass(filled):
        archive, was = await archive_of(client, filled)
    assert dumps.rows_in(client, [archive])["public.leads"] == was.tables["public.leads"].rows == 501


async def test_a_table_of_which_not_every_row_is_seen_is_never_dumped(filled: str) -> None:
    with psycopg.connect(filled, autocommit=True) as conn:
        conn.execute("DROP POLICY orchestrator_all ON leads")
    with without_bypass(filled), pytest.raises(DumpRefused, match="every row of leads"):
        async with dumps.frozen(filled):
            pass


async def test_half_an_archive_is_no_database(filled: str, client: dumps.Client) -> None:
    archive, _ = await archive_of(client, filled)
    async with databases.scratch(filled) as scratch:
        with pytest.raises(DumpRefused, match="pg_restore ended with"):
            dumps.restored(client, scratch, [archive[: len(archive) // 2]])


async def test_what_breaks_while_it_is_read_breaks_the_restore(filled: str, client: dumps.Client) -> None:
    archive, _ = await archive_of(client, filled)

    def breaking() -> Iterator[bytes]:
        yield archive[:5000]
        raise LookupError

    async with databases.scratch(filled) as scratch:
        with pytest.raises(LookupError):
            dumps.restored(client, scratch, breaking())
    with pytest.raises(LookupError):
        dumps.rows_in(client, breaking())


async def test_a_dump_that_fails_says_why(filled: str, client: dumps.Client) -> None:
    async with dumps.frozen(filled) as source:
        gone = dumps.Frozen(source.conn, source.dsn, "00000000-0000-1", source.server_major, source.role)
        with pytest.raises(DumpRefused, match="snapshot"):
            list(dumps.dumped(client, gone))


def test_the_oldest_program_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    assert dumps.find_client(18).major == 18
    with pytest.raises(DumpRefused, match="postgresql-client-99"):
        dumps.find_client(99)
    with pytest.raises(DumpRefused, match=str(tmp_path)):
        dumps.find_client(15, tmp_path)


def test_no_word_of_the_connection_stands_in_the_arguments() -> None:
    environment = dumps._environment("postgresql://ada:hush@db.example:5433/main?sslmode=verify-full&options=-c%20x")
    assert environment["PGPASSWORD"] == "hush"
    assert (environment["PGHOST"], environment["PGPORT"], environment["PGSSLMODE"]) == (
        "db.example",
        "5433",
        "verify-full",
    )
    assert environment["PGOPTIONS"] == "-c x"


async def test_a_killed_rehearsals_database_goes_with_the_next_and_two_at_once_are_refused(database: str) -> None:
    left = f"{databases.SCRATCH}deadbeef"
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(left)))
    async with databases.scratch(database):
        assert not await databases.exists(database, left)
        with pytest.raises(databases.InTheWay, match="another rehearsal"):
            async with databases.scratch(database):
                pass


async def test_names_change_only_when_nobody_is_connected(database: str) -> None:
    live = databases.name_in(await databases.make_empty(database, "switch_live"))
    restored = databases.name_in(await databases.make_empty(database, "switch_new"))
    try:
        with psycopg.connect(databases.renamed(database, live)), pytest.raises(databases.InTheWay, match="connected"):
            await databases.change_names(database, live=live, aside="switch_old", restored=restored)
        assert await databases.exists(database, "switch_new")
        await databases.change_names(database, live=live, aside="switch_old", restored=restored)
        assert await databases.exists(database, "switch_old")
        assert not await databases.exists(database, "switch_new")
        with pytest.raises(databases.InTheWay, match="already"):
            await databases.make_empty(database, "switch_old")
    finally:
        for name in ("switch_live", "switch_new", "switch_old"):
            await databases.drop(database, name)


BEFORE = Picture({"a": TableSum(2, "10"), "b": TableSum(0, "0")}, {"s": 7}, 3)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (BEFORE, ()),
        (Picture(BEFORE.tables, {"s": 9}, 3), ()),
        (Picture({"a": TableSum(0, "0"), "b": TableSum(0, "0")}, {"s": 7}, 3), ("a: 0 of 2 rows",)),
        (Picture({"a": TableSum(2, "11"), "b": TableSum(0, "0")}, {"s": 7}, 3), ("a: its rows were changed",)),
        (Picture({"a": TableSum(2, "10")}, {"s": 7}, 3), ("b: the table is missing",)),
        (Picture({**BEFORE.tables, "c": TableSum(0, "0")}, {"s": 7}, 3), ("c: the table was not there",)),
        (Picture(BEFORE.tables, {"s": 6}, 3), ("s: the sequence stands at 6, it was at 7",)),
        (Picture(BEFORE.tables, {"s": 7}, 2), ("2 of 3 policies",)),
    ],
)
def test_each_difference_is_a_sentence(now: Picture, words: tuple[str, ...]) -> None:
    assert differences(BEFORE, now) == words


def test_a_picture_survives_its_note() -> None:
    assert picture_from(BEFORE.as_json()) == BEFORE


async def test_a_row_that_stands_twice_and_a_changed_letter_change_the_digest(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE TABLE letters (r text); GRANT SELECT ON letters TO penguin_backup")
        digests = [(await seen_in(database)).tables["public.letters"].digest]
        for statement in ("INSERT INTO letters VALUES ('a')", "INSERT INTO letters VALUES ('a')",
                          "UPDATE letters SET r = 'b'"):  # fmt: skip
            conn.execute(statement)
            digests.append((await seen_in(database)).tables["public.letters"].digest)
    assert len(set(digests)) == 4
