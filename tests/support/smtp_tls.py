"""A certificate authority for tests, and TLS contexts of servers it vouches for."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from providers.keys import issue_certificate

SIGNS_CERTIFICATES = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # noqa: FBT003 (the library's order)


def pem_of(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def authority(*, days: int = 30) -> tuple[bytes, SecretStr]:
    """Make certificate and key of an authority that ends in `days`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lab authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now - timedelta(days=40), now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(SIGNS_CERTIFICATES, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), SecretStr(pem_of(key).decode())


def request(*names: x509.GeneralName, key=None) -> bytes:
    """Make a certificate request for exactly these names."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def server_context(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """Make the context of a server called `name`, and the file of the authority its clients trust."""
    ca, ca_key = authority()
    key = ec.generate_private_key(ec.SECP256R1())
    csr = request(x509.DNSName(name), key=key)
    certificate = issue_certificate(csr, ca_certificate_pem=ca, ca_key_pem=ca_key, names=[name], days=10)
    (folder / "ca.pem").write_bytes(ca)
    (folder / "chain.pem").write_bytes(certificate + pem_of(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem")
    return context, folder / "ca.pem"
