"""The keeper of the day's caps, spoken to over the socket Postfix uses, and killed like any process."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.host_files import cap_keeper
from flows.policy.host_files.cap_keeper import Keeper, Ledger, address_cap, read_question, user_cap

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CAPS: dict[str, Any] = {
    "first_day": 5,
    "canary_cap": 20,
    "canaries": ["postmaster@acme.example"],
    "valid_until": None,
    "users": {},
    "addresses": {},
    "address_of": {"acme.example": "198.51.100.50"},
}
PLANNED = CAPS | {
    "valid_until": "2026-11-24T00:00:00+00:00",
    "users": {"anna@acme.example": 9},
    "addresses": {"198.51.100.50": 10},
}


class World:
    """A caps file and a ledger in a folder; a fresh keeper over them is a restart."""

    def __init__(self, folder: Path) -> None:
        self.caps, self.ledger = folder / "caps.json", folder / "ledger"
        self.ledger.mkdir()
        self.write(CAPS)

    def write(self, caps: dict[str, Any]) -> None:
        self.caps.write_text(json.dumps(caps))

    def keeper(self) -> Keeper:
        return Keeper(self.caps, Ledger(self.ledger))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def asks(user: str = "anna@acme.example", recipients: int = 1) -> dict[str, str]:
    return {"request": "smtpd_access_policy", "protocol_state": "DATA", "sasl_username": user,
            "recipient_count": str(recipients)}  # fmt: skip


def granted(keeper: Keeper, user: str = "anna@acme.example", recipients: int = 1, now: datetime = NOON) -> bool:
    answer = keeper.answer(asks(user, recipients), now)
    assert answer == "DUNNO" or answer.startswith("450 4.")
    return answer == "DUNNO"


# --- the figures ----------------------------------------------------------------------------------------------------


def test_without_a_plan_a_mailbox_reaches_the_first_days_figure_and_no_further(world: World) -> None:
    keeper = world.keeper()
    assert [granted(keeper) for _ in range(7)] == [True] * 5 + [False] * 2


def test_recipients_are_counted_and_not_messages(world: World) -> None:
    keeper = world.keeper()
    assert granted(keeper, recipients=4)
    assert not granted(keeper, recipients=2)
    assert granted(keeper, recipients=1)


def test_one_mailbox_does_not_eat_the_day_of_another(world: World) -> None:
    keeper = world.keeper()
    assert granted(keeper, recipients=5)
    assert granted(keeper, "bob@acme.example", recipients=5)


def test_a_plan_gives_each_mailbox_its_own_figure(world: World) -> None:
    world.write(PLANNED)
    keeper = world.keeper()
    assert granted(keeper, recipients=9)
    assert not granted(keeper)


def test_an_address_is_capped_over_all_its_mailboxes_and_proofs_count_too(world: World) -> None:
    world.write(PLANNED)
    keeper = world.keeper()
    assert granted(keeper, "postmaster@acme.example", recipients=6)
    assert granted(keeper, recipients=4)
    assert not granted(keeper, "bob@acme.example")
    assert not granted(keeper, "postmaster@acme.example")


def test_who_may_send_nothing_is_not_told_to_come_back_tomorrow(world: World) -> None:
    world.write(CAPS | {"first_day": 0, "canary_cap": 0})
    answer = world.keeper().answer(asks(), NOON)
    assert answer.startswith("450 4.7.1")
    assert "may send nothing for now" in answer
    assert "tomorrow" not in answer


def test_a_proof_has_a_cap_of_its_own(world: World) -> None:
    keeper = world.keeper()
    assert granted(keeper, "postmaster@acme.example", recipients=20)
    assert not granted(keeper, "postmaster@acme.example")
    assert granted(keeper, recipients=5)


def test_a_login_is_the_same_in_capitals(world: World) -> None:
    keeper = world.keeper()
    assert granted(keeper, "ANNA@acme.example", recipients=5)
    assert not granted(keeper)


def test_a_new_day_begins_at_midnight_utc(world: World) -> None:
    keeper = world.keeper()
    last_second = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    assert granted(keeper, recipients=5, now=last_second)
    assert not granted(keeper, now=last_second)
    assert granted(keeper, recipients=5, now=last_second + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("now", "cap"),
    [
        (datetime(2026, 11, 23, 23, 59, tzinfo=UTC), 9),
        (datetime(2026, 11, 24, 0, 0, tzinfo=UTC), 4),  # half of it, for one day
        (datetime(2026, 11, 24, 23, 59, tzinfo=UTC), 4),
        (datetime(2026, 11, 25, 0, 0, tzinfo=UTC), 5),
    ],
)
def test_a_plan_wears_out_when_no_other_arrives(now: datetime, cap: int) -> None:
    assert user_cap(PLANNED, "anna@acme.example", now) == cap


@given(planned=st.integers(0, 5000), earlier=st.integers(-100, 100), seconds=st.integers(0, 400_000))
def test_a_cap_never_grows_by_waiting_beyond_the_plan(planned: int, earlier: int, seconds: int) -> None:
    caps = PLANNED | {"users": {"anna@acme.example": planned}, "addresses": {"198.51.100.50": planned}}
    now = datetime(2026, 11, 24, tzinfo=UTC) + timedelta(hours=earlier, seconds=seconds)
    assert 0 <= user_cap(caps, "anna@acme.example", now) <= planned
    assert 0 <= (address_cap(caps, "198.51.100.50", now) or 0) <= planned


# --- refusing when in doubt -----------------------------------------------------------------------------------------


def test_without_a_caps_file_nothing_is_granted(world: World) -> None:
    world.caps.unlink()
    assert world.keeper().answer(asks(), NOON) == "450 4.7.1 this host has no sending plan"


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"first_day": "x"}', '"text"', "null", "\xff"])
def test_a_caps_file_that_makes_no_sense_grants_nothing(world: World, text: str) -> None:
    world.caps.write_text(text, encoding="latin-1")
    assert world.keeper().answer(asks(), NOON).startswith("450 4.3.0")


@pytest.mark.parametrize("missing", ["sasl_username", "recipient_count"])
def test_a_question_without_a_login_or_a_recipient_is_refused(world: World, missing: str) -> None:
    question = asks()
    del question[missing]
    assert world.keeper().answer(question, NOON).startswith("450 4.7.1")


@pytest.mark.parametrize("count", ["-3", "0", "many"])
def test_a_count_below_one_is_never_granted(world: World, count: str) -> None:
    assert world.keeper().answer(asks() | {"recipient_count": count}, NOON).startswith("450 4.")


def test_a_new_caps_file_counts_from_the_next_question_on(world: World) -> None:
    keeper = world.keeper()
    assert granted(keeper, recipients=5)
    world.write(CAPS | {"first_day": 6})
    assert granted(keeper)
    assert not granted(keeper)


def test_what_cannot_be_written_down_is_not_granted(world: World) -> None:
    keeper = world.keeper()
    (world.ledger / "granted-2026-11-22").mkdir()  # root writes past permissions, not past a folder
    assert keeper.answer(asks(), NOON).startswith("450 4.3.0")


# --- memory ---------------------------------------------------------------------------------------------------------


def test_what_was_granted_is_known_after_a_restart(world: World) -> None:
    assert granted(world.keeper(), recipients=3)
    keeper = world.keeper()
    assert not granted(keeper, recipients=3)
    assert granted(keeper, recipients=2)


def test_a_clock_that_goes_back_finds_the_day_as_it_was_spent(world: World) -> None:
    keeper = world.keeper()
    assert granted(keeper, recipients=5)
    assert granted(keeper, recipients=5, now=NOON + timedelta(days=1))
    assert not granted(keeper, now=NOON)
    assert not granted(world.keeper(), now=NOON)


def test_a_line_torn_by_a_power_cut_does_not_swallow_the_next(world: World) -> None:
    (world.ledger / "granted-2026-11-22").write_bytes(b"2\tanna@acme.example\t198.51.100.50\n1\tanna@ac")
    assert granted(world.keeper(), recipients=3)
    assert not granted(world.keeper())


@pytest.mark.parametrize("noise", [b"\n\n", b"x\tanna@acme.example\n", b"-5\tanna@acme.example\n", b"\xff\xfe\t\n"])
def test_noise_in_the_ledger_frees_nobodys_cap(world: World, noise: bytes) -> None:
    path = world.ledger / "granted-2026-11-22"
    path.write_bytes(b"5\tanna@acme.example\t198.51.100.50\n" + noise)
    assert not granted(world.keeper())


def test_old_ledgers_are_dropped_and_recent_ones_kept(world: World) -> None:
    keeper = world.keeper()
    for day in range(cap_keeper.LEDGERS_KEPT + 3):
        assert granted(keeper, now=NOON + timedelta(days=day))
    assert len(list(world.ledger.iterdir())) == cap_keeper.LEDGERS_KEPT


# --- the socket -----------------------------------------------------------------------------------------------------


@contextmanager
def serving(world: World, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program as systemd starts it: the listening socket is its descriptor 3."""
    with socket.socket(socket.AF_UNIX) as listening, ExitStack() as stack:
        listening.bind(str(path))
        listening.listen()
        command = [sys.executable, "-I", cap_keeper.__file__, str(world.caps), str(world.ledger)]
        script = f'exec 3<&{listening.fileno()}; exec "$@"'
        process = subprocess.Popen(["/bin/bash", "-c", script, "bash", *command], pass_fds=[listening.fileno()])
        stack.callback(process.wait)
        stack.callback(process.kill)
        yield process


