"""From an event to a mail in a reader's hands: told once, sent once, under one Message-ID whatever happens."""

import asyncio
import email
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.__main__ import app
from flows.following import followed
from flows.notifying import deliver, deliver_notifications, spread, swept
from flows.resources import resources
from sql import provisioning
from sql.notices import TRIES
from sql.session import as_orchestrator
from tests.support.product import Customer, Product
from tests.support.smtp import DROP, SmtpServer, submission_server
from tests.support.smtp_tls import server_context

ROOT = Path(__file__).parents[2]
PASSWORD = "CANARY-notices-password"
SENDER = "postmaster@acme.example"  # whom the support server knows


@dataclass
class Post:
    """An installation with a submission server of its own."""

    product: Product
    server: SmtpServer

    def mails(self) -> list[EmailMessage]:
        return [
            cast("EmailMessage", email.message_from_bytes(one.content, policy=SMTP)) for one in self.server.received
        ]

    def rows(self) -> list[dict[str, Any]]:
        return self.product.rows("SELECT * FROM transactional_emails ORDER BY queued_at, id")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    return server_context(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def post(product: Product, tls: tuple[ssl.SSLContext, Path]) -> Iterator[Post]:
    context, ca_file = tls
    with submission_server(SmtpServer(context, PASSWORD)) as server:
        product.configure(
            NOTICES__SMTP_HOST="localhost", NOTICES__SMTP_PORT=str(server.port), NOTICES__SMTP_USER=SENDER,
            NOTICES__SMTP_PASSWORD=PASSWORD, NOTICES__SENDER=SENDER, MAIL__CA_FILE=str(ca_file),
        )  # fmt: skip
        yield Post(product, server)


def person(product: Product, tenant: Customer, address: str, level: str = "owner", *, active: bool = True) -> UUID:
    (user,) = product.rows(
        "INSERT INTO users (tenant_id, email, password_hash, role, is_active) VALUES (%s, %s, '!', 'owner', %s)"
        " RETURNING id, user_id",
        tenant.pk, address, active,
    )  # fmt: skip
    product.rows("INSERT INTO tenant_users (tenant_id, user_id, permission_level) VALUES (%s, %s, %s)",
                 tenant.pk, user["id"], level)  # fmt: skip
    return user["user_id"]


def queued(product: Product, tenant: Customer, user: UUID, kind: str = "submission_restored") -> None:
    product.rows("INSERT INTO transactional_emails (tenant_id, user_id, type, payload)"
                 " VALUES (%s, %s, %s, '{\"tenant\": \"Acme\"}')", tenant.uuid, user, kind)  # fmt: skip


def flows(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def text_of(mail: EmailMessage) -> str:
    """The plain part, decoded."""
    return str(next(mail.iter_parts()).get_content())


async def sweep() -> list[str]:
    async with resources() as r:
        return list(await swept(r))


async def test_an_overdue_payment_reaches_owners_and_admins_once(post: Post) -> None:
    customer = post.product.sign_up(ends_in="-1 hour")
    for address, level in (("o@a.example", "owner"), ("a@a.example", "admin"), ("b@a.example", "basic")):
        person(post.product, customer, address, level)
    person(post.product, customer, "gone@a.example", active=False)
    async with resources() as r:
        await followed(r, datetime.now(UTC))
    assert await sweep() == ["4 rows written", "2 mails sent, 0 not"]
    assert await sweep() == ["0 rows written", "0 mails sent, 0 not"]
    assert sorted(mail["To"] for mail in post.mails()) == ["a@a.example", "o@a.example"]
    shown = post.product.rows("SELECT title, type, channel FROM notifications")
    assert (
        shown == [{"title": "A payment of acme is overdue", "type": "subscription_past_due", "channel": "in_app"}] * 2
    )


async def test_a_mail_is_plain_and_html_and_bears_its_rows_id(post: Post) -> None:
    customer = post.product.sign_up()
    queued(post.product, customer, person(post.product, customer, "o@a.example"))
    await sweep()
    (mail,) = post.mails()
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert mail["Message-ID"] == f"<{post.rows()[0]['id']}@acme.example>"
    assert (mail["Auto-Submitted"], mail["From"]) == ("auto-generated", f"PenguinMails <{SENDER}>")
    assert post.rows()[0]["status"] == "sent"


async def test_two_sweeps_at_once_send_each_mail_once(post: Post) -> None:
    customer = post.product.sign_up()
    reader = person(post.product, customer, "o@a.example")
    for _ in range(12):
        queued(post.product, customer, reader)
    async with resources() as r:
        await asyncio.gather(deliver(r), deliver(r), deliver(r))
    ids = [mail["Message-ID"] for mail in post.mails()]
    assert (len(ids), len(set(ids))) == (12, 12)


async def test_a_server_that_is_busy_is_asked_again_under_the_same_message_id(post: Post) -> None:
    customer = post.product.sign_up()
    queued(post.product, customer, person(post.product, customer, "o@a.example"))
    post.server.replies = {"message": "451 4.3.0 later"}
    assert (await sweep())[1] == "0 mails sent, 1 not"
    assert (post.rows()[0]["status"], post.rows()[0]["attempt_count"]) == ("queued", 1)
    assert (await sweep())[1] == "0 mails sent, 0 not"  # after a pause
    post.product.rows("UPDATE transactional_emails SET next_try_at = now()")
    post.server.replies = {}
    await sweep()
    assert post.mails()[0]["Message-ID"] == f"<{post.rows()[0]['id']}@acme.example>"


async def test_a_mail_nobody_takes_is_given_up_after_its_tries(post: Post) -> None:
    customer = post.product.sign_up()
    queued(post.product, customer, person(post.product, customer, "o@a.example"))
    post.product.rows("UPDATE transactional_emails SET attempt_count = %s", TRIES - 1)
    post.server.replies = {"mail": "451 4.3.0 later"}
    await sweep()
    assert post.rows()[0]["status"] == "failed"


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ({"rcpt": "550 5.1.1 nobody"}, "550 5.1.1 nobody"),
        ({"message": DROP}, "lost"),
        ({"message": "554 no"}, "554 no"),
    ],
)
async def test_a_refusal_and_a_lost_answer_are_not_repeated_and_say_why(
    post: Post, replies: dict[str, str], why: str
) -> None:
    customer = post.product.sign_up()
    queued(post.product, customer, person(post.product, customer, "o@a.example"))
    post.server.replies = replies
    await sweep()
    (row,) = post.rows()
    assert row["status"] == "failed"
    assert PASSWORD not in row["last_error_message"]
    assert why in row["last_error_message"] or why == "lost"
    said = await asyncio.to_thread(flows, "notices", "retry", str(row["id"]))
    assert "queued again" in said.stdout
    post.server.replies = {}
    await sweep()
    assert {mail["Message-ID"] for mail in post.mails()} == {f"<{row['id']}@acme.example>"}


