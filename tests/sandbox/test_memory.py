"""What a world writes lies in memory while there is plenty, on disk else, and goes with the world either way."""

import shutil
from pathlib import Path

import pytest

from sandbox import memory
from sandbox.product import Product
from sandbox.world import World

GIB = 1024**3
IN_MEMORY = ["tmpfs"]
PLENTY, WANT = 0, 1 << 62  # what must be free


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 20 GiB to spare, and no container around us."""
    (tmp_path / "meminfo").write_text(f"MemTotal: {24 * GIB // 1024} kB\nMemAvailable: {20 * GIB // 1024} kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    return tmp_path


def test_what_nobody_would_miss_is_what_the_machine_has(machine: Path) -> None:
    assert memory.free_bytes() == 20 * GIB
    (machine / "memory.max").write_text("max\n")
    assert memory.free_bytes() == 20 * GIB


def test_a_container_has_no_more_than_its_limit_leaves(machine: Path) -> None:
    (machine / "memory.max").write_text(f"{8 * GIB}\n")
    (machine / "memory.current").write_text(f"{3 * GIB}\n")
    assert memory.free_bytes() == 5 * GIB


def mounted_at(folder: Path) -> list[str]:
    """The kinds of file systems that are mounted at a folder."""
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [kind for _, point, kind, *_ in lines if point == str(folder)]


@pytest.mark.sandbox
@pytest.mark.parametrize(("needed", "kinds"), [(PLENTY, IN_MEMORY), (WANT, [])])
def test_a_host_keeps_its_disk_where_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch, needed: int, kinds: list[str]
) -> None:
    monkeypatch.setattr(memory, "PLENTY_BYTES", needed)
    world.create_host("light", ["198.51.100.228"], hostname="light.acme.example", root_password="s")
    disk = world.state.host_folder("light") / "disk"
    assert mounted_at(disk) == kinds
    # A folder that replaces one of the image must hide what that held: this is what the marks are for.
    code, out, err = world.exec("light", "rm -r /etc/apt && mkdir /etc/apt && ls -A /etc/apt && mkdir /etc/apt/new")
    assert (code, out) == (0, b""), err
    world.destroy_host("light")
    assert mounted_at(disk) == []
    assert not disk.exists()


@pytest.mark.sandbox
@pytest.mark.parametrize(("needed", "kinds"), [(PLENTY, IN_MEMORY), (WANT, [])])
def test_an_installation_keeps_its_data_where_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch, needed: int, kinds: list[str]
) -> None:
    monkeypatch.setattr(memory, "PLENTY_BYTES", needed)
    folder = Product(world, name="light").folder
    (folder / "kept").write_text("by the first")
    assert mounted_at(folder) == kinds
    assert (Product(world, name="light").folder / "kept").read_text() == "by the first"
    memory.let_go(folder)
    assert mounted_at(folder) == []
    shutil.rmtree(folder)
