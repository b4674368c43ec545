import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.environment import settings_of
from sandbox.world import World

CHECKOUT = Path(__file__).parents[2]


CHOSEN = os.environ.get("PENGUINMAILS_SANDBOX__WORLD")
NAME = f"{CHOSEN}t" if CHOSEN else "tests"


def sandbox(*words: str, world: str = NAME, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sandbox", "--world", world, *words]
    return subprocess.run(
        command, cwd=CHECKOUT, env={**os.environ, **env}, input=stdin, capture_output=True, timeout=120, check=False
    )


@pytest.mark.parametrize("name", ["../beside", ".", "", "a/b", "x" * 300])
def test_a_folder_that_is_no_world_is_never_taken_down(tmp_path: Path, name: str) -> None:
    worlds, beside = tmp_path / "worlds", tmp_path / "beside"
    for folder in (worlds / "lab" / "hosts", beside):
        folder.mkdir(parents=True)
        (folder / "kept").touch()
    told = sandbox("down", world=name, PENGUINMAILS_SANDBOX__STATE_DIR=str(worlds))
    assert (told.returncode, len(told.stderr.splitlines())) == (2, 1)
    assert b"names no world" in told.stderr
    assert (worlds / "lab" / "hosts" / "kept").exists()
    assert (beside / "kept").exists()


def test_nor_is_one_that_the_environment_names(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    told = subprocess.run(
        [sys.executable, "-m", "sandbox", "down"], cwd=CHECKOUT, capture_output=True, timeout=120, check=False,
        env=os.environ | {"PENGUINMAILS_SANDBOX__STATE_DIR": str(tmp_path / "w"),
                          "PENGUINMAILS_SANDBOX__WORLD": "../beside"},
    )  # fmt: skip
    assert (told.returncode, (tmp_path / "beside").exists()) == (2, True)
    assert b"names no world" in told.stderr


@pytest.mark.sandbox
def test_up_prints_the_world_as_json_and_nothing_else(world: World) -> None:
    told = sandbox("up", "--json")
    assert told.returncode == 0
    assert json.loads(told.stdout) == world.info
    assert b"up already" in told.stderr


@pytest.mark.sandbox
def test_status_lists_each_host(world: World) -> None:
    lines = sandbox("status").stdout.decode().splitlines()
    assert any(line.startswith("bigmail") and "running" in line and "203.0.113.28" in line for line in lines)
    hosts = json.loads(sandbox("status", "--json").stdout)["hosts"]
    assert {"bigmail", "dns"} <= {host["name"] for host in hosts}


@pytest.mark.sandbox
def test_run_puts_a_command_into_the_control_room_with_its_settings(world: World) -> None:
    told = sandbox("run", "--", "sh", "-c", "echo $PENGUINMAILS_HOSTWINDS__BASE_URL; ip -br addr show eth0; exit 5")
    assert told.returncode == 5
    assert world.info["api_url"].encode() in told.stdout
    assert b"203.0.113.10" in told.stdout


@pytest.mark.sandbox
def test_run_resolves_names_of_the_world(world: World) -> None:
    told = sandbox("run", "--", "getent", "hosts", "mx.bigmail.example")
    assert told.stdout.split() == [b"203.0.113.25", b"mx.bigmail.example"]


@pytest.mark.sandbox
def test_run_leaves_database_settings_alone(world: World) -> None:
    told = sandbox("run", "--", "env", PENGUINMAILS_DATABASE__CORE_DSN="kept")
    assert b"PENGUINMAILS_DATABASE__CORE_DSN=kept" in told.stdout


@pytest.mark.sandbox
def test_exec_runs_a_script_on_a_host(world: World) -> None:
    told = sandbox("exec", "dns", "cat; hostname; exit 3", stdin=b"in\n")
    assert (told.returncode, told.stdout) == (3, b"in\nns.lab.example\n")


@pytest.mark.sandbox
def test_a_shell_reads_its_commands(world: World) -> None:
    assert b"ns.lab.example" in sandbox("shell", "dns", stdin=b"hostname\n").stdout


@pytest.mark.sandbox
def test_logs_are_printed(world: World) -> None:
    assert b"--- journal" in sandbox("logs", "bigmail").stdout


@pytest.mark.sandbox
def test_a_host_that_does_not_exist_is_named(world: World) -> None:
    told = sandbox("exec", "ghost", "true")
    assert told.returncode == 2
    assert told.stderr == b"no running host named 'ghost'\n"


@pytest.mark.parametrize("words", [("status",), ("run", "--", "true"), ("exec", "dns", "true"), ("shell", "dns")])
def test_a_world_that_is_not_up_has_an_exit_code_of_its_own(words: tuple[str, ...], tmp_path: Path) -> None:
    told = sandbox(*words, world="nowhere", PENGUINMAILS_SANDBOX__STATE_DIR=str(tmp_path))
    assert told.returncode == 3
    assert b"python -m sandbox up" in told.stderr


@pytest.mark.sandbox
def test_down_of_a_world_that_never_was_is_well(able: None, tmp_path: Path) -> None:
    assert sandbox("down", world="nowhere", PENGUINMAILS_SANDBOX__STATE_DIR=str(tmp_path)).returncode == 0


@pytest.mark.sandbox
def test_settings_carry_the_lists_as_json(world: World) -> None:
    settings = settings_of(world.info)
    assert json.loads(settings["PENGUINMAILS_HOSTWINDS__PORT25_PROBE_HOSTS"]) == [
        "mx.bigmail.example",
        "mx2.bigmail.example",
        "mx3.bigmail.example",
    ]
    assert json.loads(settings["PENGUINMAILS_MAIL__PROOF_RECEIVERS"])[0]["authserv_id"] == "mx.bigmail.example"
    assert not any("DATABASE" in name for name in settings)
