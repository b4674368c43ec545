"""templates, campaigns and suppressions as an operator uses them."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.__main__ import app
from tests.support.backups import Installation

LATER = "2999-01-01T09:00:00+00:00"


def flows(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def done(*words: str) -> str:
    said = flows(*words)
    assert said.exit_code == 0, said.output
    return said.output


def refused(code: int, *words: str) -> str:
    said = flows(*words)
    assert said.exit_code == code, said.output
    assert len(said.stderr.strip().splitlines()) == 1, said.stderr
    return said.stderr


@pytest.fixture
def drafted(installation: Installation, tmp_path: Path) -> Installation:
    """Tenant acme with twenty leads, two mailboxes, a template and a drafted campaign, number 1."""
    installation.rows(
        """
        INSERT INTO email_accounts (tenant_id, email_address)
        VALUES (1, 'a@acme.example'), (1, 'b@acme.example'), (2, 'c@beta.example')
        """
    )
    text = tmp_path / "hello.txt"
    text.write_text("Hello {{first_name}}")
    done("templates", "put", "acme", "hello", str(text), "--subject", "Hello")
    assert "campaign 1: draft" in done("campaigns", "create", "acme", "spring", "--template", "hello")
    return installation


def test_a_campaign_from_its_template_to_its_end(drafted: Installation) -> None:
    done("suppressions", "add", "acme", "7@acme.example")
    from_both = ("--from", "a@acme.example", "--from", "B@acme.example")
    assert "2 messages" in done(
        "campaigns", "add", "acme", "1", *from_both, "--lead", "1@acme.example", "--lead", "2@acme.example"
    )
    assert "17 messages" in done("campaigns", "add", "acme", "1", *from_both, "--all")
    assert "0 messages" in done("campaigns", "add", "acme", "1", *from_both, "--all")
    done("campaigns", "move", "acme", "1", "scheduled", "--at", LATER)
    done("campaigns", "move", "acme", "1", "running")
    done("campaigns", "move", "acme", "1", "cancelled")
    shown = json.loads(done("campaigns", "show", "acme", "1", "--json"))
    assert (shown["status"], shown["messages"]) == ("cancelled", {"cancelled": 19})
    (listed,) = json.loads(done("campaigns", "list", "acme", "--json"))
    assert listed["campaign_name"] == "spring"
    assert json.loads(done("campaigns", "list", "beta", "--json")) == []
    moved = drafted.rows(
        """
        SELECT from_status, to_status, actor LIKE 'bootstrap:%' FROM infrastructure_events
         WHERE tenant_id = 1 AND event = 'campaign_moved' ORDER BY id
        """
    )
    assert moved == [("draft", "scheduled", True), ("scheduled", "running", True), ("running", "cancelled", True)]


def test_a_move_that_is_not_allowed_is_refused_in_a_sentence(drafted: Installation) -> None:
    said = refused(5, "campaigns", "move", "acme", "1", "completed")
    assert "campaign 1: it is draft, and from there becomes scheduled, running or cancelled, not completed" in said
    refused(2, "campaigns", "move", "acme", "1", "gone")
    refused(2, "campaigns", "move", "acme", "1", "scheduled")
    refused(2, "campaigns", "move", "acme", "1", "scheduled", "--at", "2001-01-01T00:00:00+00:00")
    refused(2, "campaigns", "move", "acme", "1", "running", "--at", LATER)
    done("campaigns", "move", "acme", "1", "cancelled")
    assert "and stays so" in refused(5, "campaigns", "move", "acme", "1", "running")
    said = refused(5, "campaigns", "add", "acme", "1", "--from", "a@acme.example", "--all")
    assert "takes nobody more: it is cancelled" in said
    assert drafted.rows("SELECT status FROM campaigns") == [("cancelled",)]


def test_what_is_another_tenants_is_not_there(drafted: Installation) -> None:
    for words in (
        ("campaigns", "show", "beta", "1"),
        ("campaigns", "move", "beta", "1", "running"),
        ("campaigns", "add", "beta", "1", "--from", "c@beta.example", "--all"),
        ("campaigns", "create", "beta", "theft", "--template", "hello"),
        ("campaigns", "add", "acme", "1", "--from", "c@beta.example", "--all"),
        ("templates", "retire", "beta", "hello"),
    ):
        refused(5, *words)
    assert drafted.rows("SELECT count(*) FROM emails") == [(0,)]


def test_who_is_unknown_is_named_and_nobody_is_added(drafted: Installation) -> None:
    sender = ("--from", "a@acme.example")
    said = refused(5, "campaigns", "add", "acme", "1", *sender, "--lead", "1@acme.example", "--lead", "x@acme.example")
    assert "no lead: x@acme.example" in said
    refused(2, "campaigns", "add", "acme", "1", *sender)
    refused(2, "campaigns", "add", "acme", "1", *sender, "--all", "--lead", "1@acme.example")
    assert drafted.rows("SELECT count(*) FROM emails") == [(0,)]


def test_a_retired_template_begins_no_campaign(drafted: Installation) -> None:
    done("templates", "retire", "acme", "hello")
    assert "no template 'hello' in use" in refused(5, "campaigns", "create", "acme", "again", "--template", "hello")
    (listed,) = json.loads(done("templates", "list", "acme", "--json"))
    assert listed["is_active"] is False


def test_whoever_is_suppressed_gets_no_queued_message_either(drafted: Installation) -> None:
    done("campaigns", "add", "acme", "1", "--from", "a@acme.example", "--all")
    assert "1 queued" in done("suppressions", "add", "acme", "3@Acme.example", "--reason", "complaint")
    assert "19 queued" in done("suppressions", "add", "acme", "acme.example", "--until", LATER)
    listed = json.loads(done("suppressions", "list", "acme", "--json"))
    assert [(one["scope"], one["value"]) for one in listed] == [
        ("domain", "acme.example"),
        ("address", "3@acme.example"),
    ]
    assert "the recipient's own word" in refused(5, "suppressions", "lift", "acme", "3@acme.example")
    done("suppressions", "add", "acme", "4@acme.example")
    done("suppressions", "add", "acme", "4@acme.example", "--reason", "unsubscribe")
    done("suppressions", "add", "acme", "4@acme.example", "--reason", "manual")
    assert "unsubscribe" in refused(5, "suppressions", "lift", "acme", "4@acme.example")
    done("suppressions", "lift", "acme", "acme.example")
    refused(5, "suppressions", "lift", "acme", "acme.example")
    refused(2, "suppressions", "add", "acme", "no address at all")
    assert len(json.loads(done("suppressions", "list", "acme", "--json"))) == 2
