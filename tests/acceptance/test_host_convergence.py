"""A bare Debian host becomes a safe mail host, stays one, and is left alone: on real hosts, over real SSH."""

import asyncio
import imaplib
import itertools
import os
import re
import shlex
import smtplib
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Self

import pytest
from pydantic import SecretStr

from flows.policy import convergence, mail_host, secure_host, verp
from flows.policy.convergence import Applied, Component, Desired, Refused
from flows.policy.mail_host import HostMailbox
from providers.errors import Unauthorized, Unavailable
from providers.keys import hash_password, issue_certificate
from providers.ssh import Ssh
from sandbox import prerequisites
from sandbox.world import World
from tests.support import world as worlds
from tests.support.converged import PASSWORD, RECEIVER, RETURN_PATH_KEY, ROOT_PASSWORD, Host, ssh_from_control

pytestmark = pytest.mark.sandbox

STAMPS = """
find /etc /usr/local /var/lib/penguin -xdev -type f -printf '%p %T@ %i\\n' | sort
systemctl show -p Id -p ActiveEnterTimestampMonotonic -p InvocationID \
    postfix@- dovecot unbound rsyslog nftables ssh fail2ban penguin-caps penguin-gate \
    penguin-dkim@rsa penguin-dkim@ed25519
"""


@pytest.fixture(scope="module")
def world() -> Generator[World]:
    lacks = [f"{lack.what}: {lack.cure}" for lack in prerequisites.lacks()]
    if lacks and worlds.REQUIRED:
        pytest.fail("; ".join(lacks))
    if lacks:
        pytest.skip("; ".join(lacks))
    name = os.environ.get("PENGUINMAILS_SANDBOX__WORLD") or "converge"
    World.down_named(name, say=lambda _: None)
    raised = World.up(name, emulator=False, say=lambda _: None)
    yield raised
    raised.down(say=lambda _: None)


@pytest.fixture(scope="module")
def ssh(world: World) -> Generator[Ssh]:
    with ssh_from_control(world) as product:
        yield product


@pytest.fixture(scope="module")
async def host(world: World, ssh: Ssh) -> AsyncGenerator[Host]:
    """A mail host with two addresses and two domains, from a prepared image: one story installs by apt already."""
    made = Host(
        world, ssh, "whole", [IPv4Address("198.51.100.50"), IPv4Address("198.51.100.51")],
        ["acorn.example", "birch.example"],
    )  # fmt: skip
    made.boot("mail")
    await made.first_contact()
    await made.converge(made.secured)
    await made.converge(made.mailing)
    made.publish()
    yield made
    world.destroy_host("whole")


@pytest.fixture(scope="module")
async def spare(world: World, ssh: Ssh) -> AsyncGenerator[Host]:
    """A host to be mistreated: packages are there, nothing is configured."""
    made = Host(world, ssh, "spare", [IPv4Address("198.51.100.60")], ["cedar.example"])
    made.boot("mail")
    await made.first_contact()
    yield made
    world.destroy_host("spare")


# --- nothing to change ----------------------------------------------------------------------------------------------


async def test_with_nothing_to_change_one_connection_and_one_command_are_all_and_nothing_moves(host: Host) -> None:
    logins = "journalctl -u ssh --no-pager | grep -c 'Accepted publickey'; true"
    before, came = host.on_host(STAMPS), int(host.on_host(logins))
    for wish in (host.secured, host.mailing):
        assert await host.planned(wish) == ()
    assert host.on_host(STAMPS) == before
    assert int(host.on_host(logins)) == came + 2


# --- what a stranger gets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "commands", "code"),
    [
        (25, ("MAIL FROM:<a@stranger.example>", "RCPT TO:<carol@bigmail.example>"), 554),
        (25, ("MAIL FROM:<a@stranger.example>", "RCPT TO:<carol%bigmail.example@acorn.example>"), 554),
        (25, ("MAIL FROM:<a@stranger.example>", "RCPT TO:<nobody@acorn.example>"), 550),
        (25, ("MAIL FROM:<a@stranger.example>", "RCPT TO:<x@bounce.acorn.example>"), 550),
        (25, ("MAIL FROM:<anna@acorn.example>", "RCPT TO:<anna@acorn.example>"), 554),
        (25, ("VRFY anna@acorn.example",), 502),
        (25, ("EXPN anna",), 500),
        (25, ("AUTH PLAIN AGEAYg==",), 503),
        (587, ("AUTH PLAIN AGEAYg==",), 530),
        (587, ("MAIL FROM:<anna@acorn.example>",), 530),
        (25, ("MAIL FROM:<a@stranger.example>", "RCPT TO:<postmaster@acorn.example>"), 250),
        (25, ("MAIL FROM:<a@stranger.example>", "RCPT TO:<abuse@birch.example>"), 250),
        (25, ("MAIL FROM:<>", "RCPT TO:<postmaster@bounce.acorn.example>"), 250),
        (25, ("MAIL FROM:<>", "RCPT TO:<b+token@bounce.acorn.example>"), 550),
        (25, ("MAIL FROM:<>", "RCPT TO:<b@bounce.acorn.example>"), 550),
    ],
)
async def test_a_stranger_is_answered(host: Host, port: int, commands: tuple[str, ...], code: int) -> None:
    assert host.talk(port, *commands)[-1] == code


