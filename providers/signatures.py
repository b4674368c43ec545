"""DKIM signatures verified again, independently of what a receiver claims.

dkimpy checks the bytes; the key records are handed in, so that whoever asks DNS is known and can be shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy

import dkim  # pyright: ignore[reportMissingTypeStubs]  the library has no types

MIN_RSA_BITS = 1024  # RFC 8301 section 3.2: verifiers must refuse anything shorter
TAG = re.compile(r"(?:^|;)\s*([a-z]+)\s*=\s*([^;]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature header and whether it holds; `algorithm` is rsa or ed25519."""

    domain: str
    selector: str
    algorithm: str
    valid: bool
    detail: str
    signed_headers: tuple[str, ...]


def signature_names(raw: bytes) -> tuple[str, ...]:
    """The DNS names of the keys that a message's signatures point at, each once, in the order of the headers."""
    names = (f"{tags['s']}._domainkey.{tags['d']}" for tags in _signatures(raw) if "s" in tags and "d" in tags)
    return tuple(dict.fromkeys(names))


def verify_dkim(raw: bytes, key_records: Mapping[str, str]) -> tuple[Signature, ...]:
    """Verify every signature with the texts of `key_records` (name to TXT); one without a key is invalid."""
    return tuple(_verified(raw, place, tags, key_records) for place, tags in enumerate(_signatures(raw)))


def _verified(raw: bytes, place: int, tags: Mapping[str, str], key_records: Mapping[str, str]) -> Signature:
    def key_of(name: bytes, timeout: int = 5) -> bytes | None:
        del timeout
        text = key_records.get(name.decode("ascii", "replace").rstrip(".").lower())
        return text.encode() if text is not None else None

    try:
        valid = dkim.DKIM(raw, minkey=MIN_RSA_BITS).verify(idx=place, dnsfunc=key_of)  # pyright: ignore[reportUnknownMemberType]
        detail = "verified" if valid else "the signature does not fit the message"
    except dkim.DKIMException as error:
        valid, detail = False, str(error)
    except Exception as error:  # noqa: BLE001  hostile keys and headers reach libraries that raise anything
        valid, detail = False, type(error).__name__
    algorithm = tags.get("a", "").partition("-")[0].lower()
    headers = tuple(name.strip().lower() for name in tags.get("h", "").split(":") if name.strip())
    return Signature(tags.get("d", ""), tags.get("s", ""), algorithm, bool(valid), detail[:120], headers)


def _signatures(raw: bytes) -> list[dict[str, str]]:
    message = message_from_bytes(raw, policy=policy.compat32)
    return [_tags(str(header)) for header in message.get_all("DKIM-Signature", [])]


def _tags(header: str) -> dict[str, str]:
    unfolded = "".join(header.split("\r\n")) if "\r\n" in header else header.replace("\n", "")
    found = {name.lower(): "".join(value.split()) for name, value in TAG.findall(unfolded)}
    return {**found, **{name: found[name].lower() for name in ("d", "s") if name in found}}
