"""Key pairs, password hashes, certificates, and the sealing of secrets; nothing here reads or writes a file."""

import base64
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import SecretStr

from providers.errors import Rejected

NONCE_BYTES = 12
RSA_BITS = 2048  # longer keys do not fit the DNS panels of some tenants
PASSWORD_BYTES = 24
CLOCK_SKEW = timedelta(minutes=5)  # a certificate must be valid on a host whose clock is a little behind
COMMON_NAME_LIMIT = 64  # RFC 5280, upper bound of a common name

DkimAlgorithm = Literal["rsa", "ed25519"]


class SealBroken(Rejected):
    """A sealed secret does not open: another row, another key, or changed bytes."""


@dataclass(frozen=True, slots=True)
class SshKey:
    """An ed25519 key pair for one server."""

    private_openssh: SecretStr
    public_line: str  # one line of authorized_keys, without a comment


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A signing key; `public_b64` is the text of the record's `p=` tag (RFC 6376 3.6.1, RFC 8463 4)."""

    algorithm: DkimAlgorithm
    private_pem: SecretStr
    public_b64: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is stored: which key closed it, and nonce + cipher text + tag."""

    key_id: str
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says about itself; both times are UTC."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issuer: str


class Sealer:
    """AES-256-GCM under named keys; a sealed secret opens only for the tenant, purpose and path it was sealed for."""

    def __init__(self, keys: Mapping[str, bytes], active_key_id: str) -> None:
        """Keys are 32 bytes each. Raises ValueError for a wrong length or an unknown active key."""
        if wrong := [key_id for key_id, key in keys.items() if len(key) != 32]:  # noqa: PLR2004 (AES-256 is 32 bytes)
            raise ValueError(f"sealing keys must have 32 bytes; not so: {', '.join(sorted(wrong))}")
        if active_key_id not in keys:
            raise ValueError(f"the active sealing key {active_key_id!r} is not among the keys")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self.active_key_id = active_key_id

    def seal(self, plaintext: bytes, *, tenant: str, purpose: str, path: str) -> Sealed:
        """Close a secret under the active key; an empty `tenant` means the platform."""
        nonce = os.urandom(NONCE_BYTES)
        closed = self._ciphers[self.active_key_id].encrypt(nonce, plaintext, _bound_to(tenant, purpose, path))
        return Sealed(self.active_key_id, nonce + closed)

    def open(self, sealed: Sealed, *, tenant: str, purpose: str, path: str) -> bytes:
        """Open a secret; SealBroken when row, key or bytes are not those of the sealing."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise SealBroken("keys", "open", f"{path}: no sealing key {sealed.key_id!r} is configured")
        nonce, closed = sealed.ciphertext[:NONCE_BYTES], sealed.ciphertext[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, closed, _bound_to(tenant, purpose, path))
        except (InvalidTag, ValueError) as error:
            raise SealBroken("keys", "open", f"{path}: the secret belongs to another row or was changed") from error


def _bound_to(*parts: str) -> bytes:
    # Each part carries its length: ("ab", "c") and ("a", "bc") must not bind to the same bytes.
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def new_ssh_key() -> SshKey:
    """Make an ed25519 pair; the private half is in OpenSSH's own format, without a passphrase."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return SshKey(SecretStr(private.decode()), public.decode())


def new_dkim_rsa() -> DkimKey:
    """Make an RSA-2048 signing key; `p=` holds the whole SubjectPublicKeyInfo. Takes up to a second of CPU."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return DkimKey("rsa", _private_pem(key), base64.b64encode(public).decode())