async def test_the_providers_password_opens_nothing(host: Host) -> None:
    with pytest.raises(Unauthorized):
        await host.run("true", password=ROOT_PASSWORD)
    assert host.on_host("getent shadow root | cut -d: -f2") == "*"


async def test_only_the_named_ports_are_open(host: Host) -> None:
    host.on_host("systemd-run --quiet --unit=probe-8080 python3 -m http.server 8080")
    host.on_host("until ss -Hltn | grep -q :8080; do sleep 0.1; done")
    with host.world.enter_control(), pytest.raises(TimeoutError):
        socket.create_connection((str(host.addresses[0]), 8080), 2)
    with host.world.enter_control():
        socket.create_connection((str(host.addresses[0]), 993), 10).close()
    host.on_host("systemctl stop probe-8080")


# Many at once: Dovecot makes each guess of one address wait longer than the last.
GUESSES = """
import socket, ssl
from concurrent.futures import ThreadPoolExecutor
def guess(_):
    plain = socket.create_connection(("{address}", 587), 5)
    plain.settimeout(30)
    plain.recv(500); plain.send(b"EHLO guess.example\\r\\n"); plain.recv(2000)
    plain.send(b"STARTTLS\\r\\n"); plain.recv(500)
    context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
    line = context.wrap_socket(plain)
    line.send(b"EHLO guess.example\\r\\n"); line.recv(2000)
    line.send(b"AUTH PLAIN AGFubmFAYWNvcm4uZXhhbXBsZQB3cm9uZw==\\r\\n"); line.recv(500)
try:
    for batch in range(10):
        list(ThreadPoolExecutor(6).map(guess, range(6)))
except OSError:
    print("shut out")
"""


async def test_who_guesses_passwords_is_shut_out_and_a_worker_who_mistypes_is_not(host: Host, world: World) -> None:
    world.create_host(
        "stranger", ["198.51.100.99"], image="mail", hostname="guess.example", root_password=ROOT_PASSWORD
    )
    try:
        script = GUESSES.format(address=host.addresses[0]).encode()
        banned = "fail2ban-client status postfix-sasl | sed -n 's/.*Banned IP list:[[:space:]]*//p'"
        mistyped = [asyncio.to_thread(host.submit, "anna@acorn.example", password="wrong") for _ in range(6)]
        ends = await asyncio.gather(*mistyped, return_exceptions=True)
        assert [getattr(end, "smtp_code", end) for end in ends] == [535] * 6
        _, said, _ = world.exec("stranger", "python3 -", script, 300)
        assert said.decode().split() == ["shut", "out"]
        assert host.on_host(banned) == "198.51.100.99"
        assert host.talk(587, "NOOP") == [250]
    finally:
        world.destroy_host("stranger")


# --- what a mailbox gets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("author", "sender"),
    [
        (None, "anna@birch.example"),
        (None, "boss@bank.example"),
        (None, ""),
        ("boss@bank.example", None),
        ("boss@bank.example, anna@acorn.example", None),
        ("anna@birch.example", None),
        ("a group: anna@acorn.example;", None),
    ],
)
async def test_a_mailbox_sends_as_itself_only(host: Host, author: str | None, sender: str | None) -> None:
    code, text = host.submit("anna@acorn.example", author=author, sender=sender)
    assert code in {550, 553, 554}, text


@pytest.mark.parametrize(("place", "domain"), [(0, "acorn.example"), (1, "birch.example")])
async def test_each_domain_leaves_by_its_own_address_and_passes_every_check(
    host: Host, place: int, domain: str
) -> None:
    subject = f"proof of {domain}"
    code, text = host.submit(f"postmaster@{domain}", subject=subject)
    assert code == 250, text
    message = host.arrived(subject)
    address, results = host.mail.addresses[place], str(message["Authentication-Results"])
    assert "spf=pass" in results
    assert "dmarc=pass" in results
    passed = re.findall(r"dkim=pass.*?header\.a=(\S+)", " ".join(results.split()))
    assert sorted(passed) == ["ed25519-sha256", "rsa-sha256"], results
    assert f"from {address.helo} ({address.helo} [{address.ip}])" in str(message["Received"])
    assert "203.0.113.10" not in message.as_string(), "where the tenant sits has leaked"


async def test_postmaster_reads_what_is_written_to_it_and_abuse_is_delivered(host: Host) -> None:
    code, text = host.submit("postmaster@birch.example", to=["postmaster@acorn.example"], subject="a question")
    assert code == 250, text
    assert host.message("postmaster@acorn.example", "a question")["From"] == "postmaster@birch.example"
    code, text = host.submit("postmaster@birch.example", to=["abuse@acorn.example"], subject="a complaint")
    assert code == 250, text
    host.on_host("for i in $(seq 300); do postqueue -j | grep -q . || break; sleep 0.1; done")
    assert "a complaint" in host.on_host("cat /var/vmail/mail.acorn.example/feedback/new/*")


