import base64
import logging
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nacl.pwhash
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from providers.errors import Rejected
from providers.keys import (
    SealBroken,
    Sealed,
    Sealer,
    certificate_facts,
    hash_password,
    issue_certificate,
    new_dkim_ed25519,
    new_dkim_rsa,
    new_password,
    new_ssh_key,
)
from tests.support.smtp_tls import authority, pem_of, request

KEYS = {"k1": bytes(range(32)), "k2": bytes(reversed(range(32)))}
ROW = {"tenant": "t-1", "purpose": "dkim", "path": "dkim/acme.example/pm202611r"}
NAME = "mail.acme.example"


def issue(csr: bytes, *names: str, days: int = 10) -> bytes:
    certificate, key = authority()
    return issue_certificate(csr, ca_certificate_pem=certificate, ca_key_pem=key, names=names, days=days)


def test_a_sealed_secret_opens_for_its_own_row() -> None:
    sealer = Sealer(KEYS, "k1")
    sealed = sealer.seal(b"opaque", **ROW)
    assert sealer.open(sealed, **ROW) == b"opaque"
    assert b"opaque" not in sealed.ciphertext


def test_the_same_secret_never_looks_the_same_twice() -> None:
    sealer = Sealer(KEYS, "k1")
    assert sealer.seal(b"x", **ROW).ciphertext != sealer.seal(b"x", **ROW).ciphertext


@pytest.mark.parametrize("changed", [{"tenant": "t-2"}, {"tenant": ""}, {"purpose": "ssh"}, {"path": "dkim/b.example"}])
def test_a_secret_copied_to_another_row_does_not_open(changed) -> None:
    sealer = Sealer(KEYS, "k1")
    with pytest.raises(SealBroken):
        sealer.open(sealer.seal(b"x", **ROW), **{**ROW, **changed})


def test_parts_of_a_row_cannot_be_shifted_into_each_other() -> None:
    sealer = Sealer(KEYS, "k1")
    with pytest.raises(SealBroken):
        sealer.open(sealer.seal(b"x", tenant="ab", purpose="c", path="d"), tenant="a", purpose="bc", path="d")


@pytest.mark.parametrize("position", [0, 12, -1])
def test_one_changed_bit_breaks_the_seal(position) -> None:
    sealer = Sealer(KEYS, "k1")
    sealed = sealer.seal(b"x", **ROW)
    bytes_ = bytearray(sealed.ciphertext)
    bytes_[position] ^= 1
    with pytest.raises(SealBroken):
        sealer.open(Sealed("k1", bytes(bytes_)), **ROW)


@pytest.mark.parametrize("cut", [b"", b"short", bytes(12)])
def test_a_cut_secret_is_a_broken_seal(cut) -> None:
    with pytest.raises(SealBroken):
        Sealer(KEYS, "k1").open(Sealed("k1", cut), **ROW)


def test_an_older_key_still_opens_after_a_newer_one_became_active() -> None:
    old = Sealer({"k1": KEYS["k1"]}, "k1").seal(b"x", **ROW)
    both = Sealer(KEYS, "k2")
    assert both.open(old, **ROW) == b"x"
    assert both.seal(b"x", **ROW).key_id == "k2"


def test_a_missing_key_is_named() -> None:
    sealed = Sealer(KEYS, "k2").seal(b"x", **ROW)
    with pytest.raises(SealBroken, match="k2"):
        Sealer({"k1": KEYS["k1"]}, "k1").open(sealed, **ROW)


@pytest.mark.parametrize(("keys", "active"), [({"k1": b"short"}, "k1"), (KEYS, "k3")])
def test_unusable_sealing_keys_are_refused_at_once(keys, active) -> None:
    with pytest.raises(ValueError, match="sealing key"):
        Sealer(keys, active)


def test_an_ssh_key_pair_belongs_together() -> None:
    pair = new_ssh_key()
    private = serialization.load_ssh_private_key(pair.private_openssh.get_secret_value().encode(), password=None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert pair.public_line == public.decode()
    assert pair.public_line.startswith("ssh-ed25519 AAAA")


def test_an_rsa_signing_key_has_2048_bits_in_a_subject_public_key_info() -> None:
    pair = new_dkim_rsa()
    public = serialization.load_der_public_key(base64.b64decode(pair.public_b64))
    private = serialization.load_pem_private_key(pair.private_pem.get_secret_value().encode(), password=None)
    assert public == private.public_key()
    assert public.key_size == 2048
    assert pair.public_b64.startswith("MIIBIjAN")


def test_an_ed25519_signing_key_is_published_as_its_32_raw_bytes() -> None:
    pair = new_dkim_ed25519()
    private = serialization.load_pem_private_key(pair.private_pem.get_secret_value().encode(), password=None)
    raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    assert base64.b64decode(pair.public_b64) == raw
    assert len(pair.public_b64) == 44


def test_a_password_hash_is_salted_and_verified_by_libsodium_as_dovecot_does() -> None:
    password = new_password()
    hashed = hash_password(password)
    assert hashed.startswith("{ARGON2ID}$argon2id$v=19$")
    assert nacl.pwhash.argon2id.verify(hashed.removeprefix("{ARGON2ID}").encode(), password.get_secret_value().encode())
    assert hash_password(password) != hashed
    assert ":" not in hashed  # the field separator of a passwd file


def test_passwords_differ_and_are_long() -> None:
    made = {new_password().get_secret_value() for _ in range(50)}
    assert len(made) == 50
    assert min(map(len, made)) >= 32


def test_a_certificate_serves_tls_for_its_name_under_its_authority() -> None:
    ca, ca_key = authority()
    host_key = ec.generate_private_key(ec.SECP256R1())
    pem = issue_certificate(
        request(x509.DNSName(NAME), key=host_key), ca_certificate_pem=ca, ca_key_pem=ca_key, names=[NAME], days=10
    )
    assert handshake(pem, pem_of(host_key), ca, NAME) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(pem, pem_of(host_key), ca, "other.acme.example")


def handshake(certificate: bytes, key: bytes, ca: bytes, name: str) -> str | None:
    """A whole TLS handshake in memory, with the checks a mail client makes."""
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder, "chain.pem")
        chain.write_bytes(certificate + key)
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(chain)
    client_side = ssl.create_default_context(cadata=ca.decode())
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.version()


