"""The host's answers to a certificate authority: the one path it asks for, and nothing else."""

import http.client
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from flows.policy.host_files import text
from flows.policy.mail_host import answer_script, certificate_alone, stop_script

TOKEN, ANSWER = "tok3n-of_the-authority", "tok3n-of_the-authority.thumbprint"
FOLDER = "/.well-known/acme-challenge/"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-I", "-c", text("http01.py"), str(free), TOKEN, ANSWER, "b", "2"])
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", free), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            break
    yield free
    process.kill()
    process.wait()


def asked(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    line.request(method, path)
    reply = line.getresponse()
    body = reply.read().decode()
    line.close()
    return reply.status, body


def test_each_token_has_its_answer(port: int) -> None:
    assert asked(port, FOLDER + TOKEN) == (200, ANSWER)
    assert asked(port, FOLDER + "b") == (200, "2")


@pytest.mark.parametrize(
    "path", ["/", FOLDER, FOLDER + "other", "/etc/passwd", FOLDER + "../../etc/passwd", "/" + TOKEN]
)
def test_nothing_else_is_there(port: int, path: str) -> None:
    assert asked(port, path) == (404, "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_brought(port: int, method: str) -> None:
    assert asked(port, FOLDER + TOKEN, method)[0] == 501


def test_the_answers_end_by_themselves_and_run_as_nobody() -> None:
    (line,) = [line for line in answer_script([(TOKEN, ANSWER)]).splitlines() if line.startswith("systemd-run")]
    assert "--collect" in line
    assert "RuntimeMaxSec=300" in line
    assert "User=nobody" in line


def test_the_shell_hands_on_exactly_the_program_and_its_answers() -> None:
    script = answer_script([(TOKEN, ANSWER)])
    begin = script.index("/usr/bin/python3")
    words = shlex.split(script[begin : script.index(" || exit 1\n", begin)])
    assert words == ["/usr/bin/python3", "-I", "-c", text("http01.py"), "80", TOKEN, ANSWER]
    assert "$" not in text("http01.py")  # systemd-run would put the environment there


def test_to_stop_what_does_not_run_is_well() -> None:
    assert stop_script().endswith("|| :")


def test_a_renewal_touches_the_certificate_alone() -> None:
    wish = certificate_alone("mail.acme.example", "-----BEGIN CERTIFICATE-----\n")
    assert [component.name for component in wish.components] == ["certificate"]
    assert [file.path for file in wish.files] == ["/etc/ssl/penguin/mail.crt"]
    assert wish.packages == ()
