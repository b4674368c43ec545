import base64
import logging
import random
import re
import subprocess

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr

from providers.keys import DkimKey, new_dkim_ed25519, new_dkim_rsa
from providers.signatures import Signature, signature_names, verify_dkim

MESSAGE = b"""\
From: Post Master <postmaster@acme.example>\r
To: box@bigmail.example\r
Subject: proof\r
Date: Sun, 22 Nov 2026 10:00:00 +0000\r
Message-ID: <n1@acme.example>\r
\r
hello\r
"""
RSA, ED = "pm202611r._domainkey.acme.example", "pm202611e._domainkey.acme.example"
HEADERS = [b"from", b"to", b"subject", b"date", b"message-id", b"from"]


@pytest.fixture(scope="module")
def rsa() -> DkimKey:
    return new_dkim_rsa()


@pytest.fixture(scope="module")
def ed() -> DkimKey:
    return new_dkim_ed25519()


@pytest.fixture(scope="module")
def records(rsa: DkimKey, ed: DkimKey) -> dict[str, str]:
    return {RSA: f"v=DKIM1; k=rsa; p={rsa.public_b64}", ED: f"v=DKIM1; k=ed25519; p={ed.public_b64}"}


def sign(message: bytes, key: DkimKey, selector: str | None = None, **more) -> bytes:
    """Put one signature on top, made by the library our signer is not."""
    pem = key.private_pem.get_secret_value().encode()
    if key.algorithm == "ed25519":
        seed = serialization.load_pem_private_key(pem, password=None).private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        pem = base64.b64encode(seed)
    algorithm = {"rsa": b"rsa-sha256", "ed25519": b"ed25519-sha256"}[key.algorithm]
    usual = {
        "canonicalize": (b"relaxed", b"relaxed"),
        "include_headers": HEADERS,
        "signature_algorithm": algorithm,
    }
    name = selector or ("pm202611r" if key.algorithm == "rsa" else "pm202611e")
    return dkim.sign(message, name.encode(), b"acme.example", pem, **{**usual, **more}) + message


def test_both_signatures_of_an_untouched_message_verify(rsa, ed, records) -> None:
    found = verify_dkim(sign(sign(MESSAGE, rsa), ed), records)
    headers = tuple(name.decode() for name in HEADERS)
    assert found == (
        Signature("acme.example", "pm202611e", "ed25519-sha256", valid=True, detail="", signed_headers=headers),
        Signature("acme.example", "pm202611r", "rsa-sha256", valid=True, detail="", signed_headers=headers),
    )


def test_the_names_to_look_up_are_told_once(rsa, ed) -> None:
    assert signature_names(sign(sign(sign(MESSAGE, rsa), ed), rsa)) == (RSA, ED)
    assert signature_names(MESSAGE) == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"hello", b"hullo"),
        (b"Subject: proof", b"Subject: poof"),
        (b"Post Master", b"Past Master"),
        (b"10:00", b"11:00"),
    ],
)
def test_a_tampered_message_does_not_verify(rsa, ed, records, before, after) -> None:
    tampered = sign(sign(MESSAGE, rsa), ed).replace(before, after)
    assert [(found.valid, bool(found.detail)) for found in verify_dkim(tampered, records)] == [(False, True)] * 2


def test_a_second_from_header_breaks_the_signature(rsa, records) -> None:
    signed = sign(MESSAGE, rsa)
    for forged in (
        b"From: evil@other.example\r\n" + signed,
        signed.replace(b"\r\n\r\n", b"\r\nFrom: e@o.example\r\n\r\n", 1),
    ):
        assert [found.valid for found in verify_dkim(forged, records)] == [False]


def test_one_bad_signature_does_not_hide_a_good_one(rsa, ed, records) -> None:
    signed = sign(sign(MESSAGE, rsa), ed)
    other = {**records, ED: f"v=DKIM1; k=ed25519; p={new_dkim_ed25519().public_b64}"}
    assert [found.valid for found in verify_dkim(signed, other)] == [False, True]


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        (None, "no key record at " + RSA),
        ("v=DKIM1; k=rsa; p=", "revoked"),
        ("v=DKIM1; k=rsa", "revoked"),
        ("v=DKIM1; k=ed25519; p=AAAA", "of kind ed25519"),
        ("v=DKIM1; k=rsa; p=AAAA", ""),
        ("v=DKIM1; k=rsa; p=!!", ""),
        ("v=DKIM2; k=rsa; p=AAAA", "bad version"),
        ("nonsense", "revoked"),
        ("", "revoked"),
    ],
)
def test_an_unusable_key_record_verifies_nothing_and_says_why(rsa, record, detail) -> None:
    (found,) = verify_dkim(sign(MESSAGE, rsa), {} if record is None else {RSA: record})
    assert not found.valid
    assert detail in found.detail
    assert found.detail


