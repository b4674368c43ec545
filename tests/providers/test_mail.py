import asyncio
import base64
import logging
import socket
import ssl
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from pydantic import SecretStr

from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.mail import Banner, Mailbox, Submission, probe
from tests.support.imap import ImapServer, imap_server
from tests.support.smtp import SmtpServer, submission_server
from tests.support.smtp_tls import server_context
from tests.support.sshd import free_port

HERE = IPv4Address("127.0.0.1")
HOST = "mail.acme.example"
PASSWORD = "CANARY-ümläut-5d1b"
MESSAGE = b"From: postmaster@acme.example\r\nTo: box@bigmail.example\r\nX-PM-Proof: n1\r\n\r\nhello\r\n"
ENVELOPE = {"sender": "postmaster@acme.example", "recipients": ["box@bigmail.example"]}


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> tuple[ssl.SSLContext, Path]:
    return server_context(tmp_path_factory.mktemp("tls"), HOST)


def submission(server: SmtpServer, ca_file: Path | None, **more) -> Submission:
    known = {
        "user": "postmaster@acme.example",
        "password": SecretStr(PASSWORD),
        "address": HERE,
        "timeout_seconds": 10,
    }
    return Submission(HOST, server.port, ca_file=ca_file, **{**known, **more})


async def send(tls, message: bytes = MESSAGE, *, replies=None, envelope=None, **more) -> SmtpServer:
    context, ca_file = tls
    with submission_server(SmtpServer(context, PASSWORD, replies or {})) as server:
        await submission(server, ca_file, **more).send(message, **(envelope or ENVELOPE))
    return server


async def test_a_message_is_taken_over_checked_tls_and_the_reply_kept(tls) -> None:
    context, ca_file = tls
    before = datetime.now(UTC)
    with submission_server(SmtpServer(context, PASSWORD)) as server:
        taken = await submission(server, ca_file).send(MESSAGE, **ENVELOPE)
    assert taken.queue_reply == "250 2.0.0 Ok: queued as 4T1x"
    assert taken.tls_version == "TLSv1.3"
    assert before <= taken.at <= datetime.now(UTC)
    (received,) = server.received
    assert (received.sender, received.recipients) == ("<postmaster@acme.example>", ["<box@bigmail.example>"])
    assert received.content == MESSAGE
    assert server.connections == 1


async def test_no_credential_and_no_envelope_is_said_in_clear(tls) -> None:
    server = await send(tls)
    assert [line.split()[0].upper() for line in server.clear_text] == [b"EHLO", b"STARTTLS"]


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"a: b\n\nx\n", b"a: b\r\n\r\nx\r\n"),
        (b"a: b\r\n\r\n.\r\n..x\r\n", b"a: b\r\n\r\n..\r\n...x\r\n"),
        (b"a: b\r\n\r\nno end", b"a: b\r\n\r\nno end\r\n"),
        (b"a: b\r\rx\n.", b"a: b\r\n\r\nx\r\n..\r\n"),
        (b"a: b\r\n\r\n\r\n\r\n", b"a: b\r\n\r\n\r\n\r\n"),
    ],
)
async def test_lines_travel_as_smtp_wants_them(tls, message, wire) -> None:
    assert (await send(tls, message)).received[0].content == wire


async def test_eight_bit_text_is_announced(tls) -> None:
    assert (await send(tls, "a: b\n\nü\n".encode())).received[0].arguments == "BODY=8BITMIME"
    assert (await send(tls)).received[0].arguments == ""


async def test_the_null_sender_and_several_recipients_are_possible(tls) -> None:
    envelope = {"sender": "", "recipients": ["a@bigmail.example", "b@bigmail.example"]}
    received = (await send(tls, envelope=envelope)).received[0]
    assert (received.sender, received.recipients) == ("<>", ["<a@bigmail.example>", "<b@bigmail.example>"])