async def test_a_key_signs_once_its_record_was_seen_and_not_before(spare: Host) -> None:
    await spare.converge(spare.secured)
    whole = spare.mail
    unseen = [replace(domain, dkim=tuple(replace(key, signs=False) for key in domain.dkim)) for domain in whole.domains]
    spare.mail = replace(whole, domains=tuple(unseen))
    await spare.converge(spare.mailing)
    assert spare.submit("postmaster@cedar.example", to=["anna@cedar.example"], subject="unsigned")[0] == 250
    assert spare.message("anna@cedar.example", "unsigned")["DKIM-Signature"] is None
    spare.mail = whole
    (change,) = await spare.converge(spare.mailing)
    assert change.summary.startswith("opendkim: ")
    assert spare.submit("postmaster@cedar.example", to=["anna@cedar.example"], subject="signed")[0] == 250
    signatures = spare.message("anna@cedar.example", "signed").get_all("DKIM-Signature", [])
    assert sorted(re.findall(r"a=([a-z0-9-]+);", " ".join(map(str, signatures)))) == ["ed25519-sha256", "rsa-sha256"]


async def test_a_forged_second_author_is_refused_and_a_missing_one_is_the_mailbox_itself(host: Host) -> None:
    twice = b"From: postmaster@acorn.example\r\nTo: anna@acorn.example\r\nFrom: boss@bank.example\r\n\r\nhello\r\n"
    code, text = host.submit("postmaster@acorn.example", to=["anna@acorn.example"], raw=twice)
    assert (code, "one From" in text) == (550, True), text
    none = b"Subject: no author\r\nTo: anna@acorn.example\r\n\r\nhello\r\n"
    code, text = host.submit("postmaster@acorn.example", to=["anna@acorn.example"], raw=none)
    assert code == 250, text
    assert host.message("anna@acorn.example", "no author")["From"] == "postmaster@acorn.example"


async def test_an_enclosed_message_keeps_its_author_and_its_way(host: Host) -> None:
    enclosed = "Received: from x by y with ESMTPSA id 1; Sun, 22 Nov 2026 12:00:00 +0000\r\nSender: x@y.example\r\n"
    whole = (
        "From: postmaster@acorn.example\r\nTo: anna@acorn.example\r\nSubject: a forward\r\nMIME-Version: 1.0\r\n"
        "Content-Type: message/rfc822\r\n\r\n" + enclosed + "From: boss@bank.example\r\nSubject: inner\r\n\r\nhello\r\n"
    )
    code, text = host.submit("postmaster@acorn.example", to=["anna@acorn.example"], raw=whole.encode())
    assert code == 250, text
    (inner,) = host.message("anna@acorn.example", "a forward").iter_parts()
    assert (inner["From"], inner["Sender"]) == ("boss@bank.example", "x@y.example")
    assert "ESMTPSA" in str(inner["Received"])


async def test_a_mailbox_may_use_the_return_paths_of_its_own_domain_only(host: Host) -> None:
    own, other = host.return_path("acorn.example", 1), host.return_path("birch.example", 1)
    code, text = host.submit("postmaster@acorn.example", sender=own, to=["anna@acorn.example"], subject="returns")
    assert code == 250, text
    assert host.message("anna@acorn.example", "returns")["Return-Path"] == f"<{own}>"
    assert host.submit("postmaster@acorn.example", sender=other, to=["anna@acorn.example"])[0] == 553


@pytest.mark.parametrize("days_ago", [None, 100])
async def test_a_return_path_that_is_forged_or_old_is_taken_at_neither_door(host: Host, days_ago: int | None) -> None:
    path = host.return_path("acorn.example", 2, days_ago=days_ago or 0)
    path = path if days_ago else path.replace("b+0", "b+1")
    code, text = host.submit("postmaster@acorn.example", sender=path, to=["anna@acorn.example"])
    assert (code, "return path" in text) == (550, True), text
    assert host.talk(25, "MAIL FROM:<>", f"RCPT TO:<{path}>") == [250, 550]


@pytest.mark.parametrize(
    ("place", "action", "status"),
    [
        (1, "550 5.1.1 nobody here", "5.1.1"),
        (2, "552 5.2.2 the mailbox is full", "5.2.2"),
        (3, "550 5.7.1 not from you", "5.7.1"),
        (4, "521 5.3.2 this host takes no mail", "5.3.2"),
    ],
)
async def test_what_a_receiver_refuses_comes_back_to_the_feedback_mailbox_with_its_token(
    host: Host, place: int, action: str, status: str
) -> None:
    path, receiver = host.return_path("birch.example", 70 + place), host.world.receiver("bigmail.example")
    receiver.rules([{"match": {"sender": "@bounce.birch.example"}, "action": action}])
    try:
        code, text = host.submit("postmaster@birch.example", sender=path, subject="into the void")
        assert code == 250, text
        dsn = host.feedback(path)
    finally:
        receiver.clear()
    assert told(dsn) == ("failed", status)
    assert reference(host, dsn, path) == 70 + place
    refused = host.on_host(f"grep 'dsn={status}, status=bounced' /var/log/mail.log | tail -n 1")
    assert "postfix/smtp-ip2/smtp" in refused, "it did not leave by the address of its domain"