def test_an_ed25519_key_wrapped_like_an_rsa_key_does_not_verify(ed) -> None:
    wrapped = base64.b64encode(bytes(12) + base64.b64decode(ed.public_b64)).decode()
    (found,) = verify_dkim(sign(MESSAGE, ed), {ED: f"v=DKIM1; k=ed25519; p={wrapped}"})
    assert not found.valid


def test_a_key_record_is_read_as_receivers_read_it(rsa) -> None:
    text = rsa.public_b64
    for record in (f"p={text}", f"k=rsa; p={text[:99]} {text[99:]}; n=note", f"v=DKIM1;k=rsa;t=s;p={text};"):
        assert [found.valid for found in verify_dkim(sign(MESSAGE, rsa), {RSA: record})] == [True]


def test_names_of_records_may_be_absolute_and_of_any_case(rsa, records) -> None:
    assert verify_dkim(sign(MESSAGE, rsa), {RSA.upper() + ".": records[RSA]})[0].valid


def test_a_signature_with_sha1_proves_nothing(rsa, records) -> None:
    (found,) = verify_dkim(sign(MESSAGE, rsa, signature_algorithm=b"rsa-sha1"), records)
    assert (found.valid, found.algorithm) == (False, "rsa-sha1")
    assert "rsa-sha1" in found.detail


def test_a_signature_over_part_of_the_body_proves_nothing(rsa, records) -> None:
    (found,) = verify_dkim(sign(MESSAGE, rsa, length=True) + b"appended\r\n", records)
    assert (found.valid, found.detail) == (False, "the end of the body is not signed (l=)")


def test_a_signature_without_from_proves_nothing(rsa, records) -> None:
    signed = re.sub(rb"(\s)h=[^;]*;", rb"\1h=to : subject;", sign(MESSAGE, rsa))
    assert b" h=to : subject;" in signed
    (found,) = verify_dkim(signed, records)
    assert (found.valid, found.detail) == (False, "From is not signed")


def test_a_short_rsa_key_verifies_nothing(records) -> None:
    made = ["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:768"]
    pem = subprocess.run(made, check=True, capture_output=True).stdout
    shown = ["openssl", "pkey", "-pubout", "-outform", "DER"]
    der = subprocess.run(shown, check=True, capture_output=True, input=pem).stdout
    weak = DkimKey("rsa", SecretStr(pem.decode()), base64.b64encode(der).decode())
    (found,) = verify_dkim(sign(MESSAGE, weak), {RSA: f"v=DKIM1; k=rsa; p={weak.public_b64}"})
    assert (found.valid, found.detail) == (False, "public key too small: 768")


@pytest.mark.parametrize("header", [b"v=1", b"", b"a=rsa-sha256; d=; s=x", b";;;=", b"\xff=\xff; d=\xff"])
def test_an_unreadable_signature_is_listed_as_such(header) -> None:
    (found,) = verify_dkim(b"DKIM-Signature: " + header + b"\r\n" + MESSAGE, {})
    assert (found.valid, found.detail) == (False, "the signature is not readable")
    assert signature_names(b"DKIM-Signature: " + header + b"\r\n" + MESSAGE) == ()


@pytest.mark.parametrize(
    "raw", [b"", b"\r\n\r\n", b"no header at all", b"From x\xff\x00\r\n", b" folded: first\r\n\r\n"]
)
def test_a_message_that_is_none_has_no_signatures(raw) -> None:
    assert verify_dkim(raw, {}) == ()
    assert signature_names(raw) == ()


def test_a_flood_of_signatures_is_cut_off(rsa, records) -> None:
    flood = b"DKIM-Signature: v=1\r\n" * 1000 + MESSAGE
    assert len(verify_dkim(flood, records)) == 20


def test_no_damage_to_a_message_raises_or_verifies(rsa, ed, records) -> None:
    signed = sign(sign(MESSAGE, rsa), ed)
    end = signed.index(b"From:")
    chance = random.Random(20261122)
    for _ in range(200):
        damaged = bytearray(signed)
        damaged[chance.randrange(end)] = chance.choice(b";=:, \r\n\x00\xffabz09+/")
        for found in verify_dkim(bytes(damaged), records):
            assert not (found.valid and found.domain != "acme.example")


def test_the_library_does_not_write_into_our_log(rsa, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    verify_dkim(sign(MESSAGE, rsa), {RSA: "v=DKIM2; p=AAAA"})
    assert not caplog.records
