#!/usr/bin/python3
"""Prints a report about a delivered message, which is read from standard input: a complaint or a late bounce.

receiver_report.py complaint|bounce RECEIVER-DOMAIN RECIPIENT SOURCE-ADDRESS STATUS TEXT
Formats: RFC 5965 (message/feedback-report), RFC 3464 (message/delivery-status).
"""

import sys
from email import message_from_bytes
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formatdate, make_msgid, parseaddr

Fields = list[tuple[str, str]]


def block(fields: Fields) -> Message:
    """Make one group of header lines, as both report formats want them."""
    made = Message()
    for name, value in fields:
        made[name] = value
    return made


def part(content_type: str, *groups: Fields) -> Message:
    """Make the machine-readable part; each group is a message of headers only, otherwise readers see no groups."""
    made = Message()
    made["Content-Type"] = content_type
    made.set_payload([block(fields) for fields in groups])
    return made


def original_headers(original: Message) -> Message:
    """Quote the headers of the message that the report is about (RFC 3462 section 2)."""
    quoted = Message()
    quoted["Content-Type"] = "text/rfc822-headers"
    quoted.set_payload("".join(f"{name}: {value}\n" for name, value in original.items()))
    return quoted


def complaint(sender: str, recipient: str, source: str) -> tuple[str, Message]:
    """Make the text and the report of a recipient who pressed the spam button."""
    fields: Fields = [
        ("Feedback-Type", "abuse"),
        ("User-Agent", "Sandbox-FBL/1.0"),
        ("Version", "1"),
        ("Original-Mail-From", f"<{sender}>"),
        ("Original-Rcpt-To", f"<{recipient}>"),
        ("Source-IP", source),
        ("Arrival-Date", formatdate()),
    ]
    return "This is a complaint about a message from your network.\n", part("message/feedback-report", fields)


def bounce(host: str, recipient: str, status: str, text: str) -> tuple[str, Message]:
    """Make the text and the report of a message that was accepted first and refused later."""
    per_message: Fields = [("Reporting-MTA", f"dns; {host}"), ("Arrival-Date", formatdate())]
    per_recipient: Fields = [
        ("Final-Recipient", f"rfc822; {recipient}"),
        ("Action", "failed"),
        ("Status", status),
        ("Diagnostic-Code", f"smtp; {text}"),
    ]
    said = "The message was accepted and could not be delivered afterwards.\n"
    return said, part("message/delivery-status", per_message, per_recipient)


def report(kind: str, domain: str, recipient: str, source: str, status: str, text: str) -> Message:
    """Build the whole report about the message on standard input."""
    original = message_from_bytes(sys.stdin.buffer.read())
    sender = parseaddr(original.get("Return-Path", ""))[1]
    host, about_complaint = f"mx.{domain}", kind == "complaint"
    said, machine_part = (
        complaint(sender, recipient, source) if about_complaint else bounce(host, recipient, status, text)
    )
    made = MIMEMultipart("report")
    made.set_param("report-type", "feedback-report" if about_complaint else "delivery-status")
    made["From"] = f"fbl@{domain}" if about_complaint else f"MAILER-DAEMON@{host}"
    made["To"] = sender
    made["Subject"] = f"FW: {original['Subject']}" if about_complaint else "Undelivered Mail Returned to Sender"
    made["Date"], made["Message-ID"] = formatdate(), make_msgid(domain=host)
    for piece in (MIMEText(said), machine_part, original_headers(original)):
        made.attach(piece)
    return made


if __name__ == "__main__":
    sys.stdout.write(report(*sys.argv[1:7]).as_string())
