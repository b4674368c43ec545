"""Verify the DKIM signatures of a message against key records that were looked up before; no look-up happens here.

Independent of the signer: it is the second opinion beside what the receiver says. Stricter than RFC 6376 where a loose
reading would prove nothing: SHA-1, an unsigned From, a partly signed body, or a key of another kind do not verify.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import dkim  # pyright: ignore[reportMissingTypeStubs] (ships none)

LIBRARY: Any = dkim
ALGORITHMS = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}  # RFC 8301 3.1 forbids SHA-1
MIN_RSA_BITS = 1024  # RFC 8301 3.2: shorter keys verify nothing
MAX_SIGNATURES = 20  # a message with more is an attack on the verifier
FOLDS = re.compile(r"\s+")
UNREADABLE = (dkim.DKIMException, ValueError, KeyError, TypeError, IndexError)  # what dkimpy lets out on hostile input


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature, topmost first. `detail` says why it is not valid; unreadable tags are empty."""

    domain: str
    selector: str
    algorithm: str  # rsa-sha256 or ed25519-sha256, else as written
    valid: bool
    detail: str
    signed_headers: tuple[str, ...]

    @property
    def key_name(self) -> str:
        """Where its key record stands, without a final dot."""
        return f"{self.selector}._domainkey.{self.domain}"


def signature_names(raw: bytes) -> tuple[str, ...]:
    """Names whose TXT records `verify_dkim` needs, each once; none for an unsigned or unreadable message."""
    named = (sig.key_name for sig in _signatures(raw) if sig.domain and sig.selector)
    return tuple(dict.fromkeys(named))


def verify_dkim(raw: bytes, key_records: Mapping[str, str]) -> tuple[Signature, ...]:
    """Judge every signature of a message; `key_records` maps names to joined TXT texts. Never raises for a message."""
    records = {name.lower().rstrip("."): record for name, record in key_records.items()}
    return tuple(
        _verified(raw, number, signature, records.get(signature.key_name))
        for number, signature in enumerate(_signatures(raw))
    )


def _signatures(raw: bytes) -> list[Signature]:
    try:
        headers: list[tuple[bytes, bytes]] = LIBRARY.DKIM(raw).headers
    except UNREADABLE:
        return []
    values = [value for name, value in headers if name.strip().lower() == b"dkim-signature"]
    return [_described(value) for value in values[:MAX_SIGNATURES]]


def _described(value: bytes) -> Signature:
    tags = _tags(value)
    headers = tuple(name.strip().lower() for name in tags.get("h", "").split(":") if name.strip())
    domain, selector = (tags.get(tag, "").lower().rstrip(".") for tag in ("d", "s"))
    described = Signature(domain, selector, tags.get("a", ""), valid=False, detail="", signed_headers=headers)
    return replace(described, detail=_flaw(described, tags))


def _tags(value: bytes) -> dict[str, str]:
    """Read a tag list as far as it can be read (RFC 6376 3.2)."""
    pairs = (part.partition("=") for part in value.decode("ascii", "replace").split(";"))
    return {tag.strip(): FOLDS.sub("", text) for tag, sign, text in pairs if sign}


def _flaw(signature: Signature, tags: Mapping[str, str]) -> str:
    if not signature.domain or not signature.selector:
        return "the signature is not readable"
    if signature.algorithm not in ALGORITHMS:
        return f"algorithm {signature.algorithm!r} proves nothing"
    if "from" not in signature.signed_headers:
        return "From is not signed"
    return "the end of the body is not signed (l=)" if "l" in tags else ""


def _verified(raw: bytes, number: int, signature: Signature, record: str | None) -> Signature:
    detail = signature.detail or _key_flaw(signature, record)
    if detail or record is None:
        return replace(signature, detail=detail)
    complaints = _Complaints()

    def look_up(_name: bytes, timeout: int = 0) -> bytes:  # noqa: ARG001 (the library's call)
        return record.encode()

    try:
        verifier = LIBRARY.DKIM(raw, logger=complaints.logger, minkey=MIN_RSA_BITS)
        valid = bool(verifier.verify(number, dnsfunc=look_up))
    except UNREADABLE as error:
        return replace(signature, detail=str(error) or type(error).__name__)
    return replace(signature, valid=valid, detail="" if valid else complaints.last or "the signature does not match")


def _key_flaw(signature: Signature, record: str | None) -> str:
    if record is None:
        return f"no key record at {signature.key_name}"
    tags = _tags(record.encode())
    if not tags.get("p"):
        return "the key is revoked"
    kind = tags.get("k", "rsa").lower()
    return "" if ALGORITHMS[signature.algorithm] == kind else f"the key is of kind {kind}"


class _Complaints(logging.Handler):
    """Keeps the last thing the library complained about; it logs a bad key instead of raising."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""
        self.logger = logging.Logger("dkim", logging.ERROR)  # noqa: LOG001 (not in the tree: nothing reaches our logs)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()
