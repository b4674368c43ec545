"""The three programs that run on a receiver, tried where they lie."""

import importlib.util
import io
import json
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path
from types import ModuleType

import pytest

from sandbox.manners import MANNERS, rules_for

PROGRAMS = Path(__file__).parents[2] / "sandbox/images/receiver/files/usr/local/bin"
ID = b"mx.bigmail.example"


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PROGRAMS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


filing, policy = program("receiver_filing"), program("receiver_policy")
OURS = b"Authentication-Results: mx.bigmail.example; "
HOP = b"Received: from h (h [198.51.100.1])\n\tby mx.bigmail.example (Postfix)\n"


def test_findings_above_our_hop_become_one_field_on_top() -> None:
    message = (
        b"Return-Path: <a@acme.example>\n" + OURS + b"dmarc=pass\n" + OURS + b"dkim=pass\n\theader.d=acme.example\n"
        + OURS + b"spf=pass (a; b)\n" + HOP + b"Subject: s\n\nbody\n\nmore\n"
    )  # fmt: skip
    assert filing.gathered(message, ID) == (
        b"Authentication-Results: mx.bigmail.example;\n\tspf=pass (a; b);\n"
        b"\tdkim=pass header.d=acme.example;\n\tdmarc=pass\n"
        b"Return-Path: <a@acme.example>\n" + HOP + b"Subject: s\n\nbody\n\nmore\n"
    )


@pytest.mark.parametrize(
    "field",
    [
        OURS + b"dkim=pass\n",
        b"Authentication-Results: mx.bigmail.example;\n dkim=pass\n",
        b"AUTHENTICATION-RESULTS: x\n",
    ],
)
def test_a_field_below_our_hop_is_left_as_it_came(field: bytes) -> None:
    message = OURS + b"spf=fail\n" + HOP + field + b"Subject: s\n\nbody\n"
    assert filing.gathered(message, ID).endswith(HOP + field + b"Subject: s\n\nbody\n")


def test_findings_of_another_server_above_our_hop_stay() -> None:
    foreign = b"Authentication-Results: other.example; spf=pass\n"
    assert foreign in filing.gathered(foreign + OURS + b"spf=fail\n" + HOP + b"\nbody\n", ID)


def test_a_message_without_findings_is_not_touched() -> None:
    message = b"Return-Path: <>\n" + HOP + b"Subject: s\n\nbody\n"
    assert filing.gathered(message, ID) == message


def decided(path: Path, question: dict[str, str], *rules: dict[str, object]) -> str:
    if rules:
        path.write_text(json.dumps(rules))
    return policy.decide(question, path)


def test_the_first_rule_that_matches_decides(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    first = {"match": {"sender": "@acme.example", "client_address": "198.51.100.1"}, "action": "451 4.7.1 later"}
    second = {"match": {"sender": "@acme.example"}, "action": "550 5.7.1 never"}
    asked = {"sender": "a@acme.example", "client_address": "198.51.100.1"}
    assert decided(rules, asked, first, second) == "451 4.7.1 later"
    assert decided(rules, {**asked, "client_address": "198.51.100.2"}) == "550 5.7.1 never"
    assert decided(rules, {"sender": "a@beta.example"}) == "DUNNO"


def test_a_used_up_rule_is_passed_over(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rule = {"match": {"sender": "@acme.example"}, "action": "451 4.7.1 later", "left": 2}
    asked = {"sender": "a@acme.example"}
    assert [decided(rules, asked, rule), decided(rules, asked), decided(rules, asked)] == ["451 4.7.1 later"] * 2 + [
        "DUNNO"
    ]


ASKED = {"sender": "a@acme.example", "recipient": "c@livemail.example", "client_address": "198.51.100.1"}


def test_greylisting_ends_for_each_contact_by_itself(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(rules_for("greylist", seconds=60)))
    said = "451 4.7.1 greylisted, come back later"
    neighbour = {**ASKED, "client_address": "198.51.100.200"}  # of the same /24: large senders retry from another
    assert [policy.decide(ASKED, rules, 0), policy.decide(ASKED, rules, 59)] == [said, said]
    assert [policy.decide(ASKED, rules, 60), policy.decide(neighbour, rules, 60)] == ["DUNNO", "DUNNO"]
    assert policy.decide({**ASKED, "sender": "b@acme.example"}, rules, 61) == said


def test_throttling_counts_each_client_over_its_seconds(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(rules_for("throttle", above=2, seconds=10)))
    said = [policy.decide(ASKED, rules, now) for now in (0, 1, 2, 30)]
    assert [answer.partition(" ")[0] for answer in said] == ["DUNNO", "DUNNO", "421", "DUNNO"]
    assert policy.decide({**ASKED, "client_address": "198.51.100.2"}, rules, 30) == "DUNNO"


@pytest.mark.parametrize("manner", MANNERS)
def test_every_manner_but_accepting_is_an_action_that_ends(tmp_path: Path, manner: str) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(rules_for(manner, sender="@acme.example", times=1, text="x")))
    assert (policy.decide(ASKED, rules) == "DUNNO") == (manner == "accept")
    assert policy.decide(ASKED, rules) == "DUNNO"
    assert policy.decide({**ASKED, "sender": "a@beta.example"}, rules) == "DUNNO"


def test_a_manner_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="greylist"):
        rules_for("shout")


def test_without_a_rule_file_there_is_no_opinion(tmp_path: Path) -> None:
    assert policy.decide({"sender": "a@acme.example"}, tmp_path / "none") == "DUNNO"


def test_postfix_is_answered_for_each_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("request=a\nsender=x\n\nrequest=b\n\n"))
    policy.main()
    assert capsys.readouterr().out == "action=DUNNO\n\n" * 2


@pytest.mark.parametrize(
    ("kind", "part"), [("complaint", "message/feedback-report"), ("bounce", "message/delivery-status")]
)
def test_reports_have_their_machine_readable_part(kind: str, part: str) -> None:
    original = b"Return-Path: <anna@acme.example>\nSubject: hi\nMessage-ID: <1@acme.example>\n\nbody\n"
    words = [sys.executable, str(PROGRAMS / "receiver_report.py"), kind, "bigmail.example", "carol@bigmail.example"]
    done = subprocess.run(
        [*words, "198.51.100.1", "5.7.1", "550 5.7.1 no"], input=original, capture_output=True, check=True
    )
    report = message_from_bytes(done.stdout)
    assert report["To"] == "anna@acme.example"
    assert [piece.get_content_type() for piece in report.get_payload()] == ["text/plain", part, "text/rfc822-headers"]
    assert "<1@acme.example>" in report.get_payload()[2].get_payload()
