"""Port 25 outwards: what the probe prints on a host, and what each source's lines prove."""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address

import pytest

from flows.policy.egress import judge, probe_script
from flows.policy.verdict import Truth

ONE, TWO = IPv4Address("198.51.100.50"), IPv4Address("198.51.100.51")
HOSTS = ("mx1.big.example", "mx2.big.example", "mx3.big.example")


def printed(**said: tuple[str, str, str]) -> str:
    sources = {"one": ONE, "two": TWO}
    return "".join(
        json.dumps({"source": str(sources[name]), "host": host, "said": words}) + "\n"
        for name, three in said.items()
        for host, words in zip(HOSTS, three, strict=True)
    )


@pytest.mark.parametrize(
    ("said", "truth"),
    [
        (("220 hello", "220 hello", "220 hello"), Truth.PASS),
        (("220 hello", "220 hello", "blocked"), Truth.PASS),
        (("220 hello", "blocked", "blocked"), Truth.UNKNOWN),
        (("220 hello", "554 no", "421 busy"), Truth.UNKNOWN),
        (("554 no", "554 no", "554 no"), Truth.UNKNOWN),
        (("blocked", "blocked", "blocked"), Truth.FAIL),
        (("blocked", "unresolved", "unresolved"), Truth.FAIL),
        (("unresolved", "unresolved", "unresolved"), Truth.UNKNOWN),
    ],
)
def test_a_source_is_judged_by_its_own_banners(said: tuple[str, str, str], truth: Truth) -> None:
    verdict = judge(ONE, HOSTS, printed(one=said))
    assert verdict.truth is truth
    assert (str(ONE) in verdict.fix) is (truth is not Truth.PASS)


def test_one_address_proves_nothing_for_another() -> None:
    text = printed(one=("220 a", "220 b", "220 c"), two=("blocked", "blocked", "blocked"))
    assert judge(ONE, HOSTS, text).truth is Truth.PASS
    assert judge(TWO, HOSTS, text).truth is Truth.FAIL


@pytest.mark.parametrize("text", ["", "bash: python3: command not found\n"])
def test_a_probe_that_printed_nothing_proves_nothing(text: str) -> None:
    assert judge(ONE, HOSTS, text).truth is Truth.UNKNOWN


def test_without_hosts_to_ask_nothing_is_proven() -> None:
    assert judge(ONE, (), "").truth is Truth.UNKNOWN


@pytest.fixture
def greeter() -> Iterator[str]:
    """A host that says 220 at its port 25, on a loopback address of its own."""
    with socket.socket() as listening:
        try:
            listening.bind(("127.0.0.25", 25))
        except PermissionError:
            pytest.skip("port 25 is for root")
        listening.listen()

        def greet() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = listening.accept()
                    with caller:
                        caller.sendall(b"220 mx.big.example\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield "127.0.0.25"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_probe_speaks_from_each_source_and_tells_a_closed_port(greeter: str) -> None:
    sources = [IPv4Address("127.0.0.3"), IPv4Address("127.0.0.4")]
    script = probe_script(sources, [greeter, "127.0.0.26", "no.such.host.invalid"])
    text = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, check=True).stdout
    said = {(row["source"], row["host"]): row["said"] for row in map(json.loads, text.splitlines())}
    for source in sources:
        assert said[str(source), greeter] == "220 mx.big.example"
        assert said[str(source), "127.0.0.26"] == "blocked"
        assert said[str(source), "no.such.host.invalid"] == "unresolved"
        assert judge(source, [greeter], text).truth is Truth.PASS