async def test_what_is_deferred_until_its_time_is_up_comes_back_as_a_deferral(host: Host) -> None:
    path, receiver = host.return_path("birch.example", 80), host.world.receiver("bigmail.example")
    receiver.rules([{"match": {"sender": "@bounce.birch.example"}, "action": "451 4.7.1 not today"}])
    host.on_host("postconf -e maximal_queue_lifetime=2s minimal_backoff_time=2s queue_run_delay=2s && postfix reload")
    try:
        code, text = host.submit("postmaster@birch.example", sender=path, subject="never today")
        assert code == 250, text
        dsn = host.feedback(path)
    finally:
        receiver.clear()
        (change,) = await host.converge(host.mailing)
    assert change.summary == "postfix: /etc/postfix/main.cf", "a file changed by hand is told and put right"
    assert told(dsn) == ("failed", "4.7.1")
    assert reference(host, dsn, path) == 80


async def test_a_bounce_that_comes_after_the_receiver_took_it_is_let_in_with_its_token(host: Host) -> None:
    path = host.return_path("birch.example", 81)
    code, text = host.submit("postmaster@birch.example", sender=path, subject="taken, then not")
    assert code == 250, text
    taken = str(host.arrived("taken, then not")["Message-ID"])
    host.world.receiver("bigmail.example").late_bounce(taken, "5.7.1", "550 5.7.1 filtered after all")
    host.on_host(f"for i in $(seq 300); do grep -rqF '{path}' /var/vmail/*/feedback && break; sleep 0.1; done")
    dsn = host.feedback(path)
    assert told(dsn) == ("failed", "5.7.1")
    assert reference(host, dsn, path) == 81


def told(dsn: EmailMessage) -> tuple[str, str]:
    """Action and status of the one recipient a delivery status notification is about (RFC 3464)."""
    assert dsn.get_content_type() == "multipart/report"
    (report,) = [part for part in dsn.walk() if part.get_content_type() == "message/delivery-status"]
    (recipient,) = [block for block in report.get_payload() if "Action" in block]
    return recipient["Action"].strip(), recipient["Status"].strip()


def reference(host: Host, dsn: EmailMessage, path: str) -> int:
    """What the return path of a bounce refers to, once its seal is found genuine."""
    assert path.partition("@")[0].removeprefix("b+") in str(dsn["Delivered-To"]), dsn["Delivered-To"]
    found = verp.read(path, dict.fromkeys(host.domains, (RETURN_PATH_KEY,)), datetime.now(UTC).date())
    assert found.standing is verp.Standing.GENUINE
    return found.reference


async def test_a_domains_return_paths_leave_by_its_own_address(host: Host) -> None:
    path = host.return_path("birch.example", 5)
    code, text = host.submit("postmaster@birch.example", sender=path, subject="by the second address")
    assert code == 250, text
    message = host.arrived("by the second address")
    second = host.mail.addresses[1]
    assert f"from {second.helo} ({second.helo} [{second.ip}])" in str(message["Received"])
    assert message["Return-Path"] == f"<{path}>"
    for passed in ("spf=pass", "dkim=pass", "dmarc=pass"):
        assert passed in str(message["Authentication-Results"])


async def test_null_sender_mail_leaves_by_the_main_address_under_its_own_name_which_passes_spf(host: Host) -> None:
    text = "From: mailer-daemon@mail.acorn.example\nTo: carol@bigmail.example\nSubject: from nobody\n\nhello\n"
    host.on_host(f"printf %s {shlex.quote(text)} | sendmail -f '<>' carol@bigmail.example")
    message, main = host.arrived("from nobody"), host.mail.main
    assert f"from {main.helo} ({main.helo} [{main.ip}])" in str(message["Received"])
    assert message["Return-Path"] == "<>"
    assert f"spf=pass smtp.helo={main.helo}" in " ".join(str(message["Authentication-Results"]).split()), (
        message.as_string()
    )


async def test_a_dead_gate_stops_submission_and_no_bounce(host: Host) -> None:
    host.on_host("systemctl stop penguin-gate.socket penguin-gate.service")
    with pytest.raises(smtplib.SMTPResponseException) as refusal:
        host.submit("postmaster@acorn.example", to=["anna@acorn.example"])
    assert refusal.value.smtp_code in {451, 454}
    path = host.return_path("acorn.example", 3)
    assert host.talk(25, "MAIL FROM:<>", f"RCPT TO:<{path}>") == [250, 250]
    await host.converge(host.mailing)
    assert host.submit("postmaster@acorn.example", to=["anna@acorn.example"])[0] == 250


async def test_a_mailbox_reaches_its_first_days_figure_and_no_further(host: Host) -> None:
    used = int(host.on_host("cat /var/lib/penguin-caps/* | awk '/anna@birch/ {n += $1} END {print n + 0}'"))
    answers = [host.submit("anna@birch.example", to=["anna@acorn.example"])[0] for _ in range(used, 7)]
    assert answers == [250] * (5 - used) + [450] * 2


