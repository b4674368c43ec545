"""What an operator sees of runs, once and for as long as it takes."""

import json
import re
import subprocess
import sys
import time

from typer.testing import CliRunner

from flows.__main__ import app
from flows.commands.status import SHOWN, print_run, tell_changes
from flows.commands.terminal import Exit
from tests.support.product import Customer, Product

DOCUMENT = {
    "run": "r1", "tenant_name": "Acme", "status": "waiting_for_dns", "detail": "publish it", "resume_at": None,
    "deadline_at": None, "steps": [{"step": "admit", "status": "succeeded", "seconds": "0.1 s"}], "proofs": [],
}  # fmt: skip


def parked(product: Product) -> Customer:
    """A tenant whose run waits for its server."""
    customer = product.sign_up()
    CliRunner().invoke(app, ["onboard", str(customer.uuid)])
    return customer


def test_a_wait_says_when_it_is_looked_at_and_when_a_person_is_asked(product: Product) -> None:
    parked(product)
    said = CliRunner().invoke(app, ["status", "acme"]).stdout
    assert "waiting_for_provider" in said
    assert re.search(r"looked at again at \d\d:\d\d:\d\d, and a person is asked after \d{4}-", said)


def test_in_a_pipe_each_change_is_told_once(capsys) -> None:
    told: set[tuple[str, ...]] = set()
    tell_changes([DOCUMENT], told)
    tell_changes([DOCUMENT], told)
    tell_changes([{**DOCUMENT, "status": "running", "detail": None}], told)
    assert capsys.readouterr().out.splitlines() == [
        "Acme\tadmit\tsucceeded\t0.1 s", "Acme\twaiting_for_dns\tpublish it", "Acme\trunning\t",
    ]  # fmt: skip


def test_a_proof_is_named_by_domain_address_and_receiver(capsys) -> None:
    proof = {"domain": "a.example", "ip": "192.0.2.1", "receiver": "c@mx.example", "verdict": "pass", "at": "noon"}
    print_run({**DOCUMENT, "proofs": [proof]})
    assert "proof of a.example from 192.0.2.1 at c@mx.example: pass (noon)" in capsys.readouterr().out


def test_watching_a_tenant_ends_with_its_run(product: Product) -> None:
    customer = parked(product)
    words = [sys.executable, "-m", "flows", "status", str(customer.uuid), "--watch", "--every", "0.1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        while "waiting_for_provider" not in watching.stdout.readline():
            assert watching.poll() is None
        time.sleep(0.5)
        assert watching.poll() is None
        product.rows("UPDATE provisioning_runs SET status = 'running', wait_reason = NULL, resume_at = NULL")
        product.rows("UPDATE provisioning_runs SET status = 'cancelled', finished_at = now()")
        assert watching.wait(60) == Exit.OK
        assert "cancelled" in watching.stdout.read()


def test_an_open_run_is_shown_however_many_ended_after_it(product: Product) -> None:
    waits = parked(product)
    product.rows("UPDATE provisioning_runs SET wait_reason = 'operator', resume_at = NULL")
    others(product, "succeeded", 101)
    (shown,) = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert shown["tenant"] == str(waits.uuid)


def test_a_failed_run_is_shown_until_another_followed_it(product: Product) -> None:
    others(product, "failed", 3)
    assert len(json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)) == 1


def test_what_is_too_much_to_read_is_counted_and_what_calls_a_person_comes_first(product: Product) -> None:
    waits = parked(product)
    product.rows("UPDATE provisioning_runs SET wait_reason = 'operator', resume_at = NULL")
    others(product, "pending", SHOWN + 1)
    said = CliRunner().invoke(app, ["status"]).stdout.splitlines()
    assert said[0].startswith("acme  waiting_for_operator")
    assert said[-1] == "and 2 more open runs: python -m flows status --json has all"
    every = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert (len(every), every[0]["tenant"]) == (SHOWN + 2, str(waits.uuid))


def others(product: Product, status: str, count: int) -> None:
    """Runs of another tenant that came later; those that live have targets of their own."""
    busy = product.sign_up("busy")
    product.rows(
        "INSERT INTO provisioning_runs (tenant_id, kind, target, idempotency_key, requested_by, status, created_at,"
        " finished_at) SELECT %s, 'onboard', CASE %s WHEN 'pending' THEN n::text ELSE '' END, 'k' || n, 'test', %s,"
        " now() + n * interval '1 second', CASE %s WHEN 'pending' THEN NULL ELSE now() END"
        " FROM generate_series(1, %s) n",
        busy.pk, status, status, status, count,
    )  # fmt: skip


def test_watching_and_json_exclude_each_other(product: Product) -> None:
    assert CliRunner().invoke(app, ["status", "--watch", "--json"]).exit_code == Exit.USAGE
