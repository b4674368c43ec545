import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.dkim import DkimRecord, DkimSyntax, judge_key, key_name, parse_key_record, rsa_bits, tag_list
from flows.policy.verdict import Truth


def spki(bits: int) -> bytes:
    key = rsa.generate_private_key(65537, bits).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


OURS = spki(2048)
OTHER = spki(2048)
SHORT = spki(1024)
VOID = spki(1024)[:-1]
EDWARDS = ed25519.Ed25519PrivateKey.generate().public_key()
RAW = EDWARDS.public_bytes(Encoding.Raw, PublicFormat.Raw)
WRAPPED = EDWARDS.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
P = base64.b64encode(OURS).decode()
E = base64.b64encode(RAW).decode()
RSA_TEXT = DkimRecord("pm202611r", "rsa", P).text
ED_TEXT = DkimRecord("pm202611e", "ed25519", E).text


def b64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_our_text_is_what_the_standard_asks_for():
    assert RSA_TEXT.startswith("v=DKIM1; k=rsa; p=MIIBIjAN")
    assert len(E) == 44
    assert parse_key_record(ED_TEXT).key == RAW


@pytest.mark.parametrize(
    "text",
    [
        RSA_TEXT,
        f"v=DKIM1; k=rsa; p={P[:200]} \t{P[200:]}",
        f"k=rsa; p={P}",
        f"p={P}",
        f"v=DKIM1;p={P};k=rsa;",
        f"v=DKIM1; h=sha1:sha256; k=RSA; s=email; t=s; n=a note; x=unknown; p={P} ; ",
        f"v=DKIM1; s=*; p={P}",
        f" v = DKIM1 ; p = {P}",
    ],
)
def test_the_same_key_in_other_words_passes(text):
    verdict = judge_key("dkim-rsa", RSA_TEXT, (text,))
    assert (verdict.truth, verdict.warnings) == (Truth.PASS, ())


def test_a_testing_flag_passes_with_a_warning():
    verdict = judge_key("dkim-rsa", RSA_TEXT, (f"v=DKIM1; t=y:s; p={P}",))
    assert verdict.passed
    assert "t=y" in verdict.warnings[0]


@pytest.mark.parametrize(
    ("expected", "values", "reason", "part"),
    [
        (RSA_TEXT, (), "missing", "publish"),
        (RSA_TEXT, ("v=DKIM1; k=rsa; p=",), "revoked", "empty"),
        (RSA_TEXT, (f"v=DKIM1; p={b64(OTHER)}",), "key_mismatch", "next selector"),
        (RSA_TEXT, (f"v=DKIM1; p={b64(SHORT)}",), "rsa_short", "1024 bits"),
        (RSA_TEXT, (f"v=DKIM1; p={b64(OURS[:191])}",), "key_cut", "two quoted parts"),
        (RSA_TEXT, (RSA_TEXT, f"v=DKIM1; p={b64(OTHER)}"), "multiple_keys", "delete"),
        (RSA_TEXT, (RSA_TEXT[:255], RSA_TEXT[255:]), "multiple_keys", "one record with two strings"),
        (RSA_TEXT, (RSA_TEXT[255:], RSA_TEXT[:255]), "multiple_keys", "one record with two strings"),
        (RSA_TEXT, (f"v=DKIM1; h=sha1; p={P}",), "sha1_only", "h="),
        (RSA_TEXT, (f"v=DKIM1; s=tlsrpt; p={P}",), "not_for_mail", "s="),
        (RSA_TEXT, (f"k=rsa; v=DKIM1; p={P}",), "not_a_key", "first"),
        (RSA_TEXT, (f"v=DKIM2; p={P}",), "not_a_key", "first"),
        (RSA_TEXT, (f"v=dkim1; p={P}",), "not_a_key", "first"),
        (RSA_TEXT, ("v=DKIM1; k=rsa",), "not_a_key", "no p="),
        (RSA_TEXT, (f"v=DKIM1; p={P}; p={P}",), "not_a_key", "twice"),
        (RSA_TEXT, (f"v=DKIM1; p={P[:-1]}!",), "not_a_key", "base64"),
        (RSA_TEXT, (f"v=DKIM1; p={P[:50]}!{P[50:]}",), "not_a_key", "base64"),
        (RSA_TEXT, ("google-site-verification",), "not_a_key", "no tag"),
        (RSA_TEXT, (f"v=DKIM1; note; p={P}",), "not_a_key", "no tag"),
        (RSA_TEXT, (f"v=DKIM1; =x; p={P}",), "not_a_key", "no tag"),
        (RSA_TEXT, (f"v=DKIM1; k=ed25519; p={P}",), "key_mismatch", "another key"),
        (ED_TEXT, (f"v=DKIM1; k=ed25519; p={b64(WRAPPED)}",), "ed25519_wrapped", "32 raw"),
        (ED_TEXT, (f"v=DKIM1; k=rsa; p={E}",), "key_mismatch", "another key"),
        (ED_TEXT, (f"v=DKIM1; p={E}",), "key_mismatch", "another key"),
    ],
)
def test_each_fault_has_its_own_reason_and_remedy(expected, values, reason, part):
    verdict = judge_key("dkim", expected, values)
    assert (verdict.truth, verdict.reason) == (Truth.FAIL, reason)
    assert part in verdict.fix


