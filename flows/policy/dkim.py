"""DKIM key records: RFC 6376 section 3.6.1, RFC 8301 (key size), RFC 8463 (Ed25519). Keys are compared, not text."""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from flows.policy.names import is_record_name, shortened
from flows.policy.verdict import Truth, Verdict

TAG_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
WHITE_SPACE: Final = dict.fromkeys(map(ord, " \t\r\n"))
ED25519_SPKI: Final = bytes.fromhex("302a300506032b6570032100")
RSA_OID: Final = bytes.fromhex("06092a864886f70d010101")
MIN_RSA_BITS: Final = 2048
VOID_RSA_BITS: Final = 1024  # RFC 8301 section 3.2: verifiers must refuse anything shorter
SHORT_LENGTH: Final = 0x80  # DER: lengths below are one byte


class DkimSyntax(ValueError):
    """The text is no DKIM key record."""


@dataclass(frozen=True, slots=True)
class DkimRecord:
    """A key of ours: `public_b64` is SubjectPublicKeyInfo for rsa, the 32 raw bytes for ed25519."""

    selector: str
    algorithm: str
    public_b64: str
    gates: bool = True  # False: its record stands, or is to stand, but decides nothing: a key that comes or goes

    @property
    def text(self) -> str:
        """What is published at the selector."""
        return f"v=DKIM1; k={self.algorithm}; p={self.public_b64}"


class KeyRecord(NamedTuple):
    """A published key as a verifier reads it; an empty key is a revoked one."""

    algorithm: str
    key: bytes
    hashes: tuple[str, ...] | None  # None: any
    services: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """The key in a form short enough for a sentence."""
        return f"k={self.algorithm} sha256:{hashlib.sha256(self.key).hexdigest()[:12]}"


@lru_cache(maxsize=1024)  # asked for, and then judged
def key_name(selector: str, domain: str) -> str:
    """Where the key of a selector stands; ValueError with one sentence for what is no selector."""
    name = f"{selector}._domainkey.{domain}"
    if selector.endswith(".") or not is_record_name(name):
        raise ValueError(f"{shortened(selector)} is no DKIM selector of {domain}: labels of 1 to 63 letters and digits")
    return name


def parse_key_record(text: str) -> KeyRecord:
    """The key and its conditions; DkimSyntax says what is wrong."""
    tags = tag_list(text)
    if "v" in tags and (next(iter(tags)) != "v" or tags["v"] != "DKIM1"):
        raise DkimSyntax("v=DKIM1 must come first")
    if "p" not in tags:
        raise DkimSyntax("there is no p= tag")
    return KeyRecord(
        tags.get("k", "rsa").lower(),
        decoded(tags["p"]),
        words(tags["h"]) if "h" in tags else None,
        words(tags.get("s", "*")),
        words(tags.get("t", "")),
    )


def tag_list(text: str) -> dict[str, str]:
    """Tags in their order (RFC 6376 section 3.2); a tag that stands twice spoils the whole record."""
    tags: dict[str, str] = {}
    parts = text.split(";")
    if not parts[-1].strip():
        parts.pop()
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not TAG_NAME.fullmatch(name):
            raise DkimSyntax(f"{part.strip()[:40]!r} is no tag")
        if name in tags:
            raise DkimSyntax(f"the tag {name}= stands twice")
        tags[name] = value.strip()
    return tags


def decoded(text: str) -> bytes:
    """Key bytes of a p= tag, white space inside allowed."""
    try:
        return base64.b64decode(text.translate(WHITE_SPACE), validate=True)
    except (binascii.Error, ValueError):
        raise DkimSyntax("p= is not base64") from None


def words(text: str) -> tuple[str, ...]:
    """A colon-separated list in lower case."""
    return tuple(word for part in text.split(":") if (word := part.strip().lower()))


