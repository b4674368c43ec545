"""Return paths with a signed token, b+<token>@bounce.<domain>: what comes back says which message it is about.

Anybody may write to a return path, so the token also says that we made it, for this domain, and until when an answer
is taken. It is written in small letters and digits, for receivers change the case of a local part. The same file runs
on the mail hosts: standard library only.

A token is 26 digits of reference (128 bits), 4 of the last day (days since 1970), 16 of HMAC-SHA256 cut to 80 bits.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

TAG: Final = "b"
BOUNCE: Final = "bounce."
DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letter is taken for a digit
REFERENCE, DAY, SEAL = 26, 4, 16  # characters
EPOCH: Final = date(1970, 1, 1)
LIFE_DAYS: Final = 30  # queues give up after five days; receivers that bounce late do so within weeks
KEY_BYTES: Final = 32


class Standing(StrEnum):
    """What is known of an address at a bounce domain."""

    GENUINE = "genuine"
    EXPIRED = "expired"
    FORGED = "forged"  # no token, a changed one, or one made for another domain or tenant
    OTHER = "other"  # no return path at all: postmaster@bounce.<domain>, or another domain's address


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """One address as read; `reference` and `domain` are given only where the seal is ours."""

    standing: Standing
    domain: str = ""
    reference: int | None = None
    expires_on: date | None = None


def return_path(key: bytes, *, domain: str, reference: int, sent_on: date) -> str:
    """The envelope sender of one message; `reference` is the message's id or UUID, below 2**128."""
    if not 0 <= reference < 1 << 128:
        raise ValueError("a reference has at most 128 bits")
    body = _written(reference, REFERENCE) + _written((sent_on - EPOCH).days + LIFE_DAYS, DAY)
    return f"{TAG}+{body}{_seal(key, domain, body)}@{BOUNCE}{domain}"


def read(address: str, keys: Mapping[str, Iterable[bytes]], today: date) -> ReturnPath:
    """What an address at a bounce domain is; `keys` by sending domain, a retired key beside its successor."""
    local, _, host = address.strip().strip("<>").lower().rpartition("@")
    domain = host.removeprefix(BOUNCE)
    tag, _, token = local.partition("+")
    if domain == host or domain not in keys or tag != TAG:
        return ReturnPath(Standing.OTHER)
    body, seal = token[:-SEAL], token[-SEAL:]
    if len(token) != REFERENCE + DAY + SEAL or not set(token) <= set(DIGITS):
        return ReturnPath(Standing.FORGED)
    if not any(hmac.compare_digest(seal, _seal(key, domain, body)) for key in keys[domain]):
        return ReturnPath(Standing.FORGED)
    expires_on = EPOCH + timedelta(days=_read(body[REFERENCE:]))
    standing = Standing.GENUINE if today <= expires_on else Standing.EXPIRED
    return ReturnPath(standing, domain, _read(body[:REFERENCE]), expires_on)


def _seal(key: bytes, domain: str, body: str) -> str:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key of return paths has {KEY_BYTES} bytes, got {len(key)}")
    digest = hmac.digest(key, f"return-path 1 {domain} {body}".encode(), "sha256")
    return _written(int.from_bytes(digest[: SEAL * 5 // 8]), SEAL)


def _written(number: int, width: int) -> str:
    return "".join(DIGITS[number >> 5 * place & 31] for place in reversed(range(width)))


def _read(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number << 5 | DIGITS.index(digit)
    return number