async def test_without_its_caps_file_a_host_sends_nothing_until_it_is_converged(host: Host) -> None:
    host.on_host("rm /etc/penguin/caps.json")
    code, text = host.submit("postmaster@acorn.example", to=["anna@acorn.example"])
    assert code == 450
    assert "no sending plan" in text
    (change,) = await host.converge(host.mailing)
    assert change.summary == "caps: /etc/penguin/caps.json"
    assert host.submit("postmaster@acorn.example", to=["anna@acorn.example"])[0] == 250


async def test_a_dead_keeper_of_caps_stops_submission_and_not_what_comes_in(host: Host) -> None:
    host.on_host("systemctl stop penguin-caps.socket penguin-caps.service")
    assert host.submit("postmaster@acorn.example", to=["anna@acorn.example"])[0] == 450
    assert host.talk(25, "MAIL FROM:<a@stranger.example>", "RCPT TO:<anna@acorn.example>") == [250, 250]
    await host.converge(host.mailing)
    assert host.submit("postmaster@acorn.example", to=["anna@acorn.example"])[0] == 250


async def test_a_new_password_counts_at_once_though_it_is_as_long_as_the_old_one(host: Host) -> None:
    """Beside logins that keep Dovecot looking at the file: which it does once a second, and by whole seconds."""
    anna, old = "anna@acorn.example", host.mail
    others_log_in = asyncio.create_task(kept_up(lambda: host.inbox("postmaster@acorn.example")))
    try:
        for password in ("one new password", "two new password", "six new password"):
            host.mail = replace(old, mailboxes=tuple(given(box, anna, password) for box in old.mailboxes))
            await host.converge(host.mailing)
            host.inbox(anna, password)
            with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
                host.inbox(anna)
    finally:
        others_log_in.cancel()
        host.mail = old
        await host.converge(host.mailing)


async def kept_up(act: Callable[[], object]) -> None:
    while True:
        await asyncio.to_thread(act)


def given(box: HostMailbox, address: str, password: str) -> HostMailbox:
    return replace(box, password_hash=hash_password(SecretStr(password))) if box.address == address else box


# --- a certificate --------------------------------------------------------------------------------------------------


async def test_a_certificate_is_asked_for_with_a_key_that_stays_and_replaces_the_stand_in(host: Host) -> None:
    names = [address.helo for address in host.mail.addresses]
    request = await host.run(mail_host.csr_script(names))
    assert request.status == 0, request.stderr
    assert "PRIVATE" not in request.stdout
    pem = issued(host.world, request.stdout.encode(), names)
    host.mail = replace(host.mail, certificate_pem=pem.decode())
    (change,) = await host.converge(host.mailing)
    assert change.summary == "certificate: /etc/ssl/penguin/mail.crt"
    code, text = host.submit("postmaster@acorn.example", to=["anna@acorn.example"], ca_file=authority(host.world))
    assert code == 250, text


async def test_a_certificate_of_another_key_is_put_back_and_mail_goes_on(host: Host) -> None:
    stranger = read_authority(host.world)
    wish = mail_host.desired(replace(host.mail, certificate_pem=stranger))
    outcome = await host.apply(await host.planned(wish))
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.passing) == ("check-certificate", False)
    assert await host.planned(host.mailing) == ()


def authority(world: World) -> Path:
    return Path(world.info["ca_file"])


def read_authority(world: World) -> str:
    return authority(world).read_text()


def issued(world: World, request: bytes, names: list[str]) -> bytes:
    key = SecretStr(Path(world.info["ca_key_file"]).read_text())
    return issue_certificate(
        request, ca_certificate_pem=authority(world).read_bytes(), ca_key_pem=key, names=names, days=7
    )


# --- while all this goes on -----------------------------------------------------------------------------------------


