import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import prerequisites
from sandbox.identity import in_user_namespace

CHECKOUT = Path(__file__).parents[2]


def test_a_missing_program_is_named_with_the_command_that_cures_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "PROGRAMS", {"sh": "dash", "no-such-program": "no-such-package"})
    assert "no-such-package" in prerequisites.missing_packages()
    lack = next(lack for lack in prerequisites.lacks() if "no-such-package" in lack.what)
    assert "apt-get install -y --no-install-recommends" in lack.cure
    assert "no-such-package" in lack.cure
    assert "dash" not in lack.cure


@pytest.mark.sandbox
def test_without_root_the_cure_is_sudo(able: None) -> None:
    words = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "sandbox", "up"]
    found = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    if "Permission denied" in found.stderr or "No module" in found.stderr:
        pytest.skip("the interpreter or the checkout is not readable by another user")
    assert found.returncode == 2
    assert "sudo" in found.stderr


@pytest.mark.sandbox
def test_this_machine_is_ready(able: None) -> None:
    words = [sys.executable, "-m", "sandbox", "doctor"]
    found = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert (found.returncode, found.stdout) == (0, "ready: python -m sandbox up\n")


def test_a_low_limit_on_inotify_is_raised_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text("128\n")
    monkeypatch.setattr(prerequisites, "INOTIFY_LIMIT", limit)
    if in_user_namespace():
        assert "about 16 hosts" in (prerequisites.raise_limits() or "")
        limit.write_text("1024\n")
    else:
        assert "from 128 to 1024" in (prerequisites.raise_limits() or "")
    assert int(limit.read_text()) == 1024
    limit.write_text("8192\n")
    assert prerequisites.raise_limits() is None
    assert limit.read_text() == "8192\n"


@pytest.mark.sandbox
def test_a_path_too_long_for_sockets_is_named(able: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENGUINMAILS_SANDBOX__STATE_DIR", str(tmp_path / ("long" * 20)))
    assert any("too long" in lack.what and "STATE_DIR" in lack.cure for lack in prerequisites.lacks())


WHOLE = "echo 0 1000 1; echo 1 100000 65535"


def found_by_a_user(monkeypatch: pytest.MonkeyPatch, folder: Path, *, mount: str = "", numbers: str = WHOLE) -> str:
    """What an ordinary user is told on a machine whose `unshare` answers a mount and a map of numbers like that."""
    programs = {
        "unshare": f'case "$*" in *--map-auto*) {numbers} ;; *mount*) {mount or ":"} ;; esac',
        "newuidmap": ":",
        "systemd-run": ":",  # so that a control group is to be had
    }
    (folder / "bin").mkdir()
    for name, script in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")
    monkeypatch.setattr(prerequisites, "PROGRAMS", {"sh": "dash"})
    monkeypatch.setattr(prerequisites, "ARCHIVE_KEYS", Path("/"))
    return "\n".join(f"{lack.what}: {lack.cure}" for lack in prerequisites.user_lacks())


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(prerequisites, "INOTIFY_LIMIT", tmp_path / "limit")
    (tmp_path / "limit").write_text("1024")
    return tmp_path / "limit"


def test_a_user_with_everything_is_told_nothing(monkeypatch: pytest.MonkeyPatch, limits: Path, tmp_path: Path) -> None:
    assert found_by_a_user(monkeypatch, tmp_path) == ""


def test_a_limit_that_only_root_raises_has_its_line_for_good(
    monkeypatch: pytest.MonkeyPatch, limits: Path, tmp_path: Path
) -> None:
    limits.write_text("128")
    assert "| sudo tee /etc/sysctl.d/" in found_by_a_user(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("answers", "cure"),
    [
        ({"mount": "exit 1"}, "no user namespaces here: "),
        ({"numbers": "exit 1"}, "sudo usermod --add-subuids"),
        ({"numbers": "echo 0 1000 1; echo 1 100000 1000"}, "sudo usermod --add-subuids"),
        ({"numbers": "echo \"unshare: unrecognized option '--map-auto'\" >&2; exit 1"}, "2.38"),
    ],
)
def test_each_lack_of_a_user_has_its_cure(
    monkeypatch: pytest.MonkeyPatch, limits: Path, tmp_path: Path, answers: dict[str, str], cure: str
) -> None:
    assert cure in found_by_a_user(monkeypatch, tmp_path, **answers)


def test_a_kernel_that_forbids_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, limits: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.write_text("1\n")
    monkeypatch.setattr(prerequisites, "GATES", ((str(gate), "1", "0"),))
    assert f"sudo sysctl -w {str(gate).replace('/', '.')}=0" in found_by_a_user(monkeypatch, tmp_path, mount="exit 1")


def test_new_numbers_begin_behind_those_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listing = tmp_path / "subuid"
    listing.write_text("anna:100000:65536\nbert:165536:65536\n\n# broken\n")
    monkeypatch.setattr(prerequisites, "NUMBER_FILES", (listing, tmp_path / "none"))
    assert prerequisites._first_free_number() == 231072


def test_without_a_group_and_without_systemd_one_line_makes_a_group() -> None:
    assert "cgroup.procs" in prerequisites._group_lack(Path("/sys/fs/cgroup")).cure
    assert "unified_cgroup_hierarchy" in prerequisites._group_lack(None).cure