@pytest.mark.parametrize(
    ("occasion", "reply", "error"),
    [
        ("greeting", "421 4.3.2 too busy", Unavailable),
        ("greeting", "554 5.7.1 not you", Rejected),
        ("greeting", "drop", Unavailable),
        ("greeting", "silent", Unavailable),
        ("greeting", "HTTP/1.1 400 Bad Request", Unavailable),
        ("ehlo", "550 5.7.1 no", Rejected),
        ("starttls", "454 4.7.0 no TLS now", Unavailable),
        ("auth", "535 5.7.8 no", Unauthorized),
        ("auth", "534 5.7.9 too weak", Unauthorized),
        ("auth", "454 4.7.0 try later", Unavailable),
        ("auth", "drop", Unavailable),
        ("mail", "451 4.7.1 later", Unavailable),
        ("mail", "553 5.7.1 sender not owned", Rejected),
        ("rcpt", "450 4.7.1 over cap", Unavailable),
        ("rcpt", "550 5.1.1 unknown", Rejected),
        ("data", "452 4.3.1 no room", Unavailable),
        ("data", "554 5.5.1 no", Rejected),
        ("data", "drop", Unavailable),
        ("message", "451 4.7.1 later", Unavailable),
        ("message", "550 5.7.1 rejected by DMARC policy", Rejected),
        ("message", "drop", Unconfirmed),
        ("message", "silent", Unconfirmed),
        ("message", "what?", Unconfirmed),
    ],
)
async def test_each_answer_says_whether_to_repeat_look_or_mend(tls, occasion, reply, error) -> None:
    with pytest.raises(ProviderError) as failure:
        await send(tls, replies={occasion: reply}, timeout_seconds=1.5 if reply == "silent" else 10)
    assert type(failure.value) is error
    if reply[0].isdigit():
        assert reply in str(failure.value)


async def test_a_message_cut_off_before_its_end_was_not_sent(tls) -> None:
    with pytest.raises(Unavailable):
        await send(tls, MESSAGE + b"x" * 70 * 300_000, replies={"body": "drop"})


async def test_a_goodbye_that_fails_does_not_undo_an_accepted_message(tls) -> None:
    assert len((await send(tls, replies={"quit": "drop"})).received) == 1


async def test_a_wrong_password_is_unauthorized(tls) -> None:
    with pytest.raises(Unauthorized):
        await send(tls, password=SecretStr("other"))


async def test_a_server_without_starttls_or_auth_gets_no_credential(tls) -> None:
    context, ca_file = tls
    for server in (
        SmtpServer(context, PASSWORD, starttls=False),
        SmtpServer(context, PASSWORD, features=("8BITMIME",)),
    ):
        with submission_server(server), pytest.raises(Rejected, match="offers no"):
            await submission(server, ca_file).send(MESSAGE, **ENVELOPE)
        assert not any(line.startswith(b"AUTH") for line in server.clear_text)


async def test_a_certificate_of_another_authority_or_name_gets_no_credential(tls, tmp_path) -> None:
    _, other_ca = server_context(tmp_path, HOST)
    context, ca_file = tls
    with submission_server(SmtpServer(context, PASSWORD)) as server:
        for strict in (
            submission(server, other_ca),
            submission(server, None),
            Submission(
                "other.acme.example", server.port, user="x", password=SecretStr("y"), ca_file=ca_file, address=HERE
            ),
        ):
            with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await strict.send(MESSAGE, **ENVELOPE)
    assert not server.received


async def test_nobody_at_the_port_is_unavailable(tls) -> None:
    nobody = Submission(
        HOST, free_port(), user="x", password=SecretStr("y"), ca_file=None, address=HERE, timeout_seconds=1
    )
    with pytest.raises(Unavailable):
        await nobody.send(MESSAGE, **ENVELOPE)


@pytest.mark.timeout(30)  # the steps themselves would wait for minutes
@pytest.mark.parametrize("occasion", ["mail", "message"])
async def test_the_whole_conversation_has_a_limit(tls, occasion) -> None:
    error = Unconfirmed if occasion == "message" else Unavailable
    with pytest.raises(error):
        await send(tls, replies={occasion: "silent"}, timeout_seconds=600, limit_seconds=2)