class Steady:
    """Somebody at each domain who sends one message after another, until told to stop."""

    def __init__(self, host: Host) -> None:
        self.host, self.taken, self.refused = host, dict[str, str](), list[str]()
        self._stop = threading.Event()

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(asyncio.to_thread(self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._sending

    def goes_on(self) -> None:
        """Wait for one more message of each domain."""
        before, deadline = len(self.taken), time.monotonic() + 60
        while len(self.taken) < before + len(self.host.domains) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _send(self) -> None:
        for number in itertools.count():
            for domain in self.host.domains:
                subject = f"steady {number} of {domain}"
                try:
                    code, text = self.host.submit(f"postmaster@{domain}", subject=subject)
                except (OSError, smtplib.SMTPException) as error:
                    code, text = 0, str(error)
                if code == 250:
                    self.taken[subject] = domain
                else:
                    self.refused.append(f"{subject}: {code} {text}")
            if self._stop.wait(0.5):
                return


async def test_no_message_is_lost_late_or_unsigned_while_the_host_is_converged_reloaded_and_renewed(host: Host) -> None:
    names, before = [address.helo for address in host.mail.addresses], host.mail
    slower = tuple(replace(address, concurrency=2) for address in before.addresses)
    other = tuple(replace(box, quota_mb=65) for box in before.mailboxes)
    async with Steady(host) as steady:
        host.mail = replace(before, addresses=slower)  # Postfix reloads
        assert [change.summary.partition(":")[0] for change in await host.converge(host.mailing)] == ["postfix"]
        pem = issued(host.world, (await host.run(mail_host.csr_script(names))).stdout.encode(), names)
        host.mail = replace(before, mailboxes=other, certificate_pem=pem.decode())  # a renewal, and back again
        changed = {change.summary.partition(":")[0] for change in await host.converge(host.mailing)}
        assert changed == {"certificate", "mailboxes", "postfix"}
        host.on_host("echo '# a hand was here' >>/etc/dovecot/dovecot.conf")  # Dovecot reloads, and Postfix after it
        assert [change.summary for change in await host.converge(host.mailing)] == [
            "dovecot: /etc/dovecot/dovecot.conf"
        ]
        await asyncio.to_thread(steady.goes_on)
    host.mail = replace(before, certificate_pem=host.mail.certificate_pem)
    await host.converge(host.mailing)
    assert steady.refused == [], "a sender was turned away"
    assert set(steady.taken.values()) == set(host.domains)
    host.on_host("for i in $(seq 900); do postqueue -j | grep -q . || break; sleep 0.1; done")
    arrived = {str(one.parsed["Subject"]).strip(): one.parsed for one in host.world.receiver(RECEIVER).messages()}
    assert steady.taken.keys() <= arrived.keys(), f"lost: {steady.taken.keys() - arrived.keys()}"
    for subject in steady.taken:
        results = " ".join(str(arrived[subject]["Authentication-Results"]).split())
        assert (results.count("dkim=pass"), "dmarc=pass" in results) == (2, True), results
        there = parsedate_to_datetime(str(arrived[subject].get_all("Received")[0]).rpartition(";")[2].strip())
        assert there - parsedate_to_datetime(str(arrived[subject]["Date"])) < timedelta(minutes=1)


# --- a reboot -------------------------------------------------------------------------------------------------------


async def test_after_a_reboot_everything_stands_again_without_a_word_from_us(host: Host) -> None:
    host.world.restart_host(host.name)
    facts = await booted(host, host.mailing)
    assert convergence.plan(host.mailing, facts) == ()
    assert await host.planned(host.secured) == ()
    assert ("eth0", "198.51.100.51/32") in facts.addresses
    assert host.submit("postmaster@birch.example", subject="after the reboot")[0] == 250
    assert "198.51.100.51" in str(host.arrived("after the reboot")["Received"])


async def booted(host: Host, wish: Desired) -> convergence.Facts:
    for _ in range(60):
        try:
            return await host.look(wish)
        except (Unavailable, Unauthorized, convergence.IncompleteFacts):
            await asyncio.sleep(0.5)
    raise AssertionError("the host did not come back")


# --- the way back ---------------------------------------------------------------------------------------------------


async def test_a_firewall_that_locks_us_out_is_undone_by_the_host_itself(spare: Host) -> None:
    await spare.converge(spare.secured)
    blind = secure_host.desired(replace(spare.security, worker_networks=(IPv4Network("192.0.2.0/24"),)))
    changes = await spare.planned(blind)
    assert isinstance(await spare.apply(changes, arm=25), Applied)
    with pytest.raises(Unavailable):
        await spare.confirm()
    spare.on_host("while [ -d /var/lib/penguin/armed ]; do sleep 0.2; done")
    facts = await booted(spare, spare.secured)  # sshd, reloaded, is deaf for a moment
    assert [change.summary for change in convergence.plan(spare.secured, facts)] == [
        "fail2ban: /etc/fail2ban/jail.d/penguin.local"
    ]
    await spare.converge(spare.secured)


async def test_an_unconfirmed_change_is_undone_by_a_reboot_too(spare: Host) -> None:
    await spare.converge(spare.secured)
    blind = secure_host.desired(replace(spare.security, worker_networks=(IPv4Network("192.0.2.0/24"),)))
    assert isinstance(await spare.apply(await spare.planned(blind), arm=3600), Applied)
    spare.world.restart_host(spare.name)
    facts = await booted(spare, spare.secured)
    assert not facts.armed
    await spare.converge(spare.secured)


async def test_the_connection_that_armed_proves_nothing(spare: Host) -> None:
    await spare.converge(spare.secured)
    wider = secure_host.desired(replace(spare.security, ports=(25, 80, 443, 465, 587, 993)))
    script, payload = convergence.apply_script(await spare.planned(wider), arm_seconds=60)
    async with spare.connected() as shell:
        await shell.run(script, stdin=payload, timeout_seconds=60)
        said = await shell.run(convergence.confirm_script(), timeout_seconds=60)
    refused = convergence.parse_outcome(said.status, said.stdout)
    assert isinstance(refused, Refused)
    assert refused.reason == "same-connection"
    assert isinstance(await spare.confirm(), Applied)
    await spare.converge(spare.secured)


# --- what goes wrong ------------------------------------------------------------------------------------------------


async def test_a_run_killed_at_any_line_is_finished_by_the_next(world: World, ssh: Ssh) -> None:
    """Each try dies a few lines further on; whatever it left, the next one starts from there."""
    host = Host(world, ssh, "killed", [IPv4Address("198.51.100.80")], ["elder.example"])
    host.boot("mail")
    try:
        await host.first_contact()
        await host.converge(host.secured)
        deaths = [line for line in range(2, 80, 5) if await died(host, line)]
        assert len(deaths) > 5
        await host.converge(host.mailing)
        for moved in ("unmask opendkim", "disable --now penguin-caps.socket"):
            host.on_host(f"systemctl {moved} && systemctl daemon-reload")
            assert await died(host, BEFORE_THE_END)  # what systemd was not told is left to the next one too
            await host.converge(host.mailing)
        assert host.on_host("ls -A /var/lib/penguin/pending /var/lib/penguin/previous | grep -v : || true") == ""
        assert host.on_host("test ! -e /usr/sbin/policy-rc.d && systemctl --failed --no-legend --plain") == ""
        assert host.submit("postmaster@elder.example", to=["anna@elder.example"])[0] == 250
    finally:
        world.destroy_host("killed")


BEFORE_THE_END = -2


async def died(host: Host, line: int) -> bool:
    """Whether a run lived no longer than that many lines; False when it had fewer to go through."""
    script, payload = convergence.apply_script(await host.planned(host.mailing))
    dying = dies_at(script, line)
    if dying == script:
        return False
    assert await host.outcome_of(dying, payload) is None, "the script was meant to die"
    return True


def dies_at(script: str, line: int) -> str:
    """The script with a SIGKILL to itself before its n-th line after `begin`; unchanged if it is shorter."""
    head, begin, body = script.partition("\nbegin ")
    lines = body.split("\n")
    if line >= len(lines) - 2:
        return script
    return head + begin + "\n".join([*lines[:line], "kill -9 $$", *lines[line:]])


async def test_a_file_that_its_service_refuses_is_put_back_and_named(spare: Host) -> None:
    await spare.converge(spare.mailing)
    broken = with_content(spare.mailing, "/etc/dovecot/dovecot.conf", b"protocols = {\n")
    outcome = await spare.apply(await spare.planned(broken))
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.passing) == ("check-dovecot", False)
    assert "dovecot.conf" in outcome.detail
    assert await spare.planned(spare.mailing) == ()


STUMBLES = """
systemctl stop nftables
mkdir -p /run/systemd/system/nftables.service.d
cat >/run/systemd/system/nftables.service.d/stumbles.conf <<'UNIT'
[Service]
ExecStartPre=/bin/sh -c '[ -e /run/{0} ] || {{ echo "no rules today"; touch /run/stumbled; exit 1; }}'
UNIT
systemctl daemon-reload
"""


async def test_a_unit_that_stumbles_at_its_start_is_started_once_more_and_one_that_falls_has_its_last_words_told(
    spare: Host,
) -> None:
    await spare.converge(spare.secured)
    try:
        spare.on_host(STUMBLES.format("stumbled"))
        outcome = await spare.apply(await spare.planned(spare.secured))
        assert isinstance(outcome, Applied), outcome
        assert len(outcome.waited) == 1
        assert re.match(r"nftables came up at its second start; of the first: .*no rules today", outcome.waited[0])
        spare.on_host(STUMBLES.format("never"))
        fallen = await spare.apply(await spare.planned(spare.secured))
        assert isinstance(fallen, Refused)
        assert (fallen.reason, fallen.passing) == ("unit-nftables", False)
        assert "ActiveState=failed" in fallen.detail
        assert "no rules today" in fallen.detail
    finally:
        spare.on_host("rm -r /run/systemd/system/nftables.service.d && systemctl daemon-reload")
    await spare.converge(spare.secured)


def with_content(wish: Desired, path: str, content: bytes) -> Desired:
    def changed(component: Component) -> Component:
        return replace(
            component,
            files=tuple(replace(file, content=content) if file.path == path else file for file in component.files),
        )

    return replace(wish, components=tuple(map(changed, wish.components)))


HOLD = "import fcntl, time; f = open('{}', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(600)"


@pytest.mark.parametrize("lock", ["/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock"])
async def test_a_held_lock_of_apt_is_waited_for_then_told_and_nothing_is_broken(spare: Host, lock: str) -> None:
    await spare.converge(spare.secured)
    spare.on_host("apt-get -q -y remove unattended-upgrades && rm -f /var/lib/penguin/apt-updated")
    spare.on_host(f'systemd-run --quiet --unit=holds-apt python3 -c "{HOLD.format(lock)}"')
    spare.on_host(f'until [ -n "$(grep -s :$(stat -c %i {lock}) /proc/locks)" ]; do sleep 0.1; done')
    changes = await spare.planned(spare.secured)
    outcome = await spare.apply(changes, lock_wait=2)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.passing) == ("apt-lock", True)
    assert "lock" in outcome.detail
    spare.on_host("systemctl stop holds-apt")
    await spare.converge(spare.secured)


