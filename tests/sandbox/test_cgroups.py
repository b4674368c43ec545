import os
from pathlib import Path

import pytest

from sandbox import cgroups
from sandbox.world import World


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands where the machine has its tree of version 2."""
    (tmp_path / "cgroup.controllers").touch()
    monkeypatch.setattr(cgroups, "mounts", lambda: [tmp_path])
    return tmp_path


def test_a_group_goes_with_all_that_are_in_it(tmp_path: Path) -> None:
    group = tmp_path / "host"
    (group / "payload/system.slice/ssh.service").mkdir(parents=True)
    (group / "supervisor").mkdir()
    cgroups.remove_group(group)
    assert list(tmp_path.iterdir()) == []
    cgroups.remove_group(group)


def test_a_group_that_is_still_in_use_is_waited_for_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "REMOVE_LIMIT_SECONDS", 0.1)
    (tmp_path / "host").mkdir()
    (tmp_path / "host/a process").touch()
    cgroups.remove_group(tmp_path / "host")
    assert (tmp_path / "host").is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_group_of_the_machine_is_not_ours(tree: Path) -> None:
    group = cgroups.group_of()
    assert group is not None
    group.mkdir(parents=True, exist_ok=True)
    group.chmod(0o500)
    assert cgroups.own_group() is None


def test_where_nspawn_has_a_tree_of_version_1_no_group_is_made(tree: Path) -> None:
    group = cgroups.group_of()
    assert group is not None
    group.mkdir(parents=True, exist_ok=True)
    (group / "cgroup.procs").touch()
    assert cgroups.own_group() == group
    assert cgroups.group_for("pmlab-dns") is None


@pytest.mark.sandbox
def test_no_two_hosts_share_a_group(world: World) -> None:
    """Two systemds in one would each clear away what the other made."""
    if cgroups.group_for("probe") is None:
        pytest.skip("control groups of version 1: systemd-nspawn makes one for each host by itself")
    groups = {name: cgroups.group_of(world.hosts._first_process(name) or 0) for name in ("dns", "bigmail")}
    for name, group in groups.items():
        assert f"{world.state.namespace(name)}/payload" in str(group)
