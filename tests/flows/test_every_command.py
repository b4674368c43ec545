"""Whatever a command is told, and whatever is not there: an exit code and one sentence, never a traceback."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.__main__ import app
from flows.commands.terminal import Exit
from tests.support.command_words import ALL, made_up, names_something
from tests.support.product import Product

APART = frozenset({
    "serve", "install", "jobs work",  # go on until they are stopped, or need a server of Prefect's
    "backup", "drill",  # of everything: tests/flows/test_restoring.py
})  # fmt: skip
WALKED = sorted(name for name in ALL.keys() - APART if not name.startswith("migrate "))  # the schema's are sql's tests

NOBODYS: Mapping[str, str] = {
    "tenant": "nobody", "domain": "nobody.example", "address": "192.0.2.9", "email": "anna@nobody.example",
    "subject": "nobody.example", "value": "nobody.example", "decision": "abandon", "amount": "49", "status": "running",
    "to": "basic",
}  # fmt: skip
"""By a parameter's name: words that could be meant, of what is not there. Any other is `nobody`."""
MAKE_THINGS = frozenset({"secret put", "staff platform", "staff add", "staff role"})
OTHERWISE: Mapping[str, Exit] = {
    "campaigns add": Exit.USAGE,  # says neither --lead nor --all
    "dns check": Exit.WAITING, "readiness": Exit.WAITING, "listings": Exit.UNAVAILABLE,  # of any domain; no resolver
    "proof verify": Exit.USAGE,  # no such file
    "leads import": Exit.USAGE, "templates put": Exit.USAGE,  # likewise
}  # fmt: skip


def flows(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), input="x")


def walked(names: Iterable[str], meant: Mapping[str, str] = NOBODYS, otherwise: str = "nobody") -> dict[str, Result]:
    """What each said; whoever shows a traceback or says more than a sentence fails the test, all of them named."""
    said = {name: flows(*name.split(), *made_up(ALL[name], meant, otherwise)) for name in names}
    raised = {name: one.exception for name, one in said.items() if not isinstance(one.exception, SystemExit | None)}
    assert raised == {}
    assert {name: one.stderr for name, one in said.items() if len(one.stderr.strip().splitlines()) > 1} == {}
    return said


def codes(said: Mapping[str, Result]) -> dict[str, int]:
    return {name: one.exit_code for name, one in said.items()}


@pytest.fixture
def bare(product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Product:
    """An installation that has nothing, not even a resolver."""
    monkeypatch.chdir(tmp_path)
    product.configure(BACKUP__STORE=str(tmp_path / "store"), DNS__RESOLVER_PORT="1", DNS__TIMEOUT_SECONDS="1")
    return product


def test_what_is_not_there_is_rejected_by_every_command_that_names_it(bare: Product) -> None:
    bare.configure(STAFF__PLATFORM_TENANT=str(bare.sign_up().uuid))
    naming = [name for name in WALKED if names_something(ALL[name]) and name not in MAKE_THINGS]
    found = codes(walked(naming))
    assert found == {name: OTHERWISE.get(name, Exit.REJECTED) for name in naming}


def test_a_tenant_whose_run_has_no_server_yet_is_spoken_of_by_every_command(bare: Product) -> None:
    customer = bare.sign_up(subscription=None)
    bare.rows("UPDATE domains SET dns_host = 'rfc2136'")
    assert flows("onboard", str(customer.uuid)).exit_code == Exit.REJECTED
    said = walked(WALKED, {**NOBODYS, "tenant": str(customer.uuid), "domain": "acme.example"})
    assert said["dns plan"].exit_code == said["dns records"].exit_code == Exit.REJECTED
    assert "python -m flows onboard comes first" in said["dns plan"].stderr


def test_words_that_mean_nothing_are_a_sentence(bare: Product) -> None:
    found = codes(walked([name for name in WALKED if names_something(ALL[name])], {}, "'; \udcff --"))
    assert set(found.values()) <= {Exit.USAGE, Exit.REJECTED}, found


def test_a_database_that_nobody_migrated_is_one_sentence_for_every_command(bare: Product, empty_database: str) -> None:
    bare.configure(DATABASE__CORE_DSN=empty_database, DATABASE__ANALYTICS_DSN=empty_database)
    said = walked(name for name in WALKED if name != "doctor")  # which reports it: tests/flows/test_commands.py
    away = {name for name, one in said.items() if one.exit_code == Exit.UNAVAILABLE}
    assert {said[name].exit_code for name in said.keys() - away} <= {Exit.USAGE, Exit.REJECTED}  # before any look at it
    told = "database: the schema is not there or behind: python -m flows migrate up\n"
    assert {said[name].stderr for name in away} == {told}
    assert {"status", "certificates renew", "dns plan", "jobs retry"} <= away


def test_a_domain_that_two_claim_is_answered_for_whoever_is_named_or_proved_it(bare: Product) -> None:
    first, second = (bare.sign_up(name, domains=["both.example"], mailboxes=[]) for name in ("acme", "beta"))
    for words in (("dns", "keys"), ("dns", "rotate"), ("dns", "records")):
        said = flows(*words, "Both.example.")
        which = f"add --tenant, of {first.uuid}, {second.uuid}"
        told = f"both.example is claimed by several tenants and proven by none: {which}\n"
        assert (said.exit_code, said.stderr) == (Exit.REJECTED, told)
    for one in (first, second):
        assert flows("dns", "keys", "both.example", "--tenant", str(one.uuid)).exit_code == Exit.OK
        assert flows("dns", "consent", "both.example", "--tenant", str(one.uuid)).exit_code == Exit.OK
        assert flows("dns", "consent", "both.example", "--withdraw", "--tenant", str(one.uuid)).exit_code == Exit.OK
    asked = bare.rows("SELECT tenant_id FROM infrastructure_events WHERE event LIKE '%%mx_consent' ORDER BY id")
    assert [row["tenant_id"] for row in asked] == [first.pk, second.pk]
    assert flows("dns", "keys", "other.example", "--tenant", "acme").stderr == "tenant 'acme' has no other.example\n"
    bare.rows("UPDATE domains SET verification_status = 'verified' WHERE tenant_id = %s", second.pk)
    assert flows("dns", "keys", "both.example").exit_code == Exit.OK
    assert "has no records yet" in flows("dns", "records", "both.example").stderr
    assert flows("dns", "consent", "both.example").exit_code == Exit.OK
    asked = bare.rows("SELECT tenant_id FROM infrastructure_events WHERE event LIKE '%%mx_consent' ORDER BY id")
    assert [row["tenant_id"] for row in asked] == [first.pk, second.pk, second.pk]
