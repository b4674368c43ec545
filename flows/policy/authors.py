"""Who a message says it is from: at submission exactly one plain address of the login's own domain.

The DKIM signer goes by From, so whoever chooses From chooses whose key signs. Accepted is less than RFC 5322 section
3.4 allows, and nothing two readers could read in two ways: one mailbox, its name if any, a comment at the end. Groups
(RFC 6854) and several authors (RFC 7489 section 6.6.1) are refused. The same file runs on the mail hosts: standard
library only.
"""

import re
from collections.abc import Sequence
from typing import Final

ATEXT: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
LOCAL: Final = rf"[{ATEXT}]+(?:\.[{ATEXT}]+)*"
DOMAIN: Final = rf"{LABEL}(?:\.{LABEL})*"
QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
NAME: Final = rf"(?:[{ATEXT}. \t]|{QUOTED})*"  # encoded words (RFC 2047 section 5) are made of these too
COMMENT: Final = r'(?:[ \t]*\([^()\\<>@,;:"]*\))?'
MAILBOX: Final = re.compile(rf"[ \t]*(?:{NAME}<{LOCAL}@(?P<named>{DOMAIN})>|{LOCAL}@(?P<bare>{DOMAIN})){COMMENT}[ \t]*")
FOLD: Final = re.compile(r"\r?\n(?=[ \t])")
PRINTED: Final = re.compile(r"[\t\x20-\x7e]*")  # another script belongs into encoded words
LONGEST: Final = 998  # characters; RFC 5322 section 2.1.1


def refusal(fields: Sequence[str], domain: str) -> str | None:
    """Why a message with these From fields may not leave for a login of `domain`; None when it may."""
    if len(fields) != 1:
        return f"a message has one From field, this one has {len(fields)}"
    text = FOLD.sub("", fields[0])
    if len(text) > LONGEST or not PRINTED.fullmatch(text):
        return "From holds what no header may hold: another script is written in encoded words"
    found = MAILBOX.fullmatch(text)
    if found is None:
        return f"From must be exactly one address at {domain}: no list, no group, nothing quoted in the address"
    author = (found["named"] or found["bare"]).lower()
    return None if author == domain.lower() else f"From must be an address at {domain}, not at {author}"
