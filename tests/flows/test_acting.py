"""Who may do what: every command that changes something asks first, and its deed bears the actor's name."""

import inspect
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.__main__ import app
from flows.acting import NotPermitted, who_may
from flows.commands.permission import VERBS
from flows.commands.terminal import Exit
from flows.recover import retry_failed_provisioning
from tests.support.command_words import ALL, made_up
from tests.support.product import Product
from tests.test_layout import deployments

LOOKS_ONLY = {
    "doctor", "database", "status", "migrate status", "migrate verify", "migrate doctor", "migrate new", "orders list",
    "addresses list", "return-path", "dns check", "dns keys", "readiness", "certificates list", "people list",
    "staff list", "backups", "migrate describe", "jobs list", "jobs inspect", "dns records", "dns plan", "proof write",
    "proof verify", "listings", "blocklists list", "blocklists test", "payments list", "subscriptions list",
    "alerts list", "notices list", "templates list", "campaigns list", "campaigns show", "suppressions list",
}  # fmt: skip
"""Commands that change nothing. A new one is entered here, or marked with @changes("noun.verb")."""


def flows(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, list(words), input=stdin)


def verb_of(command: Any) -> str | None:
    body = inspect.unwrap(command.callback)
    return VERBS.get(f"{body.__module__}.{body.__qualname__}")


CHANGING = sorted(set(ALL) - LOOKS_ONLY)


@pytest.fixture
def staffed(product: Product) -> UUID:
    """An installation with a platform tenant, one who may everything, and one who may nothing but retry jobs."""
    (platform,) = product.rows("INSERT INTO tenants (name) VALUES ('PenguinMails') RETURNING tenant_id")
    product.configure(STAFF__PLATFORM_TENANT=str(platform["tenant_id"]))
    assert flows("staff", "add", "root@penguin.example").exit_code == 0
    assert flows("--as", "root@penguin.example", "staff", "role", "support", "job.retry").exit_code == 0
    said = flows("--as", "root@penguin.example", "staff", "add", "help@penguin.example", "--role", "support")
    assert said.exit_code == 0, said.output
    return platform["tenant_id"]


@pytest.mark.parametrize("name", CHANGING)
def test_every_command_that_changes_something_has_a_verb(name: str) -> None:
    assert verb_of(ALL[name]), f"{name}: mark it with @changes, or enter it in LOOKS_ONLY"


def test_what_only_looks_is_there_and_has_no_verb() -> None:
    assert set(ALL) >= LOOKS_ONLY
    assert [name for name in LOOKS_ONLY if verb_of(ALL[name])] == []


def test_somebody_without_the_verb_is_refused_by_every_command(staffed: UUID) -> None:
    for name in CHANGING:
        if verb_of(ALL[name]) == "job.retry":
            continue
        said = flows("--as", "help@penguin.example", *name.split(), *made_up(ALL[name], {}, "core"), stdin="x")
        assert (name, said.exit_code) == (name, Exit.REJECTED), said.output
        assert f"may not {verb_of(ALL[name])}" in said.stderr, said.output


def test_nobody_and_a_stranger_are_refused(staffed: UUID) -> None:
    said = flows("cancel", str(uuid4()))
    assert (said.exit_code, "say --as EMAIL" in said.stderr) == (Exit.REJECTED, True)
    said = flows("--as", "mallory@elsewhere.example", "cancel", str(uuid4()))
    assert (said.exit_code, "is not on the staff" in said.stderr) == (Exit.REJECTED, True)


def test_who_has_left_may_nothing(staffed: UUID) -> None:
    assert flows("--as", "root@penguin.example", "staff", "leave", "help@penguin.example").exit_code == 0
    said = flows("--as", "help@penguin.example", "cancel", str(uuid4()))
    assert (said.exit_code, "is not on the staff" in said.stderr) == (Exit.REJECTED, True)


@pytest.mark.parametrize(
    "words",
    [
        ("leave", "root@penguin.example"),
        ("revoke", "root@penguin.example", "admin"),
        ("role", "admin", "job.retry"),
    ],
)
def test_the_last_who_can_change_the_staff_stays(staffed: UUID, words: tuple[str, ...]) -> None:
    said = flows("--as", "root@penguin.example", "staff", *words)
    assert (said.exit_code, "nobody could change the staff" in said.stderr) == (Exit.REJECTED, True)
    assert flows("--as", "root@penguin.example", "staff", "role", "night", "job.*").exit_code == 0


def test_a_deed_bears_the_name_of_who_did_it(staffed: UUID, product: Product) -> None:
    customer = product.sign_up()
    assert flows("--as", "root@penguin.example", "onboard", str(customer.uuid)).exit_code == Exit.WAITING
    run = product.run_of(customer)
    assert run["requested_by"] == "staff:root@penguin.example"
    flows("--as", "root@penguin.example", "cancel", str(run["id"]))
    flows("--as", "Root@Penguin.example", "secret", "put", "dns/x", "--tenant", str(customer.uuid), stdin="CANARY-1")
    told = product.rows("SELECT event, actor FROM infrastructure_events WHERE tenant_id = %s", customer.pk)
    by_name = {row["event"]: row["actor"] for row in told}
    assert by_name["run_cancel_requested"] == by_name["secret_put"] == "staff:root@penguin.example"


def test_without_staff_the_local_operator_is_bootstrap(product: Product) -> None:
    customer = product.sign_up()
    assert flows("onboard", str(customer.uuid)).exit_code == Exit.WAITING
    assert product.run_of(customer)["requested_by"].startswith("bootstrap:")


async def test_a_platform_tenant_without_staff_still_has_its_bootstrap(product: Product) -> None:
    customer = product.sign_up("platform")
    product.configure(STAFF__PLATFORM_TENANT=str(customer.uuid))
    assert (await who_may("run.retry")).startswith("bootstrap:")


async def test_a_platform_tenant_that_is_none_stops_everybody(product: Product) -> None:
    product.configure(STAFF__PLATFORM_TENANT=str(uuid4()))
    with pytest.raises(NotPermitted, match="is no tenant"):
        await who_may("run.retry")


async def test_an_empty_database_has_a_bootstrap_that_can_migrate_it(product: Product, empty_database: str) -> None:
    product.configure(STAFF__PLATFORM_TENANT=str(uuid4()), DATABASE__CORE_DSN=empty_database)
    assert (await who_may("schema.migrate")).startswith("bootstrap:")


async def test_a_flow_an_operator_starts_asks_as_well(staffed: UUID, product: Product) -> None:
    for actor in (None, "help@penguin.example"):
        state = await retry_failed_provisioning(uuid4(), actor=actor, return_state=True)
        assert (state.name, "run.retry" in str(state.message)) == ("Rejected", True)
    state = await retry_failed_provisioning(uuid4(), actor="root@penguin.example", return_state=True)
    assert "that may be retried" in str(state.message)


@pytest.mark.parametrize(
    "entry", [e for e in deployments() if e["name"] == "by-operator"], ids=lambda e: e["entrypoint"]
)
def test_every_flow_for_operators_takes_an_actor(entry: dict[str, str]) -> None:
    module, _, name = entry["entrypoint"].partition(":")
    assert "actor" in inspect.signature(getattr(import_module(module), name).fn).parameters
