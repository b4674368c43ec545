"""What became of a message that is in no mailbox: the mail log's words, and what follows from them."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from flows.policy.proof import Fate, fate_script, judge_absence, judge_placement, next_look, read_fate
from flows.policy.verdict import Truth

ID = "<0a1b@acme.example>"
HEAD = "2026-11-22T13:00:00.1+00:00 mail postfix/"
LOG = f"""\
{HEAD}cleanup[11]: 4D1F: message-id=<other@acme.example>
{HEAD}ip1/smtp[12]: 4D1F: to=<x@bigmail.example>, relay=none, dsn=5.0.0, status=bounced (not ours)
{HEAD}cleanup[13]: 4D2A: message-id={ID}
"""
DEFERRED = (
    f"{HEAD}ip1/smtp[14]: 4D2A: to=<carol@livemail.example>, relay=mx.livemail.example[203.0.113.29]:25, delay=0.5,"
    " delays=0.1/0/0.2/0.2, dsn=4.7.1, status=deferred (host mx.livemail.example[203.0.113.29] said: 451 4.7.1"
    " <carol@livemail.example>: Recipient address rejected: greylisted, come back later (in reply to RCPT TO command))"
)
BOUNCED = DEFERRED.replace("4.7.1", "5.7.1").replace("451", "550").replace("deferred", "bounced")
SENT = DEFERRED[: DEFERRED.index("dsn=")] + "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 77)"
TIMED_OUT = (
    DEFERRED[: DEFERRED.index("dsn=")] + "dsn=4.4.1, status=deferred (connect to mx[203.0.113.29]:25: timed out)"
)


def printed(tmp_path: Path, *tries: str, log: str = LOG) -> tuple[str, str]:
    """What the script prints on a host with this log, and the queue ids it asked Postfix to try again."""
    (tmp_path / "mail.log").write_text(log + "".join(f"{one}\n" for one in tries))
    (tmp_path / "postqueue").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (tmp_path / "postqueue").chmod(0o755)
    script = fate_script(ID).replace("/var/log/", f"{tmp_path}/")
    done = subprocess.run(["sh", "-c", f"PATH={tmp_path}:$PATH\n{script}"], capture_output=True, text=True, check=True)
    asked = tmp_path / "asked"
    return done.stdout, asked.read_text() if asked.exists() else ""


@pytest.mark.parametrize(
    ("tries", "fate"),
    [
        ((), Fate("queued")),
        ((DEFERRED,), Fate("deferred", "4.7.1", "451 4.7.1 <carol@livemail.example>: Recipient address rejected:"
                                                " greylisted, come back later")),
        ((BOUNCED,), Fate("bounced", "5.7.1", "550 5.7.1 <carol@livemail.example>: Recipient address rejected:"
                                              " greylisted, come back later")),
        ((DEFERRED, SENT), Fate("sent", "2.0.0", "250 2.0.0 Ok: queued as 77")),
        ((TIMED_OUT,), Fate("deferred", "4.4.1", "connect to mx[203.0.113.29]:25: timed out")),
        ((DEFERRED.replace("status=deferred", "status=expired"),), Fate("bounced", "4.7.1", "451 4.7.1 <carol@"
         "livemail.example>: Recipient address rejected: greylisted, come back later")),
    ],
    ids=["queued", "deferred", "refused", "sent at last", "not reached", "given up"],
)  # fmt: skip
def test_the_last_try_of_our_message_decides(tmp_path: Path, tries: tuple[str, ...], fate: Fate) -> None:
    assert read_fate(printed(tmp_path, *tries)[0]) == fate


def test_a_message_the_host_never_saw_is_unseen(tmp_path: Path) -> None:
    assert read_fate(printed(tmp_path, log="")[0]) == Fate("unseen")
    assert read_fate("") == Fate("unseen")


@pytest.mark.parametrize(
    ("tries", "asked"), [((DEFERRED,), "-i 4D2A\n"), ((DEFERRED, SENT), ""), ((BOUNCED,), ""), ((), "")]
)
def test_a_look_is_a_retry_of_what_is_deferred_and_of_nothing_else(
    tmp_path: Path, tries: tuple[str, ...], asked: str
) -> None:
    assert printed(tmp_path, *tries)[1] == asked


def test_a_message_id_cannot_leave_its_quotes(tmp_path: Path) -> None:
    script = fate_script("<x'; touch /tmp/owned; '@acme.example>")
    done = subprocess.run(["sh", "-n", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, "'\"'\"'" in script) == (0, True)


@pytest.mark.parametrize(
    ("fate", "hours", "truth", "reason"),
    [
        (Fate("unseen"), 30, Truth.UNKNOWN, "unseen"),
        (Fate("queued"), 30, Truth.UNKNOWN, "queued"),
        (Fate("deferred", "4.7.1", "later"), 30, Truth.UNKNOWN, "deferred"),
        (Fate("bounced", "5.7.1", "550 never"), 0, Truth.FAIL, "refused"),
        (Fate("sent", "2.0.0", "250 ok"), 0.9, Truth.UNKNOWN, "sent"),
        (Fate("sent", "2.0.0", "250 ok"), 1.1, Truth.FAIL, "lost"),
    ],
)
def test_only_a_refusal_and_a_loss_are_failures(fate: Fate, hours: float, truth: Truth, reason: str) -> None:
    verdict = judge_absence(fate, "mx.livemail.example", timedelta(hours=hours))
    assert (verdict.truth, verdict.reason) == (truth, reason)
    assert (fate.words in verdict.fix and "mx.livemail.example" in verdict.fix) or truth is Truth.UNKNOWN


def test_a_strangers_words_are_bounded() -> None:
    assert len(read_fate(f"queue X\n{DEFERRED.replace('greylisted', 'x' * 5000)}").words) == 300


def test_the_spam_folder_is_a_failure_and_the_inbox_is_not() -> None:
    assert judge_placement("INBOX").truth is Truth.PASS
    junk = judge_placement("Junk")
    assert (junk.truth, junk.reason, junk.found) == (Truth.FAIL, "spam_folder", ("Junk",))


def test_looks_grow_rarer() -> None:
    pauses = [next_look(timedelta(minutes=age)) for age in (0, 9, 10, 59, 60, 60 * 24)]
    assert [pause.total_seconds() / 60 for pause in pauses] == [1, 1, 5, 5, 15, 15]
