"""Boots real Debian hosts: systemd as process 1 on an overlay of an image, in a network namespace of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sandbox.cgroups import group_for, remove_group
from sandbox.commands import Result, attempt, run, start_for_good
from sandbox.images import overlay_marks
from sandbox.memory import keep_in_memory
from sandbox.network import NETWORK_FILE, RESOLV_CONF, cable_commands, eth0_commands, network_file, port_of
from sandbox.state import Process, children

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv4Address

    from sandbox.images import Images
    from sandbox.network import Network
    from sandbox.state import State

KEEPER = Path(__file__).with_name("keep_host.sh")
DEATH_LIMIT_SECONDS = 2.0
BANNER_LIMIT_SECONDS = 60.0
EXEC_LIMIT_SECONDS = 120.0
INSIDE_ENV = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8")


class HostExists(RuntimeError):
    """A host of this name is there already."""


class NoSuchHost(LookupError):
    """There is no running host of this name."""


def _nothing(_tree: Path) -> None:
    return


@dataclass(frozen=True, slots=True)
class HostPlan:
    """All that makes a host; `prepare` may write into its tree before the first boot."""

    name: str
    addresses: Sequence[IPv4Address]  # the first is the main one
    image: str
    hostname: str
    root_password: str | None = field(default=None, repr=False)
    disk_mb: int | None = None
    prepare: Callable[[Path], None] = _nothing


class HostBackend(Protocol):
    """What a world needs of whatever boots its hosts."""

    def create(self, plan: HostPlan) -> None:
        """Boot a host; return when its SSH daemon greets, which is before the boot has finished."""
        ...

    def destroy(self, name: str) -> None:
        """Remove a host with everything it wrote; gone already is well."""
        ...

    def restart(self, name: str) -> None:
        """Cut the power and boot again; eth0 is made anew as the provider gives it."""
        ...

    def execute(self, name: str, script: str, stdin: bytes, timeout_seconds: float) -> Result:
        """Run a shell script inside, past SSH."""
        ...

    def running(self, name: str) -> bool:
        """Tell whether the host has a process 1."""
        ...


class NspawnHosts:
    """Overlay mounts and systemd-nspawn, for root of a machine or of a room. A stage, not a security boundary."""

    def __init__(self, state: State, network: Network, images: Callable[[], Images]) -> None:
        """Take the world's folder, its network, and where images come from."""
        self.state, self.network, self.images = state, network, images

    def create(self, plan: HostPlan) -> None:
        """Boot a host; raise HostExists when the name is taken, TimeoutError when SSH never greets."""
        folder = self.state.host_folder(plan.name)
        if folder.exists():
            raise HostExists(f"a host named {plan.name!r} exists")
        self.state.note(
            "host", plan.name, hostname=plan.hostname, addresses=list(map(str, plan.addresses)), image=plan.image
        )
        self._mount_disk(folder, plan)
        _write_identity(folder / "root", plan)
        plan.prepare(folder / "root")
        (folder / "cable").write_text(cable_commands(plan.name, self.state.namespace(plan.name)))
        (folder / "eth0").write_text(eth0_commands(plan.addresses))
        self.network.add_namespace(plan.name)
        self._boot(plan.name, plan.hostname)
        try:
            self.network.await_banner(plan.addresses[0], 22, b"SSH-2.0", BANNER_LIMIT_SECONDS)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its console ends with: {self.last_words(plan.name)}") from error

    def destroy(self, name: str) -> None:
        """Kill the host's process 1, which takes all others along, then remove what held it."""
        folder = self.state.host_folder(name)
        if folder.is_dir():
            (folder / "gone").touch()
            self._end_keeper(name)
        for mount in (folder / "root", folder / "disk"):
            if mount.is_mount() and attempt("umount", str(mount)).code:
                run("umount", "--lazy", str(mount))
        self.network.remove_namespace(name)
        if group := self._group(name):
            remove_group(group)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(f"/run/systemd/nspawn/propagate/{self._machine(name)}", ignore_errors=True)
        self.state.forget("host", name)

    def restart(self, name: str) -> None:
        """Kill process 1 and let the keeper boot again; a host that had switched itself off is switched on."""
        folder = self.state.host_folder(name)
        note = self.state.find("host", name)
        if note is None or not folder.is_dir():
            raise NoSuchHost(f"no host named {name!r}")
        (folder / "again").touch()
        keeper = self._keeper(name)
        if keeper is None or not keeper.alive():
            self._boot(name, note["hostname"])
            return
        for first in self._first_processes(keeper):
            _kill(first)

    def execute(
        self, name: str, script: str, stdin: bytes = b"", timeout_seconds: float = EXEC_LIMIT_SECONDS
    ) -> Result:
        """Run a shell script in the host's namespaces; raise NoSuchHost when it does not run."""
        return attempt(*self._inside(name), "sh", "-c", script, stdin=stdin, timeout_seconds=timeout_seconds)

    def shell_words(self, name: str) -> list[str]:
        """Give the command that opens a root shell on the host; raise NoSuchHost when it does not run."""
        return [*self._inside(name), f"TERM={os.environ.get('TERM', 'dumb')}", "bash", "-l"]

    def _inside(self, name: str) -> tuple[str, ...]:
        first = self._first_process(name)
        if first is None:
            raise NoSuchHost(f"no running host named {name!r}")
        enter = ("nsenter", "--target", str(first), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
        return (*enter, "env", "-i", *INSIDE_ENV)

    def running(self, name: str) -> bool:
        """Tell whether the host has a process 1."""
        return self._first_process(name) is not None

    def last_words(self, name: str) -> str:
        """Quote the end of a host's console."""
        with contextlib.suppress(OSError):
            return (self.state.host_folder(name) / "console.log").read_text(errors="replace")[-600:]
        return ""

    def _mount_disk(self, folder: Path, plan: HostPlan) -> None:
        disk = folder / "disk"
        disk.mkdir(parents=True)
        (folder / "root").mkdir()
        if plan.disk_mb:
            run("mount", "-t", "tmpfs", "-o", f"size={plan.disk_mb}m,mode=755", "tmpfs", str(disk))
        else:
            keep_in_memory(disk)
        for part in ("up", "wk"):
            (disk / part).mkdir()
        lower = self.images().lower(plan.image)
        options = f"lowerdir={lower},upperdir={disk}/up,workdir={disk}/wk,volatile{overlay_marks()}"
        run("mount", "-t", "overlay", "-o", options, "overlay", str(folder / "root"))

    def _boot(self, name: str, hostname: str) -> None:
        folder, namespace = self.state.host_folder(name), self.state.namespace(name)
        # Noted, for whoever removes it may be in another group; and where two systemds share one, neither comes up.
        group = self._group(name) or group_for(self._machine(name)) or ""
        (folder / "group").write_text(str(group))
        keep = ("/bin/sh", str(KEEPER), str(folder), self.network.switch, namespace, port_of(name), str(group))
        nspawn = (
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={folder}/root", f"--machine={self._machine(name)}"),
            *(f"--hostname={hostname}", f"--network-namespace-path=/run/netns/{namespace}", "--register=no"),
            *("--keep-unit", "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--settings=no"),
            *("--console=pipe", "--capability=CAP_NET_ADMIN", f"--bind-ro={self.images().repository}:/srv/labrepo"),
        )
        console = os.open(folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        nowhere = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        start_for_good([*keep, *nspawn], _boot_env(), stdin=nowhere, out=console, err=console)
        os.close(console)
        os.close(nowhere)

    def _end_keeper(self, name: str) -> None:
        keeper = self._keeper(name)
        deadline = time.monotonic() + DEATH_LIMIT_SECONDS
        while keeper is not None and keeper.alive() and time.monotonic() < deadline:
            for first in self._first_processes(keeper):
                _kill(first)
            threading.Event().wait(0.01)
        if keeper is not None and keeper.alive():
            for process in (keeper.pid, *children(keeper.pid)):
                _kill(process)
        self._kill_strays(name)
        if keeper is not None:
            keeper.reap()

    def _kill_strays(self, name: str) -> None:
        """Kill what still lives in the host's namespace: a keeper that died early leaves its host behind."""
        for pid in attempt("ip", "netns", "pids", self.state.namespace(name)).out.split():
            _kill(int(pid))

    def _group(self, name: str) -> Path | None:
        with contextlib.suppress(OSError):
            noted = (self.state.host_folder(name) / "group").read_text()
            return Path(noted) if noted else None
        return None

    def _keeper(self, name: str) -> Process | None:
        with contextlib.suppress(OSError, ValueError):
            pid, started = (self.state.host_folder(name) / "keeper").read_text().split()
            return Process(int(pid), int(started))
        return None

    def _first_process(self, name: str) -> int | None:
        keeper = self._keeper(name)
        return next(iter(self._first_processes(keeper)), None) if keeper and keeper.alive() else None

    @staticmethod
    def _first_processes(keeper: Process) -> list[int]:
        return [first for nspawn in children(keeper.pid) for first in children(nspawn)]

    def _machine(self, name: str) -> str:
        return self.state.namespace(name)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _boot_env() -> dict[str, str]:
    """Nothing of the caller's environment may reach a host: it may hold secrets."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def _write_identity(tree: Path, plan: HostPlan) -> None:
    """Write what a provider writes into a new server: its name, network, keys and root password."""
    short = plan.hostname.partition(".")[0]
    (tree / "etc/hostname").write_text(f"{plan.hostname}\n")
    (tree / "etc/hosts").write_text(f"127.0.0.1 localhost\n{plan.addresses[0]} {plan.hostname} {short}\n")
    (tree / "etc/resolv.conf").write_text(RESOLV_CONF)
    (tree / NETWORK_FILE).write_text(network_file(plan.addresses))
    key = tree / "etc/ssh/ssh_host_ed25519_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key))
    # Root's user manager stays: else it ends with every logout and the next login waits for that end, which on a
    # machine with cgroup v1 was seen to take two minutes (processes still around after final SIGKILL).
    (tree / "var/lib/systemd/linger").mkdir(parents=True, exist_ok=True)
    (tree / "var/lib/systemd/linger/root").touch()
    if plan.root_password is not None:
        _set_root_password(tree / "etc/shadow", plan.root_password)


def _set_root_password(shadow: Path, password: str) -> None:
    hashed = hash_password(password)
    lines = [
        f"root:{hashed}:20000:0:99999:7:::" if line.startswith("root:") else line
        for line in shadow.read_text().splitlines()
    ]
    shadow.write_text("\n".join(lines) + "\n")


def hash_password(password: str) -> str:
    """Hash a password for shadow(5) and Dovecot (SHA-512 crypt); it travels by pipe, not as an argument."""
    return run("openssl", "passwd", "-6", "-stdin", stdin=password.encode()).strip()