async def test_an_installation_that_died_half_way_is_finished(spare: Host) -> None:
    await spare.converge(spare.secured)
    spare.on_host("apt-get -q -y remove unattended-upgrades; cd /tmp && apt-get -q download unattended-upgrades")
    spare.on_host("dpkg --unpack /tmp/unattended-upgrades*.deb")
    facts = await spare.look(spare.secured)
    assert facts.dpkg_interrupted
    await spare.converge(spare.secured)


async def test_a_full_disk_is_named_and_the_same_run_ends_well_once_there_is_room(world: World, ssh: Ssh) -> None:
    host = Host(world, ssh, "full", [IPv4Address("198.51.100.70")], ["dogwood.example"])
    host.boot("bare", disk_mb=300)
    try:
        await host.first_contact()
        free = int(host.on_host("df --output=avail -m / | tail -n 1"))
        host.on_host(f"fallocate -l {free - 25}M /ballast")
        outcome = await host.apply(await host.planned(host.secured))
        assert isinstance(outcome, Refused)
        assert (outcome.reason, outcome.passing) == ("disk-full", False)
        assert re.match(r"/ has \d+ of 300 MB free: .*[Nn]o space left", outcome.detail), outcome.detail
        assert host.on_host("dpkg --audit"), "it was to stop in the middle of a package"
        host.on_host("rm /ballast")
        await host.converge(host.secured)
        assert host.on_host("dpkg --audit") == ""
        host.on_host("fallocate -l $(df --output=avail -B1 / | tail -n 1) /ballast || true")
        big = with_content(host.secured, "/etc/fail2ban/jail.d/penguin.local", b"#" * 2_000_000)
        outcome = await host.apply(await host.planned(big))
        assert isinstance(outcome, Refused)
        assert (outcome.reason, outcome.detail.partition(" MB ")[0]) == ("disk-full", "/ has 0 of 300"), outcome
        host.on_host("rm /ballast")
        await host.converge(host.secured)
    finally:
        world.destroy_host("full")


