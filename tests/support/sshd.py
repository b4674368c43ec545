"""A real OpenSSH server on loopback, with keys, configuration and log of its own."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
USER = getpass.getuser()
# HOME is the test's own folder: the start files of the user's shell would run with each command otherwise.
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_ed25519
HostKey {folder}/host_rsa
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication {passwords}
KbdInteractiveAuthentication no
LogLevel VERBOSE
SetEnv HOME={folder}
{more}
"""


@dataclass
class Sshd:
    """What a test may know of the running server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def host_key(self, kind: str = "ed25519") -> str:
        return " ".join((self.folder / f"host_{kind}.pub").read_text().split()[:2])

    @property
    def connections(self) -> int:
        return self.log.count("Connection from")

    @property
    def commands(self) -> int:
        return self.log.count("Starting session: command")

    @property
    def sessions(self) -> list[int]:
        """The process of each connection; one that has ended and waits for its parent is none."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [pid for pid in map(int, listed) if not ended(pid)]

    def drop_sessions(self) -> None:
        """Kill the processes that serve connections; the listener stays."""
        for child in children(self.process.pid):
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(child, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """All below a process, parents first: a shell that outlives its command still reports how that ended."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [one for child in map(int, found) for one in (child, *children(child))]


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_sshd(folder: Path, public_line: str, *, passwords: bool = True, more: str = "") -> Iterator[Sshd]:
    """Serve until the block ends; `public_line` may log in as the user who runs the tests."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd refuses to start as root without it
    for kind in ("ed25519", "rsa"):
        make_key = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(folder / f"host_{kind}")]
        subprocess.run(make_key, check=True)
    (folder / "authorized_keys").write_text(public_line + "\n")
    port = free_port()
    config = CONFIG.format(port=port, folder=folder, passwords="yes" if passwords else "no", more=more)
    (folder / "config").write_text(config)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD or "sshd", "-D", "-e", "-f", str(folder / "config")], stderr=log)
    server = Sshd(folder, port, process)
    try:
        while "listening on" not in server.log:
            if process.poll() is not None:
                raise RuntimeError(server.log)
            time.sleep(0.01)
        yield server
    finally:
        try:
            server.drop_sessions()
        finally:
            process.kill()
            process.wait()
