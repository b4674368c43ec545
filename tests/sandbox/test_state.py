import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import state
from sandbox.state import NoWorldName, Process, State, WorldBusy, children, parent, process, write_whole


@pytest.fixture
def here(tmp_path: Path) -> State:
    return State("toy", tmp_path / "toy")


def test_a_number_given_to_a_stranger_is_not_the_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        known = process(sleeping.pid)
        assert known is not None
        assert known.alive()
        assert not Process(known.pid, known.started + 1).alive()
        assert (parent(sleeping.pid), sleeping.pid in children(parent(sleeping.pid))) == (state.os.getpid(), True)
        sleeping.kill()
        sleeping.wait()
        assert not known.alive()


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen(["true"]) as ended:
        known = process(ended.pid)
        subprocess.run(["sleep", "0.3"], check=True)  # it ends, and nobody has waited for it yet
        assert known is None or not known.alive()


def test_notes_are_found_by_kind_and_forgotten(here: State) -> None:
    here.note("host", "b", image="bare")
    here.note("host", "a", image="mail")
    here.note("namespace", "a")
    assert [note["name"] for note in here.noted("host")] == ["a", "b"]
    assert here.find("host", "a") == {"kind": "host", "name": "a", "image": "mail"}
    here.forget("host", "a")
    here.forget("host", "a")
    assert here.find("host", "a") is None
    assert here.left_over


def test_two_processes_do_not_raise_the_same_world(here: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "TURN_LIMIT_SECONDS", 0.3)
    script = (
        "import sys, pathlib; from sandbox.state import State\n"
        f"with State('toy', pathlib.Path({str(here.folder)!r})).alone(): print('in', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as other:
        assert other.stdout
        assert other.stdin
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(WorldBusy, match="toy"), here.alone():
            pass
        other.kill()
    with here.alone():
        pass


def test_a_written_file_has_its_mode_from_the_first_byte(tmp_path: Path) -> None:
    write_whole(tmp_path / "secret", "s", 0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    write_whole(tmp_path / "secret", "t", 0o600)
    assert (tmp_path / "secret").read_text() == "t"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_worlds_live_where_the_setting_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENGUINMAILS_SANDBOX__STATE_DIR", str(tmp_path))
    assert State("one").folder == tmp_path / "one"
    assert State("one").namespace("ctl") == "pmone-ctl"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", "Lab", "a b", "lab\n", "x" * 31, "x" * 300])
def test_what_may_lead_to_a_foreign_folder_names_no_world(name: str) -> None:
    with pytest.raises(NoWorldName, match="names no world"):
        State(name)


def test_a_name_of_the_greatest_length_still_names_machines(tmp_path: Path) -> None:
    longest = State("x" * 30, tmp_path)
    assert len(longest.namespace("rebuilt-server-0001")) <= 64  # what systemd-nspawn takes