NEWER = r"""
set -e
mkdir /srv/newer && cd /srv/newer
apt-get -q download nftables && dpkg-deb -R nftables_*.deb tree && rm nftables_*.deb
sed -i 's/^Version: .*/&+story1/' tree/DEBIAN/control
echo '# as the distribution has it now' >>tree/etc/nftables.conf
printf '#!/bin/sh\nsleep 8\n' >tree/DEBIAN/preinst && chmod 755 tree/DEBIAN/preinst
dpkg-deb -b tree nftables_story.deb && apt-ftparchive packages . >Packages
echo 'deb [trusted=yes] file:/srv/newer ./' >/etc/apt/sources.list.d/newer.list
echo 'Unattended-Upgrade::Origins-Pattern { "origin=*"; };' >/etc/apt/apt.conf.d/99story
apt-get -q update && apt-get -q -y remove python3-systemd
echo '# a hand was here' >>/etc/nftables.conf
"""


async def test_an_upgrade_that_asks_in_its_window_is_waited_for_and_a_hands_change_is_put_right(spare: Host) -> None:
    """Debian's own unattended upgrade of a package whose conffile both sides changed, while we converge."""
    await spare.converge(spare.secured)
    spare.on_host(NEWER)
    spare.on_host("systemd-run --quiet --unit=window unattended-upgrade")
    spare.on_host("for i in $(seq 900); do ps -eo args | grep -q '[t]mp.ci/preinst' && break; sleep 0.1; done")
    changes = await spare.planned(spare.secured)
    assert [change.summary for change in changes] == [
        "packages: install nftables, python3-systemd", "firewall: /etc/nftables.conf",
    ], changes  # fmt: skip
    outcome = await spare.apply(changes)
    assert isinstance(outcome, Applied), outcome
    (waited,) = outcome.waited
    assert re.match(r"waited \d+ s for apt-lock: .*lock", waited), waited
    assert isinstance(await spare.confirm(), Applied)
    assert await spare.planned(spare.secured) == ()
    assert spare.on_host("dpkg-query -W -f '${Version}' nftables").endswith("+story1")
    assert "a hand was here" not in spare.on_host("cat /etc/nftables.conf")
    assert spare.on_host("dpkg --audit") == ""


async def test_two_runs_at_once_do_not_mix(spare: Host) -> None:
    await spare.converge(spare.secured)
    spare.on_host("systemd-run --quiet --unit=other-run flock /run/penguin/lock sleep 600")
    spare.on_host("until ! flock -n /run/penguin/lock true; do sleep 0.1; done")
    wider = secure_host.desired(replace(spare.security, ports=(25, 80, 443, 465, 587, 993)))
    outcome = await spare.apply(await spare.planned(wider), lock_wait=1)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.passing) == ("busy", True)
    spare.on_host("systemctl stop other-run")
    assert await spare.planned(spare.secured) == ()


async def test_no_secret_stays_in_a_log_or_in_the_arguments_of_a_process(spare: Host) -> None:
    await spare.converge(spare.mailing)
    hashes = [box.password_hash for box in spare.mail.mailboxes]
    told = spare.on_host(
        "journalctl --no-pager; cat /var/log/*.log; ps axww; cat /root/.bash_history 2>/dev/null || true"
    )
    assert all(secret not in told for secret in (*hashes, PASSWORD, ROOT_PASSWORD))
    assert "PRIVATE KEY" not in told
    assert spare.on_host("ls /run/penguin").split() == ["apt.log", "lock", "tar.log"]