@pytest.mark.timeout(30)  # the thread would wait for minutes
async def test_a_cancelled_conversation_ends(tls) -> None:
    context, ca_file = tls
    with submission_server(SmtpServer(context, PASSWORD, {"mail": "silent"})) as server:
        task = asyncio.create_task(submission(server, ca_file, timeout_seconds=600).send(MESSAGE, **ENVELOPE))
        while not server.connections:  # noqa: ASYNC110 (the server lives in another thread)
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    "envelope",
    [
        {"sender": "a@b.example", "recipients": []},
        {"sender": "a@b.example", "recipients": ["x> RCPT TO:<y@z.example"]},
        {"sender": "a@b.example\r\nRSET", "recipients": ["x@z.example"]},
        {"sender": "a@b.example", "recipients": ["nobody"]},
        {"sender": "a@b.example", "recipients": [""]},
    ],
)
async def test_an_envelope_that_could_say_more_than_an_address_is_refused(tls, envelope) -> None:
    with pytest.raises(Rejected, match="plain addresses"):
        await send(tls, envelope=envelope)


def message(nonce: str) -> bytes:
    return MESSAGE.replace(b"n1", nonce.encode())


def mailbox(server: ImapServer, ca_file: Path | None, **more) -> Mailbox:
    known = {"user": "box@bigmail.example", "password": SecretStr(PASSWORD), "address": HERE, "timeout_seconds": 10}
    return Mailbox(HOST, server.port, ca_file=ca_file, **{**known, **more})


async def find(tls, server_facts=None, value: str = "n1", header: str = "X-PM-Proof", **more):
    context, ca_file = tls
    with imap_server(ImapServer(context, PASSWORD, **(server_facts or {}))) as server:
        return await mailbox(server, ca_file, **more).find(header, value)


async def test_a_message_is_found_by_its_nonce_and_read_whole(tls) -> None:
    (found,) = await find(tls, {"folders": {"INBOX": [message("n0"), MESSAGE], "Junk": []}})
    assert (found.raw, found.folder) == (MESSAGE, "INBOX")
    assert found.received_at == datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


async def test_junk_is_searched_too_and_named(tls) -> None:
    found = await find(tls, {"folders": {"INBOX": [MESSAGE], "Junk": [MESSAGE]}})
    assert [one.folder for one in found] == ["INBOX", "Junk"]


async def test_a_mailbox_without_a_junk_folder_is_searched(tls) -> None:
    assert len(await find(tls, {"folders": {"INBOX": [MESSAGE]}})) == 1


async def test_part_of_a_nonce_does_not_match(tls) -> None:
    assert await find(tls, {"folders": {"INBOX": [message("n1"), message("n12")]}}, value="n12") != ()
    assert await find(tls, {"folders": {"INBOX": [message("n12"), message("xn1")]}}) == ()


async def test_the_mailbox_is_only_read(tls) -> None:
    context, ca_file = tls
    with imap_server(ImapServer(context, PASSWORD, {"INBOX": [MESSAGE], "Junk": []})) as server:
        await mailbox(server, ca_file).find("X-PM-Proof", "n1")
    assert set(server.commands) <= {"CAPABILITY", "AUTHENTICATE", "EXAMINE", "SEARCH", "FETCH", "LOGOUT"}


async def test_an_unreadable_date_is_no_date(tls) -> None:
    (found,) = await find(tls, {"folders": {"INBOX": [MESSAGE]}, "date": b"yesterday"})
    assert found.received_at is None


@pytest.mark.parametrize(
    ("command", "reply", "error"),
    [
        ("AUTHENTICATE", "NO [AUTHENTICATIONFAILED] no", Unauthorized),
        ("AUTHENTICATE", "NO [UNAVAILABLE] back end is away", Unavailable),
        ("AUTHENTICATE", "drop", Unavailable),
        ("EXAMINE", "NO not now", Unavailable),
        ("SEARCH", "NO not now", Unavailable),
        ("SEARCH", "BAD what?", Unavailable),
        ("FETCH", "drop", Unavailable),
        ("FETCH", "silent", Unavailable),
    ],
)
async def test_a_mailbox_that_cannot_be_read_says_why(tls, command, reply, error) -> None:
    patience = 1 if reply == "silent" else 10
    with pytest.raises(ProviderError) as failure:
        await find(tls, {"folders": {"INBOX": [MESSAGE]}, "replies": {command: reply}}, timeout_seconds=patience)
    assert type(failure.value) is error


