"""A stranger and a user in the world: SMTP from the control room, and what lies in a server's mailboxes."""

import smtplib
import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager
from email.message import EmailMessage

from tests.support.world import Lab, Tenant

GREETING = "control.lab.example"
ARRIVES_WITHIN_SECONDS = 60.0


@contextmanager
def line_to(lab: Lab, tenant: Tenant, port: int = 25, login: tuple[str, str] | None = None) -> Generator[smtplib.SMTP]:
    """A conversation with a tenant's server; submission is over TLS that the world's authority vouches for."""
    address = lab.instance_of(tenant)["ip"]
    with lab.world.enter_control(), smtplib.SMTP(address, port, GREETING, timeout=60) as line:
        if port != 25:
            trust = ssl.create_default_context(cafile=lab.world.info["trust_file"])
            trust.check_hostname = False  # it is called by its address here; the product checks the name
            line.starttls(context=trust)
        if login:
            line.login(*login)
        yield line


def refusal(line: smtplib.SMTP, sender: str, recipient: str, message: bytes = b"") -> str:
    """Code and text of the first refusal of one message; empty when it was taken."""
    message = message or written(sender, recipient)
    try:
        line.sendmail(sender, [recipient], message)
    except smtplib.SMTPRecipientsRefused as refused:
        code, text = refused.recipients[recipient]
    except smtplib.SMTPResponseException as refused:
        code, text = refused.smtp_code, refused.smtp_error
    else:
        return ""
    return f"{code} {text.decode() if isinstance(text, bytes) else text}"


def written(author: str, recipient: str, subject: str = "A letter") -> bytes:
    """A small message."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = author, recipient, subject
    message.set_content("Good morning.\n")
    return message.as_bytes()


def delivered(lab: Lab, tenant: Tenant, subject: str) -> str:
    """The file on a tenant's server that holds a message of this subject; fails when it does not come.

    Neither one that is still being written (tmp) nor the mail server's own cache is it.
    """
    mailboxes = r"find /var/vmail -type f \( -path '*/new/*' -o -path '*/cur/*' \)"
    deadline = time.monotonic() + ARRIVES_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if found := lab.on_host(tenant, f"{mailboxes} -exec grep -l 'Subject: {subject}' {{}} + || :").strip():
            return found
        time.sleep(0.3)
    raise AssertionError(f"no message {subject!r} on the server of {tenant.domain}")
