#!/usr/bin/python3
"""Files one message into a mailbox, with the receiver's findings in one Authentication-Results header on top.

receiver_filing.py SENDER RECIPIENT, the message on standard input. Three programs here judge a message and
each writes a header of its own; the large providers write one (RFC 8601 section 5 permits both). Only what stands
above our own Received field is ours: a header that came with the message stays where it is, forged or not.
"""

import os
import re
import subprocess
import sys

FIELD = re.compile(rb"[^\n]*\n(?:[ \t][^\n]*\n)*")  # RFC 5322 section 2.2.3: a line and its folded rest
DELIVER = "/usr/lib/dovecot/dovecot-lda"
ORDER = (b"spf=", b"dkim=", b"dmarc=")


def fields_of(head: bytes) -> list[bytes]:
    """Split a message's head into fields, each with its folded lines."""
    return FIELD.findall(head)


def finding(field: bytes, authserv_id: bytes) -> bytes | None:
    """Return what a field found under this id, None for any other field."""
    name, _, value = field.partition(b":")
    served, _, found = b" ".join(value.split()).partition(b"; ")
    ours = name.strip().lower() == b"authentication-results" and served.lower() == authserv_id.lower()
    return found if ours else None


def rank(found: bytes) -> int:
    """Order findings as readers expect them: SPF, DKIM, DMARC."""
    return next((place for place, method in enumerate(ORDER) if found.startswith(method)), len(ORDER))


def gathered(message: bytes, authserv_id: bytes) -> bytes:
    """Put the findings above our Received field into one field on top of the message."""
    head, gap, body = message.partition(b"\n\n")
    fields = fields_of(head + b"\n")
    above = next((place for place, field in enumerate(fields) if field.lower().startswith(b"received:")), 0)
    found = [finding(field, authserv_id) for field in fields[:above]]
    kept = [field for field, was in zip(fields[:above], found, strict=True) if was is None]
    ours = sorted((was for was in found if was is not None), key=rank)
    top = b"Authentication-Results: " + b";\n\t".join([authserv_id, *ours]) + b"\n" if ours else b""
    return top + b"".join(kept + fields[above:]).rstrip(b"\n") + gap + body


def main() -> int:
    """Hand the message on to Dovecot; its exit code is Postfix's answer."""
    sender, recipient = sys.argv[1:3]
    authserv_id = f"mx.{recipient.rpartition('@')[2]}"
    message = gathered(sys.stdin.buffer.read(), authserv_id.encode())
    words = [DELIVER, "-e", "-f", sender, "-d", recipient]
    return subprocess.run(words, input=message, check=False, timeout=60, env=dict(os.environ)).returncode


if __name__ == "__main__":
    sys.exit(main())
