import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import memory
from sandbox.identity import room_owner
from sandbox.product import Product
from sandbox.state import State, children
from sandbox.world import NotUp, World
from tests.support.leftovers import leftovers

pytestmark = pytest.mark.sandbox
CHOSEN = os.environ.get("PENGUINMAILS_SANDBOX__WORLD")
NAME = f"{CHOSEN}p" if CHOSEN else "passing"


def quiet(_: str) -> None:
    return


@pytest.fixture
def nothing_there(able: None) -> Iterator[None]:
    World.down_named(NAME, say=quiet)
    yield
    World.down_named(NAME, say=quiet)


def wait_until(there: Path, limit_seconds: float = 30.0) -> None:
    deadline = time.monotonic() + limit_seconds
    while not there.exists():
        assert time.monotonic() < deadline, f"{there} never came"
        time.sleep(0.01)


def started_and_killed_when(there: Path) -> None:
    """SIGKILL a running `up` as soon as a file is there, and all its threads with it."""
    words = [sys.executable, "-m", "sandbox", "--world", NAME, "up"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as raising:
        wait_until(there)
        raising.send_signal(signal.SIGKILL)
    assert raising.returncode == -signal.SIGKILL


def test_a_world_taken_down_leaves_nothing(nothing_there: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PLENTY_BYTES", 0)
    world = World.up(NAME, say=quiet)
    assert Product(world).folder.is_mount()
    world.create_host("extra", ["198.51.100.201"], hostname="extra.acme.example", root_password="s")
    kinds = {left.split()[0] for left in leftovers(NAME)}
    resolver = set() if room_owner() else {"resolver"}  # a room has one for all
    assert {"namespace", "mount", "process", "state"} | resolver <= kinds
    world.down(say=quiet)
    assert leftovers(NAME) == []
    world.down(say=quiet)
    assert leftovers(NAME) == []


@pytest.mark.parametrize("reached", ["objects/namespace@ctl.json", "hosts/dns/keeper", "objects/process@emulator.json"])
def test_the_next_up_removes_what_a_killed_one_left(nothing_there: None, reached: str) -> None:
    started_and_killed_when(State(NAME).folder / reached)
    assert leftovers(NAME) != []
    with pytest.raises(NotUp):
        _ = World.attach(State(NAME).folder).info
    world = World.up(NAME, say=quiet)
    world.dns_update("acme.example", replace=[("www", "A", ["198.51.100.9"])])
    world.down(say=quiet)
    assert leftovers(NAME) == []


def test_a_process_that_raises_worlds_keeps_nothing_of_them(nothing_there: None) -> None:
    def held() -> tuple[list[str], int, list[int]]:
        return (
            sorted(path.name for path in Path("/proc/self/fd").iterdir()),
            threading.active_count(),
            children(os.getpid()),
        )

    World.up(NAME, say=quiet).down(say=quiet)  # libraries open what they keep
    before = held()
    for _ in range(2):
        World.up(NAME, say=quiet).down(say=quiet)
    assert held() == before


def test_a_second_up_finds_the_first(world: World) -> None:
    before = world.info
    again = World.up(world.state.world, say=quiet)
    assert again.info == before
    assert again.exec("dns", "cat /proc/1/stat")[0] == 0


def test_a_world_whose_host_died_is_raised_anew(nothing_there: None) -> None:
    world = World.up(NAME, emulator=False, say=quiet)
    world.exec("bigmail", "systemctl poweroff --force --force")
    deadline = time.monotonic() + 20
    while world.hosts.running("bigmail"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    key = world.info["tsig"]["secret"]
    again = World.up(NAME, emulator=False, say=quiet)
    assert again.hosts.running("bigmail")
    assert again.info["tsig"]["secret"] != key


def test_what_was_started_in_the_control_room_ends_with_the_world(nothing_there: None) -> None:
    world = World.up(NAME, emulator=False, say=quiet)
    server = subprocess.Popen(["ip", "netns", "exec", world.network.control, "sleep", "300"])
    try:
        time.sleep(0.3)
        world.down(say=quiet)
        assert server.wait(10) == -signal.SIGTERM
    finally:
        server.kill()
        server.wait()


def test_no_world_is_named_with_the_command_that_raises_it() -> None:
    with pytest.raises(NotUp, match="python -m sandbox up"):
        World.attach(State("nowhere").folder)


def test_secrets_of_a_world_are_for_its_owner_only(world: World) -> None:
    for name in ("info.json", "world.json", "certificates/ca.key", "emulator/api-key"):
        assert (world.state.folder / name).stat().st_mode & 0o077 == 0, name
    assert world.info["api_key"] not in " ".join(
        path.read_text() for path in world.state.folder.glob("hosts/*/console.log")
    )
