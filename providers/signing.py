"""Signatures of ours under what strangers get to see (Ed25519)."""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class Mark:
    """A signature and the public key it holds by, both in base64."""

    public_key: str
    signature: str


def new_signing_key() -> SecretStr:
    """A private key as PEM."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SecretStr(pem.decode())


def signed(content: bytes, key: SecretStr) -> Mark:
    """Sign; ValueError when the key is none of ours."""
    private = serialization.load_pem_private_key(key.get_secret_value().encode(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("the signing key is not Ed25519")  # noqa: TRY004  its content is wrong, not its type
    public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return Mark(base64.b64encode(public).decode(), base64.b64encode(private.sign(content)).decode())


def holds(content: bytes, mark: Mark) -> bool:
    """Whether the mark is this key's signature under exactly this content; False for what cannot be read."""
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(mark.public_key, validate=True))
        public.verify(base64.b64decode(mark.signature, validate=True), content)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def fingerprint(public_key: str) -> str:
    """A short name of a public key, to be compared by people."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public_key.encode()).digest()).decode().rstrip("=")
