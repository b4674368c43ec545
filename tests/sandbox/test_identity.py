import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import identity
from sandbox.commands import attempt
from sandbox.identity import Owner

CHECKOUT = Path(__file__).parents[2]
ROOM = ("unshare", "--user", "--map-root-user")
NESTED = pytest.mark.skipif(attempt(*ROOM, "true").code != 0, reason="no user namespaces for this user")


def told(expression: str, *before: str) -> str:
    words = [*before, sys.executable, "-c", f"from sandbox import identity; print({expression})"]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@NESTED
def test_root_of_a_namespace_is_not_root_of_the_machine() -> None:
    assert told("identity.in_user_namespace(), identity.ordinary()", *ROOM) == "True False"


@NESTED
def test_a_room_knows_whose_it_is() -> None:
    assert told("identity.room_owner()", *ROOM) == repr(Owner(os.geteuid(), os.getegid()))


@NESTED
def test_a_command_of_the_owner_finds_itself_that_user_and_its_files_are_that_users(tmp_path: Path) -> None:
    script = f"import os; open({str(tmp_path / 'made')!r}, 'w'); print(os.geteuid(), os.readlink('/proc/self/ns/user'))"
    words = f"__import__('subprocess').check_output([*identity.as_owner(), 'python3', '-c', {script!r}]).decode()"
    uid, namespace, room = told(f"{words}, __import__('os').readlink('/proc/self/ns/user')", *ROOM).split()
    assert uid == str(os.geteuid())
    assert namespace != room  # of root, who has the same number in both
    assert (tmp_path / "made").stat().st_uid == os.geteuid()


@pytest.mark.skipif(identity.in_user_namespace(), reason="this is a room")
def test_on_the_machine_itself_a_command_stays_as_it_is() -> None:
    assert identity.room_owner() is None
    assert identity.as_owner() == []


def test_a_container_whose_root_is_nobody_we_know_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    stranger = next(number for number in range(100_000, 200_000) if number not in taken)
    monkeypatch.setattr(identity, "_map", lambda _kind: ["0", str(stranger), "65536"])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert identity.in_user_namespace()
    assert identity.room_owner() is None
