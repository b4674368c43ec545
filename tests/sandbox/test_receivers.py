import imaplib
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.message import Message
from uuid import uuid4

import pytest

from sandbox.network import entered
from sandbox.receivers import Delivered, NoSuchMessage, Receiver
from sandbox.world import World

pytestmark = pytest.mark.sandbox
LIVEMAIL = "203.0.113.29"
NAME, ADDRESS, DOMAIN = "sender", "198.51.100.230", "delta.example"
HELO = f"mail.{DOMAIN}"
CAROL = "carol@bigmail.example"
CAROL_TOO = "carol@livemail.example"


@pytest.fixture(scope="module")
def sender(world: World) -> Iterator[World]:
    """A host made by hand, with DNS that lets it send for its domain by SPF alone."""
    world.create_host(NAME, [ADDRESS], hostname=HELO, root_password="s")
    world.dns_update(
        DOMAIN,
        replace=[
            ("@", "TXT", [f"v=spf1 ip4:{ADDRESS} -all"]),
            ("_dmarc", "TXT", ["v=DMARC1; p=reject"]),
            ("mail", "A", [ADDRESS]),
        ],
    )
    world.set_ptr(ADDRESS, HELO)
    yield world
    world.destroy_host(NAME)


@pytest.fixture
def bigmail(sender: World) -> Iterator[Receiver]:
    receiver = sender.receiver("bigmail.example")
    receiver.clear()
    yield receiver
    receiver.clear()


@pytest.fixture
def livemail(sender: World) -> Iterator[Receiver]:
    receiver = sender.receiver("livemail.example")
    receiver.clear()
    yield receiver
    receiver.clear()