@pytest.mark.parametrize(
    ("kind", "active", "why"), [("greeting", True, "no template"), ("submission_restored", False, "no user")]
)
async def test_a_mail_that_cannot_be_written_is_given_up_with_its_reason(
    post: Post, kind: str, active: bool, why: str
) -> None:
    customer = post.product.sign_up()
    queued(post.product, customer, person(post.product, customer, "o@a.example", active=active), kind)
    queued(post.product, customer, person(post.product, customer, "p@a.example"))
    await sweep()
    assert {row["status"] for row in post.rows()} == {"failed", "sent"}
    (failed,) = [row for row in post.rows() if row["status"] == "failed"]
    assert why in failed["last_error_message"]


async def test_without_a_server_mails_stay_queued(product: Product) -> None:
    customer = product.sign_up()
    queued(product, customer, person(product, customer, "o@a.example"))
    assert (await sweep())[1] == "no submission server is set: mails stay queued"
    assert product.rows("SELECT status FROM transactional_emails") == [{"status": "queued"}]


def test_killed_between_the_servers_word_and_our_own_the_second_copy_bears_the_same_message_id(post: Post) -> None:
    customer = post.product.sign_up()
    queued(post.product, customer, person(post.product, customer, "o@a.example"))
    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.killing", "after", "providers.mail.submission:Submission.send", "1",
         "notices", "deliver"],
        cwd=ROOT, env={**os.environ, **post.product.settings}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(post.mails()) == 1
    assert post.rows()[0]["status"] == "sending"
    assert flows("notices", "deliver").exit_code == 0
    assert len(post.mails()) == 1  # whoever sent it may be alive: its claim holds
    post.product.rows("UPDATE transactional_emails SET claimed_until = now() - interval '1 second'")
    assert "1 mails sent" in flows("notices", "deliver").stdout
    first, second = post.mails()
    assert first["Message-ID"] == second["Message-ID"] == f"<{post.rows()[0]['id']}@acme.example>"
    assert post.rows()[0]["status"] == "sent"


