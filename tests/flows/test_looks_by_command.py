"""Looks by command with rubbish, without a resolver, without a database: one sentence and its exit code."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.__main__ import app
from flows.commands.terminal import Exit
from tests.support.dns_zone import Internet, internet
from tests.support.product import Product

ROOT = Path(__file__).parents[2]
LOOKS = [("dns", "check"), ("readiness",), ("listings",)]
RUBBISH = [
    "", " ", ".", "..", "a..b", "-x.example", "com", "x" * 64 + ".example", ("a" * 60 + ".") * 5 + "example",
    "a" * 5000, "\x1b[2Jx.example", "acme.example\x00", "acme example", "xn--zzzz--.example", "fa\u00df.example",
    "\udcff.example", "1.2.3", "999.1.1.1", "*.acme.example", "_dmarc.acme.example", "http://acme.example/",
    "anna@acme.example", "acme.example,other.example", "$(id).example", "10.0.0.0/8", "fe80::1%eth0",
]  # fmt: skip
# A process that was started in the background ignores the key that interrupts; this one hears it.
HEARING = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "runpy.run_module('flows', run_name='__main__')"
)
NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


async def flows(*words: str) -> Result:
    """In a thread: a command has a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


def said(told: Result, code: Exit) -> str:
    """The one sentence on standard error, and no traceback behind it."""
    assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
    assert told.exit_code == code, told.output
    (line,) = told.stderr.splitlines()
    assert line
    assert line.isprintable()
    return line


@pytest.fixture
async def dns() -> AsyncIterator[Internet]:
    async with internet("acme.example") as made:
        yield made


@pytest.fixture
def installed(product: Product, dns: Internet) -> Product:
    product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(dns.port), DNS__TIMEOUT_SECONDS="1")
    return product


async def test_rubbish_is_a_mistake_in_usage_and_asks_nobody_anything(installed: Product, dns: Internet) -> None:
    for look in LOOKS:
        for word in RUBBISH:
            said(await flows(*look, "--", word), Exit.USAGE)
    assert dns.questions == 0


@pytest.mark.parametrize("look", [("dns", "check"), ("readiness",)])
@pytest.mark.parametrize("selector", ["", "..", "x" * 64, "\x1b[2J", "a b", "p\u00df"])
async def test_a_selector_that_no_name_can_have_has_a_verdict_and_no_traceback(
    installed: Product, look: tuple[str, ...], selector: str
) -> None:
    told = await flows(*look, "acme.example", "--selector", selector)
    assert isinstance(told.exception, SystemExit), told.exception
    assert told.exit_code in {Exit.FAILED, Exit.USAGE, Exit.WAITING}
    assert "\x1b" not in told.output


@pytest.mark.parametrize("word", ["", "x", "300.1.1.1", "::1", "1.2.3.4/32"])
async def test_an_address_that_is_none_is_a_mistake_in_usage(installed: Product, word: str) -> None:
    said(await flows("readiness", "acme.example", "--ip", word), Exit.USAGE)


async def test_a_domain_that_does_not_exist_is_wrong_and_is_not_a_fault_of_the_command(installed: Product) -> None:
    told = await flows("dns", "check", "nobody.acme.example")
    assert told.exit_code == Exit.FAILED
    assert told.stderr == ""
    told = await flows("readiness", "nobody.acme.example")
    assert told.exit_code == Exit.FAILED


@pytest.mark.parametrize(
    ("look", "code"), list(zip(LOOKS, (Exit.WAITING, Exit.WAITING, Exit.UNAVAILABLE), strict=True))
)
async def test_without_a_resolver_nothing_is_known_and_nothing_is_called_wrong(
    installed: Product, look: tuple[str, ...], code: Exit
) -> None:
    installed.configure(DNS__RESOLVER_PORT="9", DNS__TIMEOUT_SECONDS="0.2")
    told = await flows(*look, "acme.example")
    assert told.exit_code == code
    assert told.stderr == ""
    assert "timeout" in told.stdout or "not_licensed" in told.stdout
    assert not {"WRONG", "LISTED", "NO"} & {cell for line in told.stdout.splitlines() for cell in line.split("\t")}


@pytest.mark.parametrize("look", LOOKS)
async def test_without_a_database_one_sentence_says_so(installed: Product, look: tuple[str, ...]) -> None:
    installed.configure(DATABASE__CORE_DSN=NOWHERE)
    assert "database" in said(await flows(*look, "acme.example"), Exit.UNAVAILABLE)


async def test_an_internationalised_domain_and_a_loud_address_are_asked_for_in_their_one_form(
    installed: Product, dns: Internet
) -> None:
    installed.configure(BLOCKLISTS__PUBLIC_MIRRORS_ALLOWED="true")
    assert '"subject": "xn--ls8h.example"' in (await flows("listings", "\U0001f4a9.Example.", "--json")).stdout
    assert '"subject": "2001:db8::1"' in (await flows("listings", "2001:0DB8:0::1", "--json")).stdout


def test_a_watch_that_is_interrupted_ends_with_a_sentence(product: Product) -> None:
    product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT="9", DNS__TIMEOUT_SECONDS="0.2")
    watching = subprocess.Popen(
        [sys.executable, "-c", HEARING, "dns", "check", "acme.example", "--watch"], cwd=ROOT,
        env={**os.environ, **product.settings}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stdout is not None
    assert "unknown" in watching.stdout.readline()
    time.sleep(1)  # it waits for its next look
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == Exit.FAILED
    assert err.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in err
