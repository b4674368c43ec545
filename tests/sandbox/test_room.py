"""Seen from outside a room, as the ordinary user whose room it is; root of a machine has none."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import prerequisites, room
from sandbox.identity import ordinary
from sandbox.state import state_root

CHECKOUT = Path(__file__).parents[2]
NAME = os.environ.get("PENGUINMAILS_SANDBOX__WORLD") or "roomy"
ITSELF = (sys.executable, "-m", "sandbox", "--world", NAME)
CLOSING_SECONDS = 20.0  # generous: an empty room closes within one

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def able() -> None:
    if not ordinary():
        pytest.skip("rooms are for ordinary users")
    lacks = [f"{lack.what}: {lack.cure}" for lack in prerequisites.user_lacks()]
    if lacks:
        pytest.skip("; ".join(lacks))


@pytest.fixture
def empty(able: None) -> Iterator[None]:
    """No room before the test, and none left by it."""
    await_closed()
    yield
    await_closed()
    assert not (state_root() / NAME).exists()


def inside(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*ITSELF, "inside", "--", *words], cwd=CHECKOUT, input=stdin, capture_output=True, timeout=300, check=False
    )


def said(*words: str) -> str:
    done = inside(*words)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def await_closed() -> None:
    deadline = time.monotonic() + CLOSING_SECONDS
    while room.standing(state_root()):
        assert time.monotonic() < deadline, "the room stays open"
        time.sleep(0.05)


def test_in_a_room_the_user_is_root_and_owns_the_numbers_of_a_host(empty: None) -> None:
    assert said("id", "-u") == "0"
    ranges = [line.split() for line in said("cat", "/proc/self/uid_map").splitlines()]
    assert ranges[0][:2] == ["0", str(os.getuid())]
    assert sum(int(length) for *_, length in ranges) >= prerequisites.USER_IDS_WANTED


def test_a_room_has_no_way_out(empty: None) -> None:
    assert said("ip", "-brief", "link", "show").split()[0] == "lo"
    assert said("ip", "route", "show") == ""
    assert "nameserver 203.0.113.53" in said("cat", "/etc/resolv.conf")


def test_input_output_and_status_are_the_commands_own(empty: None) -> None:
    done = inside("sh", "-c", "cat; exit 7", stdin=b"bytes \xff in")
    assert (done.returncode, done.stdout) == (7, b"bytes \xff in")


def test_commands_share_the_room_and_the_last_one_closes_it(empty: None) -> None:
    with subprocess.Popen([*ITSELF, "inside", "--", "cat"], cwd=CHECKOUT, stdin=subprocess.PIPE) as waiting:
        here = said("readlink", "/proc/self/ns/user")
        time.sleep(1.5)  # longer than an empty room would stand
        assert said("readlink", "/proc/self/ns/user") == here
        assert room.standing(state_root())
    assert waiting.returncode == 0
    await_closed()
    assert said("readlink", "/proc/self/ns/user")


def test_many_commands_at_once_open_one_room(empty: None) -> None:
    words = [*ITSELF, "inside", "--", "readlink", "/proc/self/ns/user"]
    started = [subprocess.Popen(words, cwd=CHECKOUT, stdout=subprocess.PIPE) for _ in range(4)]
    found = {one.communicate(timeout=300)[0] for one in started}
    assert len(found) == 1
    assert all(one.returncode == 0 for one in started)


def test_a_room_that_closes_takes_its_processes_and_leaves_no_group(empty: None) -> None:
    """A background process keeps it open; when process 1 dies, everything does."""
    said("sh", "-c", "sleep 1000 > /dev/null 2>&1 &")
    first = room.standing(state_root())
    assert first
    listed = subprocess.run(["pgrep", "--ns", str(first.pid), "--nslist", "user", "sleep"], check=False)
    os.kill(first.pid, signal.SIGKILL)
    await_closed()
    assert listed.returncode == 0
    assert subprocess.run(["pgrep", "-f", "sleep 1000"], check=False).returncode == 1
    assert said("id", "-u") == "0"


def test_an_interrupt_reaches_the_command_which_may_tidy_up(empty: None) -> None:
    script = (
        "import time\n"
        "try:\n print('in', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt:\n time.sleep(0.5); print('tidied', flush=True)"
    )
    words = [*ITSELF, "inside", "--", sys.executable, "-c", script]
    with subprocess.Popen(words, cwd=CHECKOUT, stdout=subprocess.PIPE, start_new_session=True) as started:
        assert started.stdout
        assert started.stdout.readline() == b"in\n"
        os.killpg(started.pid, signal.SIGINT)
        assert started.stdout.read() == b"tidied\n"
    assert started.returncode == 0


def test_a_command_ends_with_the_one_that_was_called(empty: None) -> None:
    with subprocess.Popen(
        [*ITSELF, "inside", "--", "sh", "-c", "echo in; exec sleep 1000"], stdout=subprocess.PIPE
    ) as one:
        assert one.stdout
        assert one.stdout.readline() == b"in\n"
        one.kill()
    await_closed()


def test_an_ordinary_user_raises_uses_and_removes_a_world(empty: None) -> None:
    def sandbox(*words: str) -> str:
        done = subprocess.run([*ITSELF, *words], cwd=CHECKOUT, capture_output=True, timeout=300, check=False)
        assert done.returncode == 0, (words, done.stderr.decode())
        return done.stdout.decode()

    sandbox("up", "--no-emulator")
    assert "running" in sandbox("status")
    assert sandbox("run", "--", "id", "-u").strip() == str(os.getuid())
    assert sandbox("run", "--", "getent", "hosts", "mx.bigmail.example").split()[0] == "203.0.113.25"
    assert sandbox("exec", "dns", "systemctl is-system-running --wait || :").strip() in {"running", "degraded"}
    assert "systemd-journald" in sandbox("logs", "dns")
    sandbox("down")
