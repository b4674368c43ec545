"""What a server and a login are good for, tried on both servers and through logins that lack something."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sql.capabilities import probe


async def test_a_healthy_server_is_safe_and_lacks_nothing(each_database: str) -> None:
    found = await probe(each_database)
    assert found.unsafe == ()
    assert found.weaker == ()
    assert found.session_locks
    assert found.notices
    assert found.wal_level in {"replica", "logical"}


@pytest.mark.parametrize(
    ("rights", "unsafe", "weaker"),
    [
        ("IN ROLE penguin_orchestrator, penguin_app", [], ["no rehearsal of restores: CREATEDB is missing"]),
        ("CREATEDB IN ROLE penguin_app", ["the login may not take the role penguin_orchestrator"], []),
    ],
)
async def test_a_login_that_lacks_something_is_told(
    database: str, rights: str, unsafe: list[str], weaker: list[str]
) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS probe_login")
        conn.execute(f"CREATE ROLE probe_login LOGIN NOINHERIT {rights}")
        try:
            found = await probe(make_conninfo(database, user="probe_login"))
        finally:
            conn.execute("DROP ROLE probe_login")
    assert (list(found.unsafe), list(found.weaker)) == (unsafe, weaker)


async def test_an_open_table_is_unsafe(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("ALTER TABLE leads NO FORCE ROW LEVEL SECURITY")
    assert (await probe(database)).unsafe == ("1 tenant tables are open",)