def test_a_certificate_never_outlives_its_authority() -> None:
    ca, ca_key = authority(days=3)
    pem = issue_certificate(
        request(x509.DNSName(NAME)), ca_certificate_pem=ca, ca_key_pem=ca_key, names=[NAME], days=90
    )
    assert certificate_facts(pem).not_after == certificate_facts(ca).not_after


def test_certificate_facts_tell_names_end_and_issuer() -> None:
    facts = certificate_facts(issue(request(x509.DNSName(NAME)), NAME, days=10))
    assert facts.names == (NAME,)
    assert facts.issuer == "CN=Lab authority"
    assert abs(facts.not_after - datetime.now(UTC) - timedelta(days=10)) < timedelta(minutes=1)


def test_a_name_too_long_for_a_common_name_is_still_certified() -> None:
    name = "a" * 60 + ".acme.example"
    assert certificate_facts(issue(request(x509.DNSName(name)), name)).names == (name,)


@pytest.mark.parametrize(
    "names",
    [
        (),
        (x509.DNSName("other.example"),),
        (x509.DNSName(NAME), x509.DNSName("other.example")),
        (x509.DNSName(NAME), x509.RFC822Name("root@acme.example")),
    ],
)
def test_a_request_for_other_names_is_refused(names) -> None:
    with pytest.raises(Rejected, match="asks for"):
        issue(request(*names), NAME)


def test_a_request_signed_by_another_key_is_refused() -> None:
    csr = x509.load_pem_x509_csr(request(x509.DNSName(NAME)))
    der = bytearray(csr.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = b"-----BEGIN CERTIFICATE REQUEST-----\n%s\n-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(Rejected, match="not signed by its own key"):
        issue(forged % base64.b64encode(der), NAME)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP192R1())])
def test_a_request_with_a_weak_key_is_refused(key) -> None:
    with pytest.raises(Rejected, match="weak"):
        issue(request(x509.DNSName(NAME), key=key), NAME)


@pytest.mark.parametrize("text", [b"", b"no request", b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n"])
def test_an_unreadable_request_is_refused(text) -> None:
    with pytest.raises(Rejected, match="not readable"):
        issue(text, NAME)


def test_an_authority_that_does_not_fit_or_has_ended_signs_nothing() -> None:
    certificate, key = authority()
    _, other_key = authority()
    ended, ended_key = authority(days=-1)
    csr = request(x509.DNSName(NAME))
    for ca, ca_key in ((certificate, other_key), (ended, ended_key), (certificate, SecretStr("CANARY-key"))):
        with pytest.raises(Rejected) as refused:
            issue_certificate(csr, ca_certificate_pem=ca, ca_key_pem=ca_key, names=[NAME], days=10)
        assert "CANARY" not in str(refused.value)
    assert issue_certificate(csr, ca_certificate_pem=certificate, ca_key_pem=key, names=[NAME], days=10)


def test_an_unreadable_certificate_is_refused() -> None:
    with pytest.raises(Rejected):
        certificate_facts(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")


def test_no_secret_shows_in_repr_or_errors(caplog) -> None:
    caplog.set_level(logging.DEBUG)
    sealer = Sealer({"k1": b"CANARY-CANARY-CANARY-CANARY-CANA"}, "k1")
    sealed = sealer.seal(b"CANARY", **ROW)
    shown = [repr(sealer), str(vars(sealer)), repr(sealed)]
    shown += [repr(made) for made in (new_ssh_key(), new_dkim_rsa(), new_dkim_ed25519())]
    with pytest.raises(SealBroken) as broken:
        sealer.open(sealed, **{**ROW, "tenant": "t-2"})
    shown += [str(broken.value), repr(broken.value), caplog.text]
    text = "\n".join(shown)
    assert "CANARY" not in text
    assert "PRIVATE" not in text
    assert repr(sealed.ciphertext) not in text
