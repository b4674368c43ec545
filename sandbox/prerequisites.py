"""What a machine must have for a world, and the command that cures each lack."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.commands import CommandFailed, attempt, run
from sandbox.state import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "dpkg-scanpackages": "dpkg-dev",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
    "nsenter": "util-linux",
}
# A host takes about eight; at the usual 128 for all of root the next one dies without a word.
INOTIFY_LIMIT, INOTIFY_WANTED = Path("/proc/sys/fs/inotify/max_user_instances"), 1024
# Peers of the tests on loopback; a world has its own in its images and does not need them.
TEST_PROGRAMS = {"sshd": "openssh-server", "knotd": "knot", "pebble": "pebble"}
START_GUARD = Path("/usr/sbin/policy-rc.d")  # Debian asks it before a package starts its service
ARCHIVE_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
INSTALL_LIMIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Lack:
    """Something missing: what, and what to do about it."""

    what: str
    cure: str


def missing_packages(programs: Mapping[str, str] | None = None) -> list[str]:
    """List the Debian packages that are still to be installed."""
    wanted = (programs or PROGRAMS).items()
    needed = {package for program, package in wanted if not shutil.which(program, path=_search_path())}
    if not ARCHIVE_KEYS.exists():
        needed.add("debian-archive-keyring")
    return sorted(needed)


def lacks() -> list[Lack]:
    """Find everything that keeps a world from being raised on this machine; empty means ready."""
    found: list[Lack] = []
    packages = missing_packages()
    if packages:
        sudo = "" if os.geteuid() == 0 else "sudo "
        what = f"missing packages: {', '.join(packages)}"
        found.append(
            Lack(what, f"{sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends {' '.join(packages)}")
        )
    if os.geteuid():
        found.append(Lack("the sandbox boots hosts and needs root", "run the same command with sudo"))
    elif not packages:
        found += _kernel_lacks()
    return found


def install() -> None:
    """Install the missing packages by apt, starting none of their services; needs root, raises CommandFailed."""
    packages = missing_packages({**PROGRAMS, **TEST_PROGRAMS})
    if not packages:
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-q", timeout_seconds=INSTALL_LIMIT_SECONDS, env=env)
    words = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages)
    with _services_not_started():
        run(*words, timeout_seconds=INSTALL_LIMIT_SECONDS, env=env)


@contextmanager
def _services_not_started() -> Generator[None]:
    """Forbid packages to start services, unless this machine has a rule of its own."""
    if START_GUARD.exists():
        yield
        return
    START_GUARD.write_text("#!/bin/sh\nexit 101\n")
    START_GUARD.chmod(0o755)
    try:
        yield
    finally:
        START_GUARD.unlink()


def raise_limits() -> str | None:
    """Raise the kernel's limit on inotify instances when it is low; return what was done, in words."""
    now = int(INOTIFY_LIMIT.read_text())
    if now >= INOTIFY_WANTED:
        return None
    INOTIFY_LIMIT.write_text(str(INOTIFY_WANTED))
    return f"fs.inotify.max_user_instances raised from {now} to {INOTIFY_WANTED}, until this machine restarts"


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _kernel_lacks() -> list[Lack]:
    found: list[Lack] = []
    if attempt("unshare", "--net", "--mount", "true").code:
        found.append(Lack("no network or mount namespaces", "run outside the container, or give it CAP_SYS_ADMIN"))
    elif attempt("unshare", "--net", "nft", "add", "table", "bridge", "probe").code:
        found.append(Lack("the kernel has no nftables bridge family", "modprobe nf_tables_bridge"))
    if not Path("/proc/self/task", str(os.getpid()), "children").exists():
        found.append(Lack("the kernel does not list a process's children", "use a kernel with CONFIG_PROC_CHILDREN"))
    if not Path("/sys/fs/cgroup").is_mount():
        found.append(Lack("no cgroups at /sys/fs/cgroup", "run outside the container, or mount them"))
    state = Path(os.environ.get("PENGUINMAILS_SANDBOX__STATE_DIR") or ROOT)
    if not _takes_overlays(state):
        found.append(
            Lack(f"{state} takes no overlay mounts", "set PENGUINMAILS_SANDBOX__STATE_DIR to a folder on ext4 or tmpfs")
        )
    return found


def _takes_overlays(state: Path) -> bool:
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state) as folder:
        for part in ("low", "up", "wk", "root"):
            Path(folder, part).mkdir()
        options = f"lowerdir={folder}/low,upperdir={folder}/up,workdir={folder}/wk"
        try:
            run("unshare", "--mount", "mount", "-t", "overlay", "-o", options, "overlay", f"{folder}/root")
        except CommandFailed:
            return False
        return True