def ask_over(path: Path, questions: int) -> list[str]:
    text = "".join(f"{name}={value}\n" for name, value in asks().items()) + "\n"
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rw") as lines:
        client.settimeout(30)
        client.connect(str(path))
        answers: list[str] = []
        for _ in range(questions):
            lines.write(text)
            lines.flush()
            answers.append(lines.readline().strip())
            assert lines.readline() == "\n"
        return answers


def test_many_connections_at_once_never_pass_the_cap_together(world: World, tmp_path: Path) -> None:
    today = datetime.now(UTC)
    world.write(CAPS | {"first_day": 50})
    with serving(world, tmp_path / "s"), ThreadPoolExecutor(8) as pool:
        answers = [answer for batch in pool.map(lambda _: ask_over(tmp_path / "s", 10), range(8)) for answer in batch]
    allowed = answers.count("action=DUNNO")
    same_day = today.date() == datetime.now(UTC).date()
    assert len(answers) == 80
    assert allowed == 50 or (not same_day and allowed <= 80)


def test_every_grant_that_was_answered_survives_a_kill(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path / "s") as process:
        answers = ask_over(tmp_path / "s", 3)
        os.kill(process.pid, signal.SIGKILL)
    assert answers == ["action=DUNNO"] * 3
    (ledger,) = world.ledger.iterdir()
    assert ledger.read_text() == "1\tanna@acme.example\t198.51.100.50\n" * 3


def test_a_torn_question_is_no_question() -> None:
    assert read_question([b"sasl_username=anna\n", b"recipient_count=1\n"]) == {}
    assert read_question([]) == {}


@given(st.lists(st.binary(max_size=40).map(lambda line: line + b"\n"), max_size=8))
def test_no_bytes_of_a_question_break_the_keeper(lines: list[bytes]) -> None:
    question = read_question([*lines, b"\n"])
    keeper = Keeper(Path("/nonexistent/caps"), Ledger(Path("/nonexistent")))
    assert keeper.answer(question, NOON).startswith("450 4.7.1")
