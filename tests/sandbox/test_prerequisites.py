import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import prerequisites

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
    if "Permission denied" in found.stderr:
        pytest.skip("the interpreter is not readable by an ordinary user")
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
    assert "from 128 to 1024" in (prerequisites.raise_limits() or "")
    assert int(limit.read_text()) == 1024
    limit.write_text("8192\n")
    assert prerequisites.raise_limits() is None
    assert limit.read_text() == "8192\n"


@pytest.mark.sandbox
def test_a_path_too_long_for_sockets_is_named(able: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENGUINMAILS_SANDBOX__STATE_DIR", str(tmp_path / ("long" * 20)))
    assert any("too long" in lack.what and "STATE_DIR" in lack.cure for lack in prerequisites.lacks())
