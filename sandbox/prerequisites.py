"""What a machine must have for a world, and the command that cures each lack."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.cgroups import mounts, own_group
from sandbox.commands import CommandFailed, attempt, run
from sandbox.identity import in_user_namespace, ordinary
from sandbox.images import overlay_marks
from sandbox.room import BUILD, SCOPE
from sandbox.state import state_root

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
USER_PROGRAMS = {"newuidmap": "uidmap"}
USER_IDS_WANTED = 65536  # of its own, so that every account of a Debian host has a number
# A host takes about eight; at the usual 128 for all of root the next one dies without a word.
INOTIFY_LIMIT, INOTIFY_WANTED = Path("/proc/sys/fs/inotify/max_user_instances"), 1024
# Peers of the tests on loopback; a world has its own in its images and does not need them.
TEST_PROGRAMS = {"sshd": "openssh-server", "knotd": "knot", "pebble": "pebble"}
START_GUARD = Path("/usr/sbin/policy-rc.d")  # Debian asks it before a package starts its service
ARCHIVE_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
INSTALL_LIMIT_SECONDS = 600.0
STATE_PATH_LIMIT = 60  # characters; of the 107 of a socket's path PostgreSQL takes 43 in a world of four letters
NUMBER_FILES = (Path("/etc/subuid"), Path("/etc/subgid"))
LIMITS_FILE = "/etc/sysctl.d/60-penguinmails-sandbox.conf"
# Where a kernel or distribution forbids ordinary users a namespace: the setting, the value that forbids, what to set.
GATES = (
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "15000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)


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
    """Find everything that keeps this process from raising a world; empty means ready."""
    if ordinary():
        outside = "an ordinary user raises worlds in a room, which this process is not in"
        return user_lacks() or [Lack(outside, "python -m sandbox inside -- COMMAND")]
    return _package_lacks(PROGRAMS) or _kernel_lacks()


def user_lacks() -> list[Lack]:
    """Find everything that keeps an ordinary user from opening a room; what is to be done once, by sudo."""
    found = _package_lacks({**PROGRAMS, **USER_PROGRAMS})
    namespaces = _namespace_lacks()
    found += namespaces
    if not namespaces and shutil.which("newuidmap", path=_search_path()):
        found += _number_lacks()
    if own_group() is None and not _has_scopes():
        found.append(_group_lack(next(iter(mounts()), None)))
    if int(INOTIFY_LIMIT.read_text()) < INOTIFY_WANTED:
        setting = f"fs.inotify.max_user_instances = {INOTIFY_WANTED}"
        cure = f"echo '{setting}' | sudo tee {LIMITS_FILE} && sudo sysctl --load {LIMITS_FILE}"
        found.append(Lack("fs.inotify.max_user_instances is too low for several hosts", cure))
    return found


def _package_lacks(programs: Mapping[str, str]) -> list[Lack]:
    packages = missing_packages(programs)
    sudo = "sudo " if ordinary() else ""
    cure = f"{sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends {' '.join(packages)}"
    return [Lack(f"missing packages: {', '.join(packages)}", cure)] if packages else []


def _namespace_lacks() -> list[Lack]:
    """A namespace may be given and yet be worth nothing (AppArmor's way): so something is mounted in it."""
    if not attempt("unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "t", "/mnt").code:
        return []
    for setting, forbids, wanted in GATES:
        path = Path("/proc/sys", setting)
        if path.exists() and path.read_text().strip() == forbids:
            line = f"{setting.replace('/', '.')}={wanted}"
            return [Lack("ordinary users get no user namespaces here", f"sudo sysctl -w {line}")]
    return [Lack("ordinary users get no user namespaces here", "run the same command with sudo")]


def _number_lacks() -> list[Lack]:
    mapped = attempt(*BUILD, "cat", "/proc/self/uid_map")
    if b"map-auto" in mapped.err:
        return [Lack("util-linux is older than 2.38", "run the same command with sudo")]
    count = sum(int(line.split()[2]) for line in mapped.out.decode().splitlines())
    if mapped.code == 0 and count >= USER_IDS_WANTED:
        return []
    user = pwd.getpwuid(os.getuid()).pw_name
    first = _first_free_number()
    numbers = f"{first}-{first + USER_IDS_WANTED - 1}"
    cure = f"sudo usermod --add-subuids {numbers} --add-subgids {numbers} {user}"
    return [Lack(f"{user} has no {USER_IDS_WANTED} numbers in /etc/subuid and /etc/subgid", cure)]


def _first_free_number() -> int:
    ends = [100000]
    for path in NUMBER_FILES:
        lines = path.read_text().splitlines() if path.exists() else []
        ends += [int(line.split(":")[1]) + int(line.split(":")[2]) for line in lines if line.count(":") == 2]  # noqa: PLR2004 - name:first:count, subuid(5)
    return max(ends)


def _has_scopes() -> bool:
    return bool(shutil.which(SCOPE[0])) and attempt(*SCOPE, "true").code == 0


def _group_lack(tree: Path | None) -> Lack:
    if tree is None:
        return Lack("no control groups of version 2", "boot with systemd.unified_cgroup_hierarchy=1")
    group = f"{tree}/penguinmails-{pwd.getpwuid(os.getuid()).pw_name}"
    words = f"mkdir -p {group}; chown -R $SUDO_USER {group}; echo '$$' > {group}/cgroup.procs"
    return Lack(
        "this session has no control group of its own, and no systemd that gives it one", f"sudo sh -c '{words}'"
    )


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
    if in_user_namespace():
        return f"fs.inotify.max_user_instances is {now}: about {now // 8} hosts"
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
    state = state_root()
    if len(str(state)) > STATE_PATH_LIMIT:
        what = f"{state} is too long a path for the sockets below it"
        found.append(Lack(what, "set PENGUINMAILS_SANDBOX__STATE_DIR to a shorter one"))
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
        options = f"lowerdir={folder}/low,upperdir={folder}/up,workdir={folder}/wk{overlay_marks()}"
        try:
            run("unshare", "--mount", "mount", "-t", "overlay", "-o", options, "overlay", f"{folder}/root")
        except CommandFailed:
            return False
        return True