def rsa_bits(key: bytes) -> int | None:
    """Modulus length of an RSA key in SubjectPublicKeyInfo or bare RSAPublicKey form; None when it is neither."""
    try:
        body, _ = der(key, 0x30)
        first_tag = body[0]
        if first_tag == 0x30:  # noqa: PLR2004  DER tag SEQUENCE: the algorithm identifier
            algorithm, rest = der(body, 0x30)
            if not algorithm.startswith(RSA_OID):
                return None
            bits, _ = der(rest, 0x03)
            body, _ = der(bits[1:], 0x30)
        modulus, _ = der(body, 0x02)
        return int.from_bytes(modulus, "big").bit_length()
    except (IndexError, ValueError):
        return None


def der(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Contents of the DER element that `data` begins with, and what follows it."""
    if data[0] != tag:
        raise ValueError(f"DER tag {data[0]:#x} where {tag:#x} must stand")
    length, at = data[1], 2
    if length >= SHORT_LENGTH:
        count = length - SHORT_LENGTH
        length, at = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if at + length > len(data):
        raise ValueError("DER element is cut")
    return data[at : at + length], data[at + length :]


def judge_key(subject: str, expected: str, values: Sequence[str]) -> Verdict:
    """Whether the TXT values at a selector carry our key; `expected` is the text we publish."""
    ours = parse_key_record(expected)
    if len(values) != 1:
        return refusal(subject, ours, values, *none_or_many(ours, values))
    try:
        found = parse_key_record(values[0])
    except DkimSyntax as error:
        return refusal(subject, ours, values, "not_a_key", f"the record cannot be read: {error}")
    if fault := key_fault(ours, found) or condition_fault(found):
        return refusal(subject, ours, (found.fingerprint,), *fault)
    warnings = ("t=y: receivers may treat the signature as a test",) if "y" in found.flags else ()
    return Verdict(subject, Truth.PASS, expected=ours.fingerprint, found=(found.fingerprint,), warnings=warnings)


def none_or_many(ours: KeyRecord, values: Sequence[str]) -> tuple[str, str]:
    """The fault of a name that has not exactly one TXT record, with what to do."""
    if not values:
        return "missing", "publish the record"
    if any(same_key(ours, joined) for joined in ("".join(values), "".join(reversed(values)))):
        return "multiple_keys", "these are two records: make them one record with two strings"
    return "multiple_keys", "only one TXT record may stand here: delete the others"


def key_fault(ours: KeyRecord, found: KeyRecord) -> tuple[str, str] | None:
    """Reason and remedy when the key is not ours."""
    if not found.key:
        return "revoked", "p= is empty, which revokes the key: publish the key"
    if found.algorithm == ours.algorithm and found.key == ours.key:
        return None
    if found.algorithm == "ed25519" and found.key == ED25519_SPKI + ours.key:
        return "ed25519_wrapped", "p= must be the 32 raw key bytes (44 characters), without the wrapping"
    if len(found.key) < len(ours.key) and ours.key.startswith(found.key):
        return "key_cut", "the value was cut: paste it again as two quoted parts of at most 255 characters"
    bits = rsa_bits(found.key) if found.algorithm == "rsa" else None
    if bits is not None and bits < MIN_RSA_BITS:
        void = ", and below 1024 receivers ignore it" if bits < VOID_RSA_BITS else ""
        return "rsa_short", f"this is another key of {bits} bits, {MIN_RSA_BITS} are needed{void}"
    return "key_mismatch", "another key stands here: if another system owns it we take the next selector"


def condition_fault(found: KeyRecord) -> tuple[str, str] | None:
    """Reason and remedy when the key is ours but its tags shut mail out."""
    if found.hashes is not None and "sha256" not in found.hashes:
        return "sha1_only", "h= shuts sha256 out: remove the h= tag"
    if not {"*", "email"} & set(found.services):
        return "not_for_mail", "s= shuts mail out: remove the s= tag"
    return None


def same_key(ours: KeyRecord, text: str) -> bool:
    """Whether the text is a record with our key."""
    try:
        found = parse_key_record(text)
    except DkimSyntax:
        return False
    return (found.algorithm, found.key) == (ours.algorithm, ours.key)


def refusal(subject: str, ours: KeyRecord, found: Sequence[str], reason: str, remedy: str) -> Verdict:
    """A FAIL with what was expected and found."""
    return Verdict(subject, Truth.FAIL, reason, ours.fingerprint, tuple(found), remedy)
