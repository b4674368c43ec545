"""Names that we coin ourselves and publish in DNS: selectors, labels, ownership tokens."""

import re
from collections.abc import Collection
from datetime import date
from string import ascii_lowercase
from typing import Final

ALGORITHM_LETTER: Final = {"rsa": "r", "ed25519": "e"}
SLOT: Final = re.compile(r"pm[1-4]")
VERIFICATION_TOKEN: Final = re.compile(r"[0-9a-f]{32}")
DNS_LABEL: Final = re.compile(r"[a-z2-7]{10}")


def dkim_selector(algorithm: str, on: date, taken: Collection[str] = ()) -> str:
    """Dated selector, `pm202611r` for RSA and `pm202611e` for Ed25519; `b`, `c` … follow when the name is taken."""
    stem = f"pm{on:%Y%m}{ALGORITHM_LETTER[algorithm]}"
    for suffix in ("", *ascii_lowercase[1:]):
        if stem + suffix not in taken:
            return stem + suffix
    raise ValueError(f"all selectors of {on:%Y-%m} for {algorithm} are taken")


def is_slot(selector: str) -> bool:
    """Whether the selector is one of the four that a tenant delegates to the platform zone by CNAME."""
    return SLOT.fullmatch(selector) is not None


def ownership_text(token: str) -> str:
    """The TXT value that proves control of a domain; the token is 32 hex digits."""
    if not VERIFICATION_TOKEN.fullmatch(token):
        raise ValueError("a verification token is 32 lower-case hex digits")
    return f"pm-verify={token}"