async def test_an_event_that_shows_late_is_told_and_none_twice(product: Product) -> None:
    customer = product.sign_up()
    person(product, customer, "o@a.example")
    async with resources() as r:
        assert await spread(r) == 0
        product.rows(
            "INSERT INTO infrastructure_events (tenant_id, subject_type, subject_id, event, actor, created_at)"
            " VALUES (%s, 'vps', 'x', 'tenant_active', 'test', %s)",
            customer.pk, datetime.now(UTC) - timedelta(minutes=5),
        )  # fmt: skip
        assert await spread(r) == 2
        assert await spread(r) == 0


async def test_a_run_that_calls_for_an_operator_is_one_alert_until_it_does_not(post: Post) -> None:
    customer = post.product.sign_up()
    person(post.product, customer, "o@a.example")
    post.product.rows(
        "INSERT INTO provisioning_runs (tenant_id, kind, idempotency_key, status, wait_reason, wait_detail)"
        " VALUES (%s, 'onboard', 'k', 'waiting', 'operator', 'CANARY-detail: buy an address')",
        customer.pk,
    )
    await sweep()
    await sweep()
    (alert,) = post.product.rows("SELECT dedupe_key, occurrences, severity, message FROM system_notifications")
    assert (alert["occurrences"], alert["severity"]) == (1, "high")
    looking = "UPDATE provisioning_runs SET status = %s, wait_reason = %s, last_wait_reason = 'operator'"
    post.product.rows(looking, "running", None)  # it only looks again whether somebody acted
    await sweep()
    post.product.rows(looking, "waiting", "operator")
    await sweep()
    assert post.product.rows("SELECT is_resolved FROM system_notifications") == [{"is_resolved": False}]
    assert "CANARY-detail" in alert["message"]
    (mail,) = post.mails()
    assert "CANARY-detail" not in mail.as_string()  # a tenant is told that, not what
    said = await asyncio.to_thread(flows, "alerts", "ack", alert["dedupe_key"])
    assert said.exit_code == 0
    assert "bootstrap:" in (await asyncio.to_thread(flows, "alerts", "list")).stdout
    post.product.rows("UPDATE provisioning_runs SET status = 'failed', wait_reason = NULL, finished_at = now()")
    await sweep()
    assert post.product.rows("SELECT is_resolved FROM system_notifications") == [{"is_resolved": False}]
    post.product.rows(
        "INSERT INTO provisioning_runs (tenant_id, kind, idempotency_key, status)"
        " VALUES (%s, 'onboard', 'l', 'pending')",
        customer.pk,
    )
    await sweep()
    assert post.product.rows("SELECT is_resolved FROM system_notifications") == [{"is_resolved": True}]


async def test_an_alert_stays_open_however_many_runs_ended_after_its_own(post: Post) -> None:
    run = (
        "INSERT INTO provisioning_runs (tenant_id, kind, idempotency_key, status, wait_reason, wait_detail, created_at)"
        " SELECT %s, 'onboard', 'k' || n, %s, %s, 'x', now() + %s * interval '1 hour' FROM generate_series(1, %s) n"
    )
    post.product.rows(run, post.product.sign_up().pk, "waiting", "operator", 0, 1)
    await sweep()
    post.product.rows(run, post.product.sign_up("busy").pk, "succeeded", None, 1, 1001)
    await sweep()
    assert post.product.rows("SELECT is_resolved FROM system_notifications") == [{"is_resolved": False}]