def send(
    world: World, text: str = "hello", *, to: str = CAROL, envelope: str = f"anna@{DOMAIN}", **headers: str
) -> str:
    """Speak SMTP from the host's own namespace; returns the Message-ID."""
    message_id = f"<{uuid4()}@{DOMAIN}>"
    fields = {"From": f"anna@{DOMAIN}", "To": to, "Subject": "s", "Message-ID": message_id, **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    with entered(world.state.namespace(NAME)):
        client = smtplib.SMTP(LIVEMAIL if to == CAROL_TOO else "203.0.113.25", 25, HELO, timeout=30)
    with client:
        client.sendmail(envelope, [to], f"{head}\r\n{text}\r\n")
    return message_id


def arrived(
    receiver: Receiver, wanted: Callable[[Delivered], bool], folder: str = "INBOX", box: str = "carol"
) -> Delivered:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for message in receiver.messages(box, folder):
            if wanted(message):
                return message
        time.sleep(0.1)
    pytest.fail("the message never came")


def with_id(message_id: str) -> Callable[[Delivered], bool]:
    return lambda message: message.parsed["Message-ID"] == message_id


def test_what_the_receiver_found_stands_in_one_header_on_top(bigmail: Receiver, sender: World) -> None:
    found = arrived(bigmail, with_id(send(sender))).parsed
    name, value = found.items()[0]
    assert name == "Authentication-Results"
    methods = " ".join(value.split())
    assert methods.startswith("mx.bigmail.example; spf=pass")
    assert "dkim=none" in methods
    assert "dmarc=pass (p=reject dis=none) header.from=delta.example" in methods
    assert found.get_all("Authentication-Results") == [value]


def test_a_forged_finding_stays_in_the_message_below_ours(bigmail: Receiver, sender: World) -> None:
    forged = "mx.bigmail.example; dkim=pass header.d=delta.example"
    found = arrived(bigmail, with_id(send(sender, Authentication_Results=forged))).parsed
    ours, theirs = found.get_all("Authentication-Results", [])
    assert theirs == forged
    assert "dkim=none" in ours


def test_a_message_that_fails_dmarc_is_rejected(bigmail: Receiver, sender: World) -> None:
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(sender, From="ceo@bigmail.example")
    assert refused.value.smtp_code == 550
    assert b"rejected by DMARC policy for bigmail.example" in refused.value.smtp_error


def test_a_forged_finding_can_turn_the_receivers_own_dmarc(bigmail: Receiver, sender: World) -> None:
    """Why a proof has to look at DKIM and SPF each, and verify the signatures itself (decision 0101)."""
    forged = "mx.bigmail.example; dkim=pass header.d=bigmail.example"
    found = arrived(bigmail, with_id(send(sender, From="ceo@bigmail.example", Authentication_Results=forged))).parsed
    ours = found.get_all("Authentication-Results", [])[0]
    assert "dmarc=pass" in ours
    assert "dkim=none" in ours


def test_an_unknown_recipient_is_refused(bigmail: Receiver, sender: World) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        send(sender, to="nobody@bigmail.example")
    assert refused.value.recipients["nobody@bigmail.example"][0] == 550


def test_a_listed_address_is_refused_until_it_is_delisted(bigmail: Receiver, sender: World) -> None:
    sender.list_address(ADDRESS, "dnsbl.example")
    try:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            send(sender)
    finally:
        sender.delist(ADDRESS, "dnsbl.example")
    code, text = refused.value.recipients[CAROL]
    assert (code, b"dnsbl.example" in text) == (554, True)
    send(sender)


def test_a_rule_with_uses_left_holds_just_as_often(bigmail: Receiver, sender: World) -> None:
    rule = {"match": {"sender": f"@{DOMAIN}"}, "action": "451 4.7.1 greylisted, try later", "left": 1}
    bigmail.rules([rule])
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        send(sender)
    code, text = refused.value.recipients[CAROL]
    assert (code, b"4.7.1" in text, b"greylisted, try later" in text) == (451, True, True)
    arrived(bigmail, with_id(send(sender)))


def test_a_rule_for_another_sender_does_not_hold(bigmail: Receiver, sender: World) -> None:
    bigmail.rules([{"match": {"sender": "@acme.example"}, "action": "550 5.7.1 blocked"}])
    arrived(bigmail, with_id(send(sender)))


def test_a_rule_can_send_to_junk(bigmail: Receiver, sender: World) -> None:
    bigmail.rules([{"match": {"sender": f"@{DOMAIN}"}, "action": "PREPEND X-Sandbox-Folder: Junk"}])
    message_id = send(sender)
    arrived(bigmail, with_id(message_id), "Junk")
    assert not [message for message in bigmail.messages() if with_id(message_id)(message)]


def test_roles_reach_a_mailbox(bigmail: Receiver, sender: World) -> None:
    arrived(bigmail, with_id(send(sender, to="postmaster@bigmail.example")))


def report_about(bigmail: Receiver, sender: World, subject: str) -> Message:
    found = arrived(bigmail, lambda message: message.parsed["Subject"].startswith(subject), box="dave")
    return found.parsed


def own_message(world: World, receiver: Receiver) -> str:
    """A message inside the receiver: its reports come back to a mailbox of its own."""
    message_id = f"<{uuid4()}@bigmail.example>"
    text = f"From: dave@bigmail.example\nTo: {CAROL}\nSubject: own\nMessage-ID: {message_id}\n\nhello\n"
    assert world.exec("bigmail", f"sendmail -f dave@bigmail.example {CAROL}", text.encode())[0] == 0
    arrived(receiver, with_id(message_id))
    return message_id


def test_a_complaint_is_a_feedback_report(bigmail: Receiver, sender: World) -> None:
    bigmail.complain(own_message(sender, bigmail))
    report = report_about(bigmail, sender, "FW: own")
    assert report.get_param("report-type") == "feedback-report"
    kinds = [part.get_content_type() for part in report.walk()]
    assert "message/feedback-report" in kinds
    assert "Feedback-Type: abuse" in report.as_string()
    assert f"Original-Rcpt-To: <{CAROL}>" in report.as_string()


def test_a_late_bounce_is_a_delivery_status(bigmail: Receiver, sender: World) -> None:
    bigmail.late_bounce(own_message(sender, bigmail), "5.1.1", "550 5.1.1 gone")
    report = report_about(bigmail, sender, "Undelivered")
    assert report.get_param("report-type") == "delivery-status"
    text = report.as_string()
    assert "Final-Recipient: rfc822; carol@bigmail.example" in text
    assert "Status: 5.1.1" in text
    assert "Diagnostic-Code: smtp; 550 5.1.1 gone" in text


def test_no_report_about_a_message_that_never_came(bigmail: Receiver) -> None:
    with pytest.raises(NoSuchMessage, match="never@came"):
        bigmail.complain("<never@came.example>")


@pytest.mark.parametrize("number", [25, 27, 28])
def test_every_mx_name_greets_and_its_certificate_verifies(sender: World, number: int) -> None:
    name = {25: "mx", 27: "mx2", 28: "mx3"}[number] + ".bigmail.example"
    context = ssl.create_default_context(cafile=sender.info["ca_file"])
    with sender.enter_control():
        client = smtplib.SMTP(timeout=20)
        code, _ = client.connect(f"203.0.113.{number}", 25)
    with client:
        client._host = name  # ours to say which name the certificate must bear
        client.starttls(context=context)
        assert (code, client.noop()[0]) == (220, 250)


def test_the_mailbox_is_read_over_imap_with_tls(bigmail: Receiver, sender: World) -> None:
    message_id = send(sender)
    arrived(bigmail, with_id(message_id))
    told, _ = sender.info["receivers"]
    context = ssl.create_default_context(cafile=told["ca_file"])
    context.check_hostname = False  # dialled by address; the name is checked below
    with sender.enter_control():
        box = imaplib.IMAP4_SSL(told["address"], ssl_context=context, timeout=20)
    names = dict(box.sock.getpeercert())["subjectAltName"]
    assert ("DNS", told["imap_host"]) in names
    assert box.login(told["mailbox"], told["password"])[0] == "OK"
    box.select("INBOX", readonly=True)
    _, (found,) = box.search(None, "HEADER", "Message-ID", message_id)
    assert found.split()
    box.logout()


def test_a_wrong_mailbox_password_is_refused(sender: World) -> None:
    told, _ = sender.info["receivers"]
    context = ssl.create_default_context(cafile=told["ca_file"])
    context.check_hostname = False
    with sender.enter_control():
        box = imaplib.IMAP4_SSL(told["address"], ssl_context=context, timeout=20)
    with pytest.raises(imaplib.IMAP4.error):
        box.login(told["mailbox"], "wrong")
    box.shutdown()


def refused(world: World) -> tuple[int, str]:
    """Code and text of livemail's refusal; 250 when it takes the message."""
    try:
        send(world, to=CAROL_TOO)
    except smtplib.SMTPRecipientsRefused as refusal:
        code, text = refusal.recipients[CAROL_TOO]
        return code, text.decode()
    return 250, ""


def test_the_lenient_receiver_files_what_fails_dmarc_into_junk(livemail: Receiver, sender: World) -> None:
    message_id = send(sender, to=CAROL_TOO, From="ceo@bigmail.example")
    found = arrived(livemail, with_id(message_id), "Junk").parsed
    assert "dmarc=fail" in str(found["Authentication-Results"])
    assert str(found["Authentication-Results"]).startswith("mx.livemail.example;")
    arrived(livemail, with_id(send(sender, to=CAROL_TOO)))


def test_the_lenient_receiver_words_its_refusal_of_a_listed_address_itself(livemail: Receiver, sender: World) -> None:
    sender.list_address(ADDRESS, "dnsbl.example")
    try:
        code, text = refused(sender)
    finally:
        sender.delist(ADDRESS, "dnsbl.example")
    assert (code, f"[{ADDRESS}] is not taken here" in text) == (550, True)


def test_greylisting_defers_the_first_contact_and_takes_the_next(livemail: Receiver, sender: World) -> None:
    livemail.behave("greylist", sender=f"@{DOMAIN}", seconds=2)
    assert refused(sender)[0] == 451
    time.sleep(2.1)
    assert refused(sender)[0] == 250


@pytest.mark.parametrize(
    ("manner", "text", "code"),
    [("defer", "4.3.2 closed for today", 451), ("reject", "5.7.1 we know why", 550), ("throttle", "4.7.0 slow", 421)],
)
def test_a_manner_is_told_in_the_given_words(
    livemail: Receiver, sender: World, manner: str, text: str, code: int
) -> None:
    livemail.behave(manner, sender=f"@{DOMAIN}", text=text)
    said, words = refused(sender)
    enhanced, _, reason = text.partition(" ")
    assert (said, words.startswith(enhanced), words.endswith(reason)) == (code, True, True), words
    livemail.behave("accept")
    assert refused(sender)[0] == 250


def test_the_command_line_tells_a_receiver_how_to_behave(livemail: Receiver, sender: World) -> None:
    words = [sys.executable, "-m", "sandbox", "--world", sender.state.world, "receiver", "livemail.example"]
    subprocess.run([*words, "junk", "--sender", f"@{DOMAIN}"], check=True, stdout=subprocess.DEVNULL, timeout=60)
    arrived(livemail, with_id(send(sender, to=CAROL_TOO)), "Junk")
    unknown = subprocess.run([*words[:-1], "nomail.example", "junk"], check=False, capture_output=True, timeout=60)
    assert (unknown.returncode, b"no receiver 'nomail.example'" in unknown.stderr) == (2, True)