async def test_a_failed_goodbye_does_not_lose_what_was_found(tls) -> None:
    assert len(await find(tls, {"folders": {"INBOX": [MESSAGE]}, "replies": {"LOGOUT": "drop"}})) == 1


async def test_a_wrong_mailbox_password_is_unauthorized(tls) -> None:
    with pytest.raises(Unauthorized):
        await find(tls, password=SecretStr("other"))


async def test_a_mailbox_behind_an_untrusted_certificate_gets_no_credential(tls) -> None:
    context, _ = tls
    with imap_server(ImapServer(context, PASSWORD)) as server, pytest.raises(Unavailable):
        await mailbox(server, None).find("X-PM-Proof", "n1")
    assert not server.commands


@pytest.mark.timeout(30)  # the steps themselves would wait for minutes
async def test_reading_a_mailbox_has_a_limit(tls) -> None:
    facts = {"replies": {"SEARCH": "silent"}}
    with pytest.raises(Unavailable):
        await find(tls, facts, timeout_seconds=600, limit_seconds=2)


@pytest.mark.parametrize("value", ['n1" OR ALL "', "n1\r\nLOGOUT", "", "nö", "n\\1"])
async def test_a_search_for_more_than_a_word_is_refused(tls, value) -> None:
    with pytest.raises(Rejected, match="plain ASCII"):
        await find(tls, value=value)


async def test_a_greeting_tells_code_and_name(tls) -> None:
    with submission_server(SmtpServer(tls[0], PASSWORD)) as server:
        assert await probe(HERE, server.port, timeout_seconds=5) == Banner(220, "mail.acme.example ESMTP")
    with submission_server(SmtpServer(tls[0], PASSWORD, {"greeting": "554 no"})) as server:
        assert await probe("127.0.0.1", server.port, timeout_seconds=5) == Banner(554, "no")


@pytest.mark.parametrize("greeting", ["silent", "drop", "SSH-2.0-x", "22", "²²² x", "x" * 10_000])
async def test_anything_but_a_greeting_is_none(tls, greeting) -> None:
    with submission_server(SmtpServer(tls[0], PASSWORD, {"greeting": greeting})) as server:
        assert await probe(HERE, server.port, timeout_seconds=0.3) is None
    assert await probe(HERE, free_port(), timeout_seconds=5) is None


async def test_no_secret_shows_in_repr_log_or_errors(tls, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    context, ca_file = tls
    shown: list[str] = []
    with submission_server(SmtpServer(context, "right")) as smtp, imap_server(ImapServer(context, "right")) as imap:
        sender, reader = submission(smtp, ca_file), mailbox(imap, ca_file)
        shown += [repr(sender), str(vars(sender)), repr(reader), str(vars(reader))]
        for call in (sender.send(MESSAGE, **ENVELOPE), reader.find("X-PM-Proof", "n1")):  # both servers quote it
            with pytest.raises(Unauthorized) as refused:
                await call
            shown += [str(refused.value), repr(refused.value), repr(refused.value.__cause__)]
    text = "\n".join([*shown, caplog.text])
    assert "***" in text
    assert PASSWORD not in text
    assert base64.b64encode(f"\0postmaster@acme.example\0{PASSWORD}".encode()).decode() not in text


async def test_a_found_message_does_not_show_its_text_in_repr(tls) -> None:
    (found,) = await find(tls, {"folders": {"INBOX": [MESSAGE]}})
    assert "hello" not in repr(found)


async def test_the_chosen_source_address_is_used(tls) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        port = listener.getsockname()[1]
        from_there = Submission(
            HOST,
            port,
            user="x",
            password=SecretStr("y"),
            ca_file=None,
            address=HERE,
            source=IPv4Address("127.0.0.9"),
            timeout_seconds=0.3,
        )
        with pytest.raises(Unavailable):
            await from_there.send(MESSAGE, **ENVELOPE)
        connection, peer = listener.accept()
        connection.close()
    assert peer[0] == "127.0.0.9"