def test_both_keys_are_shown_by_their_fingerprints():
    verdict = judge_key("dkim-rsa", RSA_TEXT, (f"p={b64(OTHER)}",))
    assert hashlib.sha256(OURS).hexdigest()[:12] in verdict.expected
    assert hashlib.sha256(OTHER).hexdigest()[:12] in verdict.found[0]
    assert P[:40] not in verdict.expected


@pytest.mark.parametrize("bits", [1024, 2048, 3072])
def test_the_length_of_an_rsa_key_is_read_in_both_forms(bits):
    key = rsa.generate_private_key(65537, bits).public_key()
    assert rsa_bits(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)) == bits
    assert rsa_bits(key.public_bytes(Encoding.DER, PublicFormat.PKCS1)) == bits


def test_only_a_void_key_is_called_ignored():
    assert "ignore" not in judge_key("dkim-rsa", RSA_TEXT, (f"p={b64(SHORT)}",)).fix


def test_a_key_of_another_algorithm_is_no_rsa_key():
    at = OURS.index(b"\x2a\x86\x48")
    assert rsa_bits(OURS[:at] + b"\x2b" + OURS[at + 1 :]) is None


def test_a_structure_with_a_foreign_tag_is_no_rsa_key():
    for tag in (b"\x30", b"\x03", b"\x02"):
        at = OURS.index(tag, 2 if tag == b"\x30" else 0)
        assert rsa_bits(OURS[:at] + b"\x04" + OURS[at + 1 :]) is None


@pytest.mark.parametrize("key", [b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", RAW, WRAPPED, VOID, OURS[:40]])
def test_what_is_no_rsa_key_has_no_length(key):
    assert rsa_bits(key) is None


@given(st.binary(max_size=300))
def test_hostile_key_bytes_never_raise(key):
    assert rsa_bits(key) is None or key[0] == 0x30
    assert not judge_key("dkim", RSA_TEXT, (f"v=DKIM1; p={b64(key)}",)).passed


@given(st.text(max_size=200))
def test_hostile_text_is_a_verdict_never_an_exception(text):
    assert not judge_key("dkim", RSA_TEXT, (text,)).passed


TAGS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.from_regex(r"[!-:<-~]{0,10}", fullmatch=True), min_size=1
)


@given(TAGS)
def test_tags_written_are_tags_read(tags):
    assert tag_list("; ".join(f"{name}={value}" for name, value in tags.items()) + ";") == tags


def test_a_key_record_without_tags_is_none():
    with pytest.raises(DkimSyntax):
        parse_key_record("")


def test_a_selector_has_a_place_of_its_own():
    assert key_name("s1.mail_a", "acme.example") == "s1.mail_a._domainkey.acme.example"


@pytest.mark.parametrize("selector", ["a..b", "", "a.", ".a", "x" * 64, "a b", ".".join(["x" * 60] * 4)])
def test_what_is_no_selector_is_one_sentence(selector):
    with pytest.raises(ValueError, match="is no DKIM selector of acme"):
        key_name(selector, "acme.example")