async def test_a_loud_alert_reaches_the_platforms_people_and_a_quiet_one_nobody(post: Post) -> None:
    platform = post.product.sign_up("platform", domains=[])
    person(post.product, platform, "ops@penguin.example")
    post.product.configure(STAFF__PLATFORM_TENANT=str(platform.uuid))
    for severity in ("medium", "critical"):
        post.product.rows("INSERT INTO system_notifications (dedupe_key, category, title, message, severity)"
                          " VALUES (%s, 'host', 'Disk is full', 'm', %s)", severity, severity)  # fmt: skip
    await sweep()
    await sweep()
    assert [(mail["To"], mail["Subject"]) for mail in post.mails()] == [
        ("ops@penguin.example", "critical: Disk is full")
    ]


async def test_a_tenant_is_told_the_line_that_cures_its_dns_and_the_platform_only_that_there_is_one(post: Post) -> None:
    platform, customer = post.product.sign_up("platform", domains=[]), post.product.sign_up()
    person(post.product, platform, "ops@penguin.example")
    person(post.product, customer, "o@a.example")
    post.product.configure(STAFF__PLATFORM_TENANT=str(platform.uuid))
    cure = 'dmarc: expected v=DMARC1; p=none · found nothing · enter only "_dmarc"'
    post.product.rows(
        "INSERT INTO system_notifications (dedupe_key, category, title, message, severity, tenant_id)"
        " VALUES ('dns:acme.example:dmarc', 'dns', 'acme.example: dmarc missing', %s, 'high', %s)",
        cure, customer.uuid,
    )  # fmt: skip
    await sweep()
    (mine,) = [mail for mail in post.mails() if mail["To"] == "o@a.example"]
    (theirs,) = [mail for mail in post.mails() if mail["To"] == "ops@penguin.example"]
    assert mine["Subject"] == "acme.example: dmarc missing"
    assert cure in text_of(mine)
    assert "enter only" not in text_of(theirs)


async def test_a_tenant_whose_record_never_came_is_told_which(post: Post) -> None:
    customer = post.product.sign_up()
    person(post.product, customer, "o@a.example")
    post.product.rows(
        "INSERT INTO provisioning_runs (tenant_id, kind, target, idempotency_key, requested_by, status,"
        " wait_reason, wait_detail, resume_at, deadline_at) VALUES (%s, 'onboard', '', 'k', 'test', 'waiting', 'dns',"
        " 'enter only \"_pm-verify\" (and 4 more: python -m flows dns records acme.example)', now(), now())",
        customer.pk,
    )  # fmt: skip
    async with resources() as r, as_orchestrator(r.pool) as conn:
        assert len(await provisioning.expire_waits(conn)) == 1
    await sweep()
    (mine,) = [mail for mail in post.mails() if mail["Subject"] == "Setting up acme has ended: a DNS record is missing"]
    assert 'Still to be published: enter only "_pm-verify" (and 4 more)' in text_of(mine)


async def test_why_a_repair_is_refused_is_for_staff_to_read(post: Post) -> None:
    customer = post.product.sign_up()
    person(post.product, customer, "o@a.example")
    post.product.rows(
        "INSERT INTO system_notifications (dedupe_key, category, title, message, severity, tenant_id)"
        " VALUES ('dns-repair:acme.example', 'dns', 'acme.example: records are gone', 'CANARY-detail', 'high', %s)",
        customer.uuid,
    )
    await sweep()
    (mail,) = post.mails()
    assert "CANARY-detail" not in mail.as_string()


def test_an_alert_is_resolved_once(product: Product) -> None:
    product.rows("INSERT INTO system_notifications (dedupe_key, category, title, message, severity)"
                 " VALUES ('k', 'host', 't', 'm', 'low')")  # fmt: skip
    assert flows("alerts", "resolve", "k").exit_code == 0
    assert flows("alerts", "resolve", "k").exit_code == 5
    assert flows("alerts", "list", "--json").stdout.strip() == "[]"


async def test_the_flow_says_what_it_did(product: Product) -> None:
    state = await deliver_notifications(return_state=True)
    assert state.message == "0 rows written; no submission server is set: mails stay queued"