def new_dkim_ed25519() -> DkimKey:
    """Make an Ed25519 signing key; `p=` holds the 32 raw bytes, not a SubjectPublicKeyInfo (RFC 8463 4)."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return DkimKey("ed25519", _private_pem(key), base64.b64encode(public).decode())


def _private_pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> SecretStr:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return SecretStr(pem.decode())


def new_password() -> SecretStr:
    """Make a random password of 192 bits, safe in URLs, shells and passwd files."""
    return SecretStr(secrets.token_urlsafe(PASSWORD_BYTES))


def hash_password(password: SecretStr) -> str:
    """Hash for a Dovecot passwd file: `{ARGON2ID}$argon2id$…`, salted, 19 MiB and two passes (decision 0160)."""
    derived = Argon2id(salt=os.urandom(16), length=32, iterations=2, lanes=1, memory_cost=19 * 1024)
    return "{ARGON2ID}" + derived.derive_phc_encoded(password.get_secret_value().encode())


def issue_certificate(
    csr_pem: bytes, *, ca_certificate_pem: bytes, ca_key_pem: SecretStr, names: Sequence[str], days: int
) -> bytes:
    """Sign a TLS server certificate for exactly `names`, never beyond the authority's own end.

    Rejected when the request is unreadable, not signed by its own key, asks for other names, or holds a weak key.
    """
    csr = _sound_request(csr_pem, names)
    authority, key = _authority(ca_certificate_pem, ca_key_pem)
    now = datetime.now(UTC)
    ends = min(now + timedelta(days=days), authority.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(names[0]))
        .issuer_name(authority.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(ends)
    )
    for extension, critical in _server_extensions(csr, authority, names):
        builder = builder.add_extension(extension, critical=critical)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def certificate_facts(pem: bytes) -> CertificateFacts:
    """Read the first certificate of a PEM text; Rejected when there is none."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = tuple(_dns_names(certificate.extensions))
    except ValueError as error:
        raise Rejected("keys", "certificate_facts", "not a readable certificate") from error
    return CertificateFacts(
        names,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.issuer.rfc4514_string(),
    )


def _sound_request(csr_pem: bytes, names: Sequence[str]) -> x509.CertificateSigningRequest:
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        signed = csr.is_signature_valid
        asked = _all_names(csr.extensions)
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused("the certificate request is not readable") from error
    if not signed:
        raise _refused("the certificate request is not signed by its own key")
    if not names or asked != {name.lower() for name in names}:
        raise _refused(f"the request asks for {sorted(asked)}, expected {sorted(names)}")
    if not _is_strong(key):
        raise _refused("the request's key is too weak or of an unknown kind")
    return csr


def _is_strong(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= RSA_BITS
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return isinstance(key, ed25519.Ed25519PublicKey)


def _authority(
    certificate_pem: bytes, key_pem: SecretStr
) -> tuple[x509.Certificate, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem.get_secret_value().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not chained: the library's message could quote the key's text.
        raise _refused("the authority's certificate or key is not readable") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise _refused("the authority's key is of an unknown kind")
    if certificate.public_key() != key.public_key():
        raise _refused("the authority's key does not belong to its certificate")
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise _refused("the authority's certificate has ended")
    return certificate, key


def _server_extensions(
    csr: x509.CertificateSigningRequest, authority: x509.Certificate, names: Sequence[str]
) -> list[tuple[x509.ExtensionType, bool]]:
    alternative = x509.SubjectAlternativeName([x509.DNSName(name.lower()) for name in names])
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())  # pyright: ignore[reportArgumentType] (_authority let only signing kinds pass)
    return [
        (alternative, len(names[0]) > COMMON_NAME_LIMIT),  # RFC 5280 4.2.1.6: critical beside an empty subject
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(exchanges_keys=isinstance(csr.public_key(), rsa.RSAPublicKey)), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(csr.public_key()), False),
        (issuer_key, False),
    ]


def _key_usage(*, exchanges_keys: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=exchanges_keys,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str) -> x509.Name:
    # A name too long for a common name stands among the alternative names alone, where clients look.
    fits = len(name) <= COMMON_NAME_LIMIT
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name.lower())] if fits else [])


def _all_names(extensions: x509.Extensions) -> set[str]:
    try:
        alternative = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    # A name that is not a DNS name (address, mail, directory) shows with its kind, so it never equals a wanted one.
    return {
        name.value.lower() if isinstance(name, x509.DNSName) else f"{type(name).__name__}:{name.value}"
        for name in alternative
    }


def _dns_names(extensions: x509.Extensions) -> list[str]:
    try:
        alternative = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return alternative.get_values_for_type(x509.DNSName)


def _refused(detail: str) -> Rejected:
    return Rejected("keys", "issue_certificate", detail)
