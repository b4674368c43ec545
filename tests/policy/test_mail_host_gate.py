"""The gate of a mail host, spoken to as Postfix speaks to a milter, over its two doors."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy import verp
from flows.policy.host_files.gate import Conversation, commands, keys_in
from flows.policy.mail_host import MailHost, SendingAddress, desired

KEY = bytes(range(32))
KEYS = {"acme.example": (KEY,)}
TODAY = date(2026, 11, 22)
OFFERED = 0x1FFFFF
CONTINUE, DEFER = b"c", b"t"


def path_of(domain: str = "acme.example", *, key: bytes = KEY, sent_on: date = TODAY) -> str:
    return verp.return_path(key, domain=domain, reference=7, sent_on=sent_on)


def talk(*, submission: bool = True) -> Conversation:
    return Conversation(lambda: KEYS, lambda: TODAY, submission)


def nul(*texts: str) -> bytes:
    return b"".join(text.encode("latin-1") + b"\0" for text in texts)


def said(answer: bytes) -> str:
    """One letter, or the text of a refusal."""
    assert int.from_bytes(answer[:4]) == len(answer) - 4
    return answer[5:-1].decode() if answer[4:5] == b"y" else answer[4:].decode()


def login(conversation: Conversation, user: str = "anna@acme.example") -> None:
    assert conversation.answer(b"D", b"M" + nul("i", "4XyZ", "{auth_authen}", user)) == b""


def mail(conversation: Conversation, sender: str = "anna@acme.example") -> str:
    return said(conversation.answer(b"M", nul(f"<{sender}>", "SIZE=100")))


def headers(conversation: Conversation, *fields: tuple[str, str]) -> str:
    for name, value in fields:
        assert said(conversation.answer(b"L", nul(name, value))) == "c"
    return said(conversation.answer(b"N", b""))


def test_only_what_the_gate_judges_is_sent_to_it() -> None:
    answer = talk().answer(b"O", struct.pack("!III", 6, 0x1FF, OFFERED))
    version, actions, without = struct.unpack("!III", answer[5:])
    assert (version, actions) == (6, 0)
    assert without & 0x4F == 0x3, "sender, recipients, headers and their end are asked for; connect and helo are not"
    assert without & 0x40 == 0
    assert without & ~OFFERED == 0


def test_what_postfix_does_not_offer_to_leave_out_is_not_asked_to_be() -> None:
    answer = talk().answer(b"O", struct.pack("!III", 6, 0, 0x1))
    assert struct.unpack("!III", answer[5:])[2] == 0x1


@pytest.mark.parametrize("name", ["From", "from", "FROM", "From "])
def test_the_author_is_of_the_logins_own_domain(name: str) -> None:
    conversation = talk()
    login(conversation, "Anna@Acme.example")
    assert mail(conversation) == "c"
    assert headers(conversation, ("Subject", "x"), (name, "Anna <anna@acme.example>")) == "c"
    assert mail(conversation) == "c"
    assert headers(conversation, (name, "bob@beta.example")).startswith("550 5.7.1 From must be an address at acme")


def test_a_second_author_is_refused_wherever_it_stands() -> None:
    conversation = talk()
    login(conversation)
    mail(conversation)
    fields = [("From", "anna@acme.example"), ("To", "x@y.example"), ("from", "anna@acme.example")]
    assert headers(conversation, *fields) == "550 5.7.1 a message has one From field, this one has 2"


def test_a_message_without_an_author_is_refused() -> None:
    conversation = talk()
    login(conversation)
    mail(conversation)
    assert headers(conversation, ("To", "x@y.example")).endswith("this one has 0")


def test_one_messages_author_is_not_the_next_ones() -> None:
    conversation = talk()
    login(conversation)
    mail(conversation)
    assert headers(conversation, ("From", "anna@acme.example")) == "c"
    assert conversation.answer(b"A", b"") == b""
    mail(conversation)
    assert headers(conversation).startswith("550")


def test_who_has_not_logged_in_submits_nothing() -> None:
    conversation = talk()
    assert mail(conversation).startswith("550 5.7.1 only a mailbox")
    login(conversation)
    assert mail(conversation) == "c"
    conversation.answer(b"D", b"M" + nul("i", "4XyZ"))
    assert mail(conversation).startswith("550 5.7.1 only a mailbox")


FORGED = "550 5.1.1 this return path was not made by us"
BAD_PATHS = [
    ("b+token@bounce.acme.example", FORGED),
    ("b@bounce.acme.example", FORGED),
    (path_of("acme.example", key=b"x" * 32), FORGED),
    (path_of("beta.example").replace("beta", "acme"), FORGED),
    (path_of(sent_on=TODAY - timedelta(days=verp.LIFE_DAYS + 1)), "550 5.1.6 this return path has expired"),
]
GOOD_PATHS = [path_of(), path_of().upper(), "postmaster@bounce.acme.example", "anna@acme.example"]


@pytest.mark.parametrize(("path", "answer"), [*BAD_PATHS, *((path, "c") for path in (*GOOD_PATHS, ""))])
def test_a_return_path_is_looked_at_when_it_is_given(path: str, answer: str) -> None:
    conversation = talk()
    login(conversation)
    assert mail(conversation, path) == answer


@pytest.mark.parametrize(("path", "answer"), [*BAD_PATHS, *((path, "c") for path in GOOD_PATHS)])
def test_and_again_when_something_comes_back_to_it(path: str, answer: str) -> None:
    conversation = talk(submission=False)
    assert mail(conversation, "") == "c"
    assert said(conversation.answer(b"R", nul(f"<{path}>", "NOTIFY=NEVER"))) == answer


def test_what_arrives_may_be_from_anybody() -> None:
    conversation = talk(submission=False)
    assert mail(conversation, "b+token@bounce.acme.example") == "c"
    assert headers(conversation, ("From", "a@x.example, b@y.example"), ("From", "c@z.example")) == "c"


def test_a_percent_sign_is_no_format_of_postfix() -> None:
    conversation = talk()
    login(conversation)
    mail(conversation)
    conversation.answer(b"L", nul("From", "x@100%s.example"))
    answer = conversation.answer(b"N", b"")
    assert b"%" not in answer.replace(b"%%", b"")


# --- the program ----------------------------------------------------------------------------------------------------


def laid_out(folder: Path) -> Path:
    """The program and its rules as they lie on a host."""
    host = MailHost(
        "mail.acme.example",
        (SendingAddress(IPv4Address("198.51.100.50"), "mail.acme.example", "smtp-ip1"),),
        (),
        (),
        first_day_cap=5,
    )
    root = "/usr/local/lib/penguin/"
    for file in desired(host).files:
        if file.path.startswith(root) and "cap_keeper" not in file.path:
            target = folder / file.path.removeprefix(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
    return folder / "gate.py"


@contextmanager
def serving(folder: Path, keys: Path) -> Iterator[tuple[Path, Path]]:
    """The program as systemd starts it: submission is descriptor 3, arrival 4. Yields where they listen."""
    with ExitStack() as stack:
        doors = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)]
        paths = (folder / "submission", folder / "arrival")
        for door, path in zip(doors, paths, strict=True):
            door.bind(str(path))
            door.listen()
        numbers = [door.fileno() for door in doors]
        command = [sys.executable, "-E", "-s", str(laid_out(folder / "lib")), str(keys)]
        script = f'exec 63<&{numbers[0]} 64<&{numbers[1]}; exec 3<&63 4<&64; exec "$@"'
        process = subprocess.Popen(
            ["/bin/bash", "-c", script, "bash", *command], pass_fds=numbers, cwd="/", env={"PATH": os.environ["PATH"]}
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        yield paths


class Line:
    """One connection, as Postfix holds it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(path))

    def tell(self, command: bytes, data: bytes = b"") -> None:
        self._socket.sendall(struct.pack("!I", len(data) + 1) + command + data)

    def ask(self, command: bytes, data: bytes = b"") -> bytes:
        self.tell(command, data)
        size = int.from_bytes(self._read(4))
        return self._read(size)

    def close(self) -> None:
        self._socket.close()

    def _read(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            got += self._socket.recv(size - len(got)) or pytest.fail("the gate hung up")
        return got


def written(keys: Path, *domains: str) -> None:
    keys.write_text(json.dumps({domain: [KEY.hex()] for domain in domains}))


def test_the_program_runs_from_the_files_a_host_is_given(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    written(keys, "acme.example")
    path = verp.return_path(KEY, domain="acme.example", reference=7, sent_on=datetime.now(UTC).date())
    with serving(tmp_path, keys) as (submission, arrival):
        line = Line(submission)
        assert line.ask(b"O", struct.pack("!III", 6, 0, OFFERED))[:1] == b"O"
        line.tell(b"D", b"M" + nul("{auth_authen}", "anna@acme.example"))
        assert line.ask(b"M", nul(f"<{path}>")) == CONTINUE
        assert line.ask(b"R", nul("<carol@else.example>")) == CONTINUE
        assert line.ask(b"L", nul("From", "ceo@bank.example")) == CONTINUE
        assert line.ask(b"N").startswith(b"y550 5.7.1 ")
        assert line.ask(b"M", nul("<b+token@bounce.acme.example>")).startswith(b"y550 5.1.1 ")
        line.tell(b"Q")
        line.close()
        line = Line(arrival)
        assert line.ask(b"M", nul("<>")) == CONTINUE
        assert line.ask(b"R", nul(f"<{path}>")) == CONTINUE
        assert line.ask(b"R", nul("<b+token@bounce.acme.example>")).startswith(b"y550 5.1.1 ")
        written(keys)  # a domain that went: read anew for the next question
        assert line.ask(b"R", nul(f"<{path}>")) == CONTINUE
        line.close()


@pytest.mark.parametrize("content", [None, "{", '{"acme.example": ["no hex"]}', '{"acme.example": 7}', "[]"])
def test_with_keys_that_cannot_be_read_nothing_is_submitted_and_bounces_come_in(
    tmp_path: Path, content: str | None
) -> None:
    keys = tmp_path / "keys.json"
    if content is not None:
        keys.write_text(content)
    with serving(tmp_path, keys) as (submission, arrival):
        line = Line(submission)
        line.tell(b"D", b"M" + nul("{auth_authen}", "anna@acme.example"))
        assert line.ask(b"M", nul("<anna@acme.example>")) == DEFER
        line.close()
        line = Line(arrival)
        assert line.ask(b"R", nul("<b+token@bounce.acme.example>")) == CONTINUE
        line.close()


def test_a_file_of_keys_is_read_as_it_is_written(tmp_path: Path) -> None:
    written(tmp_path / "keys.json", "acme.example")
    assert keys_in(tmp_path / "keys.json") == KEYS


@pytest.mark.parametrize("torn", [b"", b"\0", b"\0\0\0\0", b"\0\0\0\5MM", b"\xff\xff\xff\xffM", b"\0\0\0\1Q"])
def test_a_torn_command_ends_the_conversation(torn: bytes, tmp_path: Path) -> None:
    (tmp_path / "line").write_bytes(torn)
    with (tmp_path / "line").open("rb") as line:
        assert commands(line)() is None


@given(st.sampled_from([bytes([letter]) for letter in b"ADLMNRHCBETUX"]), st.binary(max_size=60))
def test_no_bytes_let_a_message_pass_that_nobody_logged_in_for(command: bytes, data: bytes) -> None:
    conversation = talk()
    if b"auth_authen" in data:
        return
    with suppress(ValueError, IndexError, struct.error):  # the connection defers these
        conversation.answer(command, data)
    assert mail(conversation).startswith("550")
