"""The operator's commands: documented exit codes, JSON that parses, errors in one sentence, no secret on any line."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import psycopg
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from flows.__main__ import EXIT_CODES, app
from flows.commands.describe import BEGINS, ENDS
from flows.commands.terminal import Exit
from flows.states import ONBOARDING_STEPS
from sql.migration_files import migrations_of
from tests.support.emulator import until
from tests.support.product import Customer, Product

ROOT = Path(__file__).parents[2]


def flows(*words: str, stdin: str = "") -> Result:
    """Run `python -m flows …` in this process, piped."""
    return CliRunner().invoke(app, list(words), input=stdin)


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize(("path", "command"), [pytest.param(*item, id=" ".join(item[0]) or "flows")
                                               for item in commands(typer.main.get_command(app))])  # fmt: skip
def test_every_command_says_what_it_does(path: tuple[str, ...], command: click.Command) -> None:
    said = flows(*path, "--help")
    assert said.exit_code == 0
    assert command.help
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or getattr(parameter, "help", None) or parameter.name in {
            "dry_run", "allow_data_loss"}, parameter.name  # fmt: skip


def test_the_exit_codes_are_documented() -> None:
    assert [int(code) for code in re.findall(r"(\d) [a-z]", EXIT_CODES)] == [int(code) for code in Exit]
    assert EXIT_CODES.split(" · ")[-1].split(",")[0] in " ".join(flows("--help").output.split())


def one_sentence(said: Result, code: Exit, words: str) -> None:
    """What went wrong stands on one line of standard error, and nowhere else."""
    assert said.exit_code == code, said.output
    assert words in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert "Traceback" not in said.output


def onboarded(product: Product, customer: Customer, *words: str) -> Result:
    return flows("onboard", str(customer.uuid), *words)


def test_a_wait_that_ends_by_itself_is_3(product: Product) -> None:
    customer = product.sign_up()
    said = onboarded(product, customer)
    assert said.exit_code == Exit.WAITING
    assert re.search(r"^  . order_server +\d", said.stdout, re.MULTILINE)
    assert "Waiting for provider: server" in said.stdout


def test_json_is_one_document_and_nothing_else(product: Product) -> None:
    customer = product.sign_up()
    said = onboarded(product, customer, "--json")
    document = json.loads(said.stdout)
    assert (said.exit_code, document["status"], document["tenant"]) == (3, "waiting_for_provider", str(customer.uuid))
    assert [row["step"] for row in document["steps"]] == list(ONBOARDING_STEPS[:3])
    assert json.loads(flows("status", "acme", "--json").stdout) == document
    (listed,) = json.loads(flows("status", "--json").stdout)
    assert listed == document


def test_a_wait_for_an_operator_is_4_and_a_refusal_5(product: Product) -> None:
    product.hostwinds.admin.fault("payment_declined", action="add_instance")
    said = onboarded(product, product.sign_up("acme"))
    assert (said.exit_code, "Waiting for operator" in said.stdout) == (Exit.WAITING_FOR_OPERATOR, True)
    said = onboarded(product, product.sign_up("beta", subscription=None))
    assert (said.exit_code, "no active subscription" in said.stdout) == (Exit.REJECTED, True)


def test_an_unknown_tenant_is_5(product: Product) -> None:
    one_sentence(flows("onboard", "nobody.example"), Exit.REJECTED, "no tenant 'nobody.example'")
    one_sentence(flows("status", str(uuid4())), Exit.REJECTED, "no tenant")


def test_a_name_that_two_tenants_share_is_asked_back(product: Product) -> None:
    product.sign_up("acme", domains=["a.example"])
    product.sign_up("Acme", domains=["b.example"])
    product.rows("UPDATE tenants SET name = 'acme'")
    one_sentence(flows("onboard", "acme"), Exit.REJECTED, "or more than one")
    assert flows("status", "a.example").exit_code == Exit.OK


def test_a_run_that_another_process_has_is_6(product: Product) -> None:
    customer = product.sign_up()
    onboarded(product, customer)
    lock = "SELECT pg_advisory_lock(hashtextextended('penguin-run:' || %s::text, 0))"
    with psycopg.connect(product.dsn, autocommit=True) as other:
        other.execute(lock, [product.run_of(customer)["id"]])
        assert onboarded(product, customer).exit_code == Exit.ALREADY_RUNNING


def test_the_same_request_twice_is_one_run(product: Product) -> None:
    customer = product.sign_up()
    for _ in range(2):
        assert onboarded(product, customer, "--request-id", "order-7").exit_code == Exit.WAITING
    assert product.run_of(customer)["idempotency_key"] == "order-7"


def test_a_database_that_is_away_is_7(product: Product) -> None:
    product.configure(DATABASE__CORE_DSN="postgresql://flows:CANARY-dsn@127.0.0.1:1/core")
    said = flows("status")
    one_sentence(said, Exit.UNAVAILABLE, "database")
    assert "CANARY" not in said.output


def test_a_setting_that_cannot_be_read_is_2_and_named(product: Product) -> None:
    product.configure(HOSTWINDS__BURST="many")
    one_sentence(flows("status"), Exit.USAGE, "hostwinds.burst")
    product.configure(HOSTWINDS__BURST="2", SEALING__KEYS="CANARY-key")
    said = flows("status")
    one_sentence(said, Exit.USAGE, "PENGUINMAILS_SEALING__KEYS is no JSON")
    assert "CANARY" not in said.output


@pytest.mark.parametrize("words", [("migrate", "up"), ("serve",), ("status",)], ids=" ".join)
@pytest.mark.parametrize("dsn", ["postgres//u:CANARY-dsn@127.0.0.1/x", "host=127.0.0.1 password=CANARY-dsn dbnam=x",
                                 "postgresql://u:CANARY-half@CANARY-rest@127.0.0.1/x"])  # fmt: skip
def test_a_mistyped_connection_string_is_not_shown(product: Product, dsn: str, words: tuple[str, ...]) -> None:
    product.configure(DATABASE__CORE_DSN=dsn)
    said = flows(*words)
    one_sentence(said, Exit.USAGE, "PENGUINMAILS_DATABASE__CORE_DSN is no connection string")
    assert "CANARY" not in said.output + str(said.exception)


def test_status_of_nothing_says_so(product: Product) -> None:
    assert flows("status").stdout == "no open run\n"
    product.sign_up()
    assert flows("status", "acme").stdout == "no run\n"


def test_a_dry_run_of_a_retry_says_what_it_keeps_and_costs_and_changes_nothing(product: Product) -> None:
    customer = product.sign_up()
    onboarded(product, customer)
    run = product.run_of(customer)
    said = flows("retry", str(run["id"]), "--dry-run")
    assert said.exit_code == Exit.OK
    keeps, looks, cost = said.stdout.splitlines()
    assert keeps == "keeps: admit, order_server"
    assert looks.startswith("looks at: await_server, secure_host")
    assert "costs nothing" in cost
    said = flows("retry", str(run["id"]), "--dry-run", "--from", "order_server")
    assert said.stdout.splitlines()[0] == "keeps: admit"
    assert product.run_of(customer) == run


def test_a_retry_goes_on_and_buys_nothing_twice(product: Product) -> None:
    customer = product.sign_up()
    onboarded(product, customer)
    said = flows("retry", str(product.run_of(customer)["id"]), "--from", "order_server", "--yes")
    assert said.exit_code == Exit.WAITING
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)


def test_a_retry_of_what_is_not_there_or_has_ended_is_refused(product: Product) -> None:
    one_sentence(flows("retry", str(uuid4())), Exit.REJECTED, "no run")
    customer = product.sign_up(subscription=None)
    onboarded(product, customer)
    run_id = str(product.run_of(customer)["id"])
    one_sentence(flows("retry", run_id, "--from", "nowhere"), Exit.USAGE, "no step 'nowhere'")
    said = flows("retry", run_id, "--yes")
    assert (said.exit_code, "begins anew" in said.stderr) == (Exit.REJECTED, True)


def test_a_retry_of_a_run_whose_place_is_taken_is_one_sentence(product: Product) -> None:
    customer = product.sign_up()
    onboarded(product, customer)
    run_id = str(product.run_of(customer)["id"])
    product.rows("UPDATE provisioning_runs SET status = 'failed', wait_reason = NULL, resume_at = NULL")
    onboarded(product, customer)
    one_sentence(flows("retry", run_id, "--yes"), Exit.REJECTED, f"python -m flows status {customer.uuid}")


def test_an_operator_adopts_the_server_whose_label_was_lost(product: Product) -> None:
    product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
    product.hostwinds.admin.fault("label_dropped", action="add_instance")
    customer = product.sign_up()
    assert onboarded(product, customer).exit_code == Exit.WAITING_FOR_OPERATOR
    order, server = product.order_of(customer), product.hostwinds.server()
    (line,) = flows("orders", "list").stdout.splitlines()
    assert line.split("\t")[:3] == [order["token"], "server", "needs_operator"]
    decide = ("orders", "decide", order["token"], "adopt")
    one_sentence(flows(*decide), Exit.USAGE, "adopt needs --server")
    one_sentence(flows(*decide, "--server", "999999"), Exit.REJECTED, "no server 999999 in our account")
    adopt = (*decide, "--server", str(server["serviceid"]))
    one_sentence(flows(*adopt, "--confirm", "1"), Exit.USAGE, "the confirmation is not its id: nothing was decided")
    assert product.order_of(customer)["state"] == "needs_operator"
    assert flows(*adopt, stdin=f"{server['serviceid']}\n").exit_code == Exit.OK
    (row,) = product.rows("SELECT status, hostwind_id FROM vps_instances")
    assert (row["status"], row["hostwind_id"]) == ("provisioning", str(server["serviceid"]))
    assert product.rows("SELECT 1 FROM infrastructure_events WHERE event = 'server_ordered'")
    assert flows("retry", str(order["run_id"]), "--yes").exit_code == Exit.WAITING
    settled = product.order_of(customer)
    assert (settled["state"], settled["external_ref"]) == ("fulfilled", str(server["serviceid"]))
    assert settled["decided_by"].startswith("bootstrap:")
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 1)


def test_a_server_that_another_order_has_or_asked_for_is_not_adopted(product: Product) -> None:
    other = product.sign_up("beta")
    onboarded(product, other)
    taken = product.order_of(other)["external_ref"]
    product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
    product.hostwinds.admin.fault("drop_before", action="add_instance")
    customer = product.sign_up()
    onboarded(product, customer)
    order = product.order_of(customer)
    adopt = ("orders", "decide", order["token"], "adopt", "--server")
    one_sentence(flows(*adopt, taken), Exit.REJECTED, f"server {taken} bears {product.order_of(other)['token']}")
    nameless = str(product.hostwinds.admin.create_in_panel("made by hand"))
    product.rows("UPDATE provider_orders SET external_ref = %s WHERE tenant_id = %s", nameless, other.pk)
    said = flows(*adopt, nameless, "--confirm", nameless)
    one_sentence(said, Exit.REJECTED, f"server {nameless} belongs to another order")
    assert product.order_of(customer)["state"] == "needs_operator"


def test_an_operator_says_that_nothing_was_made_and_it_is_ordered_again_once(product: Product) -> None:
    product.configure(HOSTWINDS__LISTED_WINDOW_MINUTES="0")
    product.hostwinds.admin.fault("drop_before", action="add_instance")
    customer = product.sign_up()
    onboarded(product, customer)
    order = product.order_of(customer)
    decide = ("orders", "decide", order["token"], "not_created")
    one_sentence(flows(*decide, "--confirm", "another"), Exit.USAGE, "nothing was decided")
    assert flows(*decide, "--confirm", order["token"]).exit_code == Exit.OK
    assert flows("retry", str(order["run_id"]), "--yes").exit_code == Exit.WAITING
    assert product.order_of(customer)["arming"] == 2
    assert product.hostwinds.server()["label"] == order["token"]
    one_sentence(flows(*decide, "--confirm", order["token"]), Exit.REJECTED, "needs no decision")


def test_an_abandoned_order_is_never_called_again(product: Product) -> None:
    product.hostwinds.admin.fault("payment_declined", action="add_instance")
    customer = product.sign_up()
    onboarded(product, customer)
    order = product.order_of(customer)
    assert flows("orders", "decide", order["token"], "abandon").exit_code == Exit.OK
    one_sentence(flows("orders", "decide", order["token"], "abandon"), Exit.REJECTED, "needs no decision")
    flows("retry", str(order["run_id"]), "--yes")
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (1, 0)
    assert f"orders decide {order['token']} not_created" in product.run_of(customer)["wait_detail"]
    (line,) = flows("orders", "list", "--abandoned").stdout.splitlines()
    assert line.split("\t")[:3] == [order["token"], "server", "abandoned"]
    decide = ("orders", "decide", order["token"], "not_created", "--confirm", order["token"])
    assert flows(*decide).exit_code == Exit.OK
    assert flows("retry", str(order["run_id"]), "--yes").exit_code == Exit.WAITING
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (2, 1)


def test_decisions_about_nothing_are_refused(product: Product) -> None:
    one_sentence(flows("orders", "decide", "pm-x", "abandon"), Exit.REJECTED, "no order pm-x")
    one_sentence(flows("orders", "decide", "pm-x", "forget"), Exit.USAGE, "no decision 'forget'")


def test_a_secret_enters_sealed_and_is_not_shown(product: Product) -> None:
    product.sign_up()
    one_sentence(flows("secret", "put", "dns/acme.example", stdin=" \n"), Exit.USAGE, "standard input is empty")
    said = flows("secret", "put", "dns/acme.example", "--tenant", "acme", stdin="CANARY-tsig\n")
    assert (said.exit_code, "CANARY" in said.output) == (Exit.OK, False)
    (row,) = product.rows("SELECT * FROM secrets")
    assert str(row[next(name for name in row if name.endswith("id") and str(row[name]) == said.stdout.strip())])
    assert b"CANARY" not in bytes(row["ciphertext"])


def test_the_schema_is_up_to_date_and_says_so_in_json(product: Product) -> None:
    said = flows("migrate", "status", "--json")
    assert said.exit_code == Exit.OK
    assert {(row["target"], len(row["pending"]), row["problem"]) for row in json.loads(said.stdout)} == {
        ("core", 0, None), ("analytics", 0, None)}  # fmt: skip
    assert "up to date" in flows("migrate", "up").stdout
    stands = str(len(migrations_of("core"))).zfill(4)
    for above in ("99", stands):
        said = flows("migrate", "down", "core", above)
        assert (said.exit_code, said.stdout) == (
            Exit.OK, f"core: stands at {stands}, nothing above {int(above):04} to take back\n"
        )  # fmt: skip
    one_sentence(flows("migrate", "down", "nowhere", "0"), Exit.USAGE, "no target 'nowhere'")


def test_a_database_that_goes_away_under_a_migration_is_7(product: Product) -> None:
    waits = "SELECT {} FROM pg_stat_activity WHERE application_name = 'penguin:migrate' AND wait_event = 'advisory'"
    with psycopg.connect(product.dsn, autocommit=True) as other, ThreadPoolExecutor(1) as thread:
        other.execute("SELECT pg_advisory_lock(hashtext('penguin_migrations'))")
        said = thread.submit(flows, "migrate", "up")
        until(lambda: product.rows(waits.format("1")), "it waits for the migrators' lock")
        product.rows(waits.format("pg_terminate_backend(pid)"))
        one_sentence(said.result(60), Exit.UNAVAILABLE, "database: terminating connection")


def test_a_page_is_not_written_from_a_database_that_is_behind(
    product: Product, empty_database: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGINS}\nold\n{ENDS}\n")
    product.configure(DATABASE__CORE_MIGRATION_DSN=empty_database)
    one_sentence(flows("migrate", "describe", "--into", str(page)), Exit.REJECTED, "core is not at the newest schema")
    assert page.read_text() == f"{BEGINS}\nold\n{ENDS}\n"


def verdicts(said: Result) -> dict[str, dict[str, Any]]:
    return {row["subject"]: row for row in json.loads(said.stdout)}


def test_the_doctor_names_what_fails_and_what_cures_it(product: Product) -> None:
    product.configure(
        HOSTWINDS__TEMPLATE="", DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT="1", DNS__TIMEOUT_SECONDS="1",
        MAIL_HOST__CERTIFICATE_ISSUER="acme",
    )  # fmt: skip
    said = flows("doctor", "--json")
    found = verdicts(said)
    assert said.exit_code == Exit.FAILED
    assert found["settings"]["truth"] == "fail"
    assert "PENGUINMAILS_HOSTWINDS__TEMPLATE" in found["settings"]["fix"]
    assert found["resolver"]["truth"] == "fail"
    unset = found["certificates"]
    assert (unset["truth"], unset["fix"]) == ("unknown", "set PENGUINMAILS_MAIL_HOST__ACME_DIRECTORY")
    assert (found["schema"]["truth"], found["provider"]["truth"], found["prefect"]["truth"]) == ("pass",) * 3
    assert product.hostwinds.admin.charges() == []


def test_the_doctor_looks_at_the_rest_when_no_database_answers(product: Product) -> None:
    product.configure(
        DATABASE__CORE_DSN="postgresql://flows:CANARY-dsn@127.0.0.1:1/core", DNS__RESOLVER_PORT="1",
        DNS__TIMEOUT_SECONDS="1", SEALING__KEYS="{}",
    )  # fmt: skip
    said = flows("doctor", "--json")
    found = verdicts(said)
    assert (found["databases"]["reason"], "127.0.0.1" in str(found["databases"]["found"])) == ("silent", True)
    assert "PENGUINMAILS_DATABASE__CORE_DSN" in found["databases"]["fix"]
    assert (found["schema"]["truth"], found["sealing key"]["truth"]) == ("unknown", "fail")
    assert "PENGUINMAILS_SEALING__KEYS" in found["sealing key"]["fix"]
    assert (found["provider"]["truth"], found["smtp filters"]["truth"]) == ("unknown", "pass")
    assert (said.exit_code, "CANARY" in said.output) == (Exit.FAILED, False)


def test_the_doctor_sends_whoever_has_an_empty_database_to_migrate(product: Product, empty_database: str) -> None:
    product.configure(DATABASE__CORE_DSN=empty_database, DNS__RESOLVER_PORT="1", DNS__TIMEOUT_SECONDS="1")
    found = verdicts(flows("doctor", "--json"))
    assert (found["schema"]["reason"], found["schema"]["fix"]) == ("pending", "python -m flows migrate up")
    assert "may not take" not in str(found["databases"])


def test_the_doctor_names_the_ipv4_trap_of_a_refused_key(product: Product) -> None:
    product.configure(HOSTWINDS__API_KEY="CANARY-wrong", DNS__RESOLVER_PORT="1", DNS__TIMEOUT_SECONDS="1")
    said = flows("doctor", "--json")
    found = verdicts(said)
    for refused in (found["provider"], found["smtp filters"]):
        assert "list this worker's IPv4 address" in refused["fix"]
        assert refused["fix"] not in str(refused["found"])
    assert "CANARY" not in said.output


def test_the_doctor_prints_what_can_be_ordered_and_asks_nothing_that_costs(product: Product) -> None:
    product.configure(DNS__RESOLVER_PORT="1", DNS__TIMEOUT_SECONDS="1")
    said = flows("doctor", "--catalogues")
    assert "get_price_list" in said.output
    probed = verdicts(flows("doctor", "--probe-actions", "--json"))
    assert probed["call get_instance"]["truth"] == "pass"
    assert product.hostwinds.admin.charges() == []


def test_the_doctor_finds_a_server_that_is_paid_and_in_no_table(product: Product) -> None:
    product.configure(DNS__RESOLVER_PORT="1", DNS__TIMEOUT_SECONDS="1")
    asyncio.run(product.onboard(product.sign_up()))
    assert verdicts(flows("doctor", "--json"))["provider"]["truth"] == "pass"
    (token,) = (row["instance_id"] for row in product.rows("SELECT instance_id FROM vps_instances"))
    product.rows("UPDATE vps_instances SET instance_id = 'pm-test-gone'")
    found = verdicts(flows("doctor", "--json"))["provider"]
    assert found["truth"] == "fail"
    assert token in str(found["found"])
    assert "end it in the provider's panel" in found["fix"]


def test_a_dsn_of_ones_own_is_not_printed(product: Product) -> None:
    said = flows("database")
    one_sentence(said, Exit.USAGE, "is set")
    assert product.dsn not in said.output


def test_install_without_a_server_says_how_to_start_one(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    one_sentence(flows("install"), Exit.USAGE, "PREFECT_API_URL is not set")


def test_as_a_process_of_its_own_it_prints_plain_lines_and_its_exit_code(product: Product) -> None:
    customer = product.sign_up()
    done = subprocess.run(
        [sys.executable, "-m", "flows", "onboard", str(customer.uuid)],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == Exit.WAITING, done.stderr
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Waiting for provider: ")
    assert "CANARY" not in done.stdout + done.stderr
