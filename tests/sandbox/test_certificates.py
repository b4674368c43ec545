from pathlib import Path

import pytest

from sandbox.certificates import Authority
from sandbox.commands import attempt


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "certificates")
    made.make()
    return made


def verify(authority: Authority, certificate: str, name: str, tmp_path: Path) -> int:
    """OpenSSL's own verdict, by its strict rules: 0 is good."""
    file = tmp_path / "host.crt"
    file.write_text(certificate)
    words = ("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name)
    return attempt(*words, "-CAfile", str(authority.certificate_file), str(file)).code


def test_an_issued_certificate_verifies_for_its_names_only(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(["mx.bigmail.example", "imap.bigmail.example"])
    assert verify(authority, issued.certificate, "mx.bigmail.example", tmp_path) == 0
    assert verify(authority, issued.certificate, "imap.bigmail.example", tmp_path) == 0
    assert verify(authority, issued.certificate, "mx.livemail.example", tmp_path) != 0


def test_another_worlds_certificate_does_not_verify(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    other.make()
    assert verify(authority, other.issue(["mx.bigmail.example"]).certificate, "mx.bigmail.example", tmp_path) != 0


def test_a_host_certificate_cannot_sign(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(["mx.bigmail.example"])
    file = tmp_path / "host.crt"
    file.write_text(issued.certificate)
    shown = attempt("openssl", "x509", "-in", str(file), "-noout", "-ext", "basicConstraints").out
    assert b"CA:FALSE" in shown


def test_the_key_of_the_authority_is_for_its_owner_only(authority: Authority) -> None:
    assert authority.key_file.stat().st_mode & 0o777 == 0o600
