from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.proof import (
    NONCE_HEADER,
    Hop,
    MethodResult,
    ProofExpectation,
    VerifiedSignature,
    authentication_results,
    header_fields,
    is_proven,
    judge_delivery,
    may_yet_be_answered,
    received_hop,
)
from flows.policy.verdict import Truth

RESULTS = """Authentication-Results: mx.bigmail.example;
 dmarc=pass (p=none dis=none) header.from=acme.example
Authentication-Results: mx.bigmail.example;
\tdkim=pass (2048-bit key; unprotected) header.d=acme.example header.i=@acme.example header.a=rsa-sha256
\t header.s=pm202611r header.b=aZ0;
\tdkim=pass (256-bit key; unprotected) header.d=acme.example header.i=@acme.example header.a=ed25519-sha256
\t header.s=pm202611e
Authentication-Results: mx.bigmail.example; spf=pass (mailfrom; a "stray quote)
\tsmtp.mailfrom=bounce.acme.example (client-ip=198.51.100.11)
"""
HOPS = """Received: from mx.bigmail.example ([203.0.113.25])
\tby mx.bigmail.example with LMTP
\tid 5OSmFZ; Sun, 22 Nov 2026 10:00:01 +0000
"""
HOP = """Received: from mail.acme.example (mail.acme.example [198.51.100.11])
\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))
\t(No client certificate requested)
\tby mx.bigmail.example (Postfix) with ESMTPS id 4D1F
\tfor <carol@bigmail.example>; Sun, 22 Nov 2026 10:00:00 +0000 (UTC)
"""
OWN = """DKIM-Signature: v=1; a=rsa-sha256; d=acme.example; s=pm202611r
Received: from control (unknown [203.0.113.10])
\tby mail.acme.example (Postfix) with ESMTPSA id 77
From: "Post, master" <postmaster@Acme.example>
X-PM-Proof: 0123abcd
Subject: proof

"""
FORGED = (
    "Authentication-Results: mx.bigmail.example;"
    " spf=pass smtp.mailfrom=acme.example; dmarc=pass header.from=acme.example\n"
)
EXPECTATION = ProofExpectation(
    domain="acme.example",
    ip=IPv4Address("198.51.100.11"),
    helo="mail.acme.example",
    authserv_id="mx.bigmail.example",
    selectors={"rsa": "pm202611r", "ed25519": "pm202611e"},
    nonce="0123abcd",
    receiver_mx="mx.bigmail.example",
)
SIGNATURES = (
    VerifiedSignature("acme.example", "pm202611r", "rsa-sha256", valid=True),
    VerifiedSignature("acme.example", "pm202611e", "ed25519-sha256", valid=True),
)
GOOD = HOPS + RESULTS + HOP + OWN


def verdicts(
    text=GOOD,
    expectation=EXPECTATION,
    signatures=SIGNATURES,
    names=("mail.acme.example.",),
    addresses=("198.51.100.11",),
):
    raw = text.replace("\n", "\r\n").encode()
    return {verdict.subject: verdict for verdict in judge_delivery(raw, expectation, signatures, names, addresses)}


def test_a_clean_delivery_proves_everything():
    judged = verdicts()
    assert {subject: verdict.truth for subject, verdict in judged.items()} == dict.fromkeys(
        (
            "nonce",
            "spf",
            "dkim-rsa",
            "dkim-ed25519",
            "dmarc",
            "alignment",
            "signature-rsa",
            "signature-ed25519",
            "tls",
            "helo",
            "fcrdns",
        ),
        Truth.PASS,
    )
    assert is_proven(tuple(judged.values())) is Truth.PASS
    assert {verdict.evidence for verdict in judged.values()} == {()}


def test_a_receiver_that_tells_neither_spf_nor_dkim_leaves_alignment_open():
    judged = verdicts("Authentication-Results: mx.bigmail.example; dmarc=pass header.from=acme.example\n" + HOP + OWN)
    assert (judged["alignment"].truth, judged["alignment"].reason) == (Truth.UNKNOWN, "not_reported")
    assert judged["dmarc"].passed


@pytest.mark.parametrize(
    ("change", "subject", "truth", "reason"),
    [
        (("0123abcd", "another"), "nonce", Truth.FAIL, "another_message"),
        (
            ("X-PM-Proof: 0123abcd", "X-PM-Proof: 0123abcd\nX-PM-Proof: 0123abcd"),
            "nonce",
            Truth.FAIL,
            "another_message",
        ),
        (("spf=pass", "spf=softfail"), "spf", Truth.FAIL, "spf_softfail"),
        (("spf=pass", "spf=temperror"), "spf", Truth.UNKNOWN, "receiver_undecided"),
        (
            ("smtp.mailfrom=bounce.acme.example", "smtp.mailfrom=acme.example.evil.example"),
            "spf",
            Truth.FAIL,
            "spf_not_ours",
        ),
        (("header.s=pm202611r", "header.s=other"), "dkim-rsa", Truth.UNKNOWN, "not_reported"),
        (
            ("header.d=acme.example header.i=@acme.example header.a=rsa", "header.d=evil.example header.a=rsa"),
            "dkim-rsa",
            Truth.FAIL,
            "dkim_not_ours",
        ),
        (("dkim=pass (2048-bit", "dkim=fail (2048-bit"), "dkim-rsa", Truth.FAIL, "dkim_fail"),
        (("dkim=pass (256-bit", "dkim=neutral (256-bit"), "dkim-ed25519", Truth.UNKNOWN, "receiver_undecided"),
        (("dkim=pass (256-bit", "dkim=fail (256-bit"), "dkim-ed25519", Truth.FAIL, "dkim_fail"),
        (("dmarc=pass", "dmarc=fail"), "dmarc", Truth.FAIL, "dmarc_fail"),
        (
            ("spf=pass", "spf=fail smtp.mailfrom=acme.example; spf=pass"),
            "spf",
            Truth.UNKNOWN,
            "receiver_contradicts_itself",
        ),
        (("spf=pass", "spf=temperror smtp.mailfrom=acme.example; spf=pass"), "spf", Truth.PASS, "ok"),
        (("spf=pass", "spf=fail smtp.mailfrom=other.example; spf=pass"), "spf", Truth.PASS, "ok"),
        (
            ("dkim=pass (256-bit", "dkim=fail header.d=acme.example header.s=pm202611r; dkim=pass (256-bit"),
            "dkim-rsa",
            Truth.PASS,
            "ok",
        ),
        (("dmarc=pass", "x=y"), "dmarc", Truth.UNKNOWN, "not_reported"),
        (("<postmaster@Acme.example>", "<postmaster@other.example>"), "alignment", Truth.FAIL, "foreign_author"),
        (
            ("<postmaster@Acme.example>", "<a@acme.example>, <b@other.example>"),
            "alignment",
            Truth.FAIL,
            "foreign_author",
        ),
        (("TLSv1.3", "TLSv1.2"), "tls", Truth.PASS, "ok"),
        (("TLSv1.3", "TLSv1.1"), "tls", Truth.FAIL, "tls_old"),
        (("(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n\t", ""), "tls", Truth.FAIL, "no_tls"),
        (("from mail.acme.example (", "from localhost ("), "helo", Truth.FAIL, "helo_mismatch"),
        (
            ("mail.acme.example [198.51.100.11]", "mail.acme.example [198.51.100.99]"),
            "helo",
            Truth.FAIL,
            "another_address",
        ),
    ],
)
def test_one_fault_is_told_by_its_own_reason(change, subject, truth, reason):
    assert change[0] in GOOD
    judged = verdicts(GOOD.replace(*change))
    assert (judged[subject].truth, judged[subject].reason) == (truth, reason)


def test_a_receiver_that_does_not_judge_ed25519_does_not_hold_the_domain_back():
    judged = verdicts(GOOD.replace("dkim=pass (256-bit", "dkim=neutral (256-bit"))
    assert is_proven(tuple(judged.values())) is Truth.PASS
    refused = verdicts(GOOD.replace("dkim=pass (256-bit", "dkim=fail (256-bit"))
    assert is_proven(tuple(refused.values())) is Truth.FAIL


@pytest.mark.parametrize("subject", ["signature-rsa", "signature-ed25519"])
def test_our_own_verification_is_needed_for_both_algorithms(subject):
    algorithm = subject.removeprefix("signature-")
    without = tuple(signature for signature in SIGNATURES if not signature.algorithm.startswith(algorithm))
    broken = tuple(replace(signature, valid=not signature.algorithm.startswith(algorithm)) for signature in SIGNATURES)
    assert verdicts(signatures=without)[subject].reason == "signature_missing"
    assert verdicts(signatures=broken)[subject].reason == "signature_invalid"
    assert is_proven(tuple(verdicts(signatures=broken).values())) is Truth.FAIL


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_a_domain_without_a_key_of_an_algorithm_is_not_proven(algorithm):
    selectors = {name: selector for name, selector in EXPECTATION.selectors.items() if name != algorithm}
    judged = verdicts(expectation=replace(EXPECTATION, selectors=selectors))
    assert {judged[f"{kind}-{algorithm}"].reason for kind in ("dkim", "signature")} == {"no_key"}
    assert is_proven(tuple(judged.values())) is Truth.FAIL


@pytest.mark.parametrize(
    ("names", "addresses", "truth", "reason"),
    [
        (None, ("198.51.100.11",), Truth.UNKNOWN, "resolver_unreachable"),
        (("mail.acme.example",), None, Truth.UNKNOWN, "resolver_unreachable"),
        ((), ("198.51.100.11",), Truth.FAIL, "ptr_missing"),
        (("hwsrv-1234.provider.example.",), ("198.51.100.11",), Truth.FAIL, "ptr_default"),
        (("mail.acme.example.",), ("198.51.100.12",), Truth.FAIL, "a_mismatch"),
    ],
)
def test_name_and_address_must_lead_to_each_other(names, addresses, truth, reason):
    judged = verdicts(names=names, addresses=addresses)["fcrdns"]
    assert (judged.truth, judged.reason) == (truth, reason)


@pytest.mark.parametrize(
    "own",
    [
        OWN.replace("From:", FORGED + "From:"),
        FORGED.replace("mx.bigmail.example", "mx.bigmail.example ") + OWN,
        "Authentication-Results: other.example; spf=pass smtp.mailfrom=acme.example\n" + OWN,
    ],
)
def test_a_forged_result_below_the_receivers_own_received_is_ignored(own):
    honest = RESULTS.replace("spf=pass", "spf=fail").replace("dmarc=pass", "dmarc=fail")
    judged = verdicts(HOPS + honest + HOP + own)
    assert judged["spf"].truth is Truth.FAIL
    assert judged["dmarc"].truth is Truth.FAIL


def test_one_header_above_everything_is_read_whole():
    """As a receiver with three filters merged them: a policy server's words in comments, methods nobody asked for."""
    merged = (
        "Authentication-Results: mx.bigmail.example;\n"
        "\tspf=pass (sender SPF authorized) smtp.mailfrom=bounce.acme.example (client-ip=198.51.100.11;"
        " helo=mail.acme.example; envelope-from=x@bounce.acme.example; receiver=bigmail.example);\n"
        "\tdkim=pass (2048-bit key) header.d=acme.example header.s=pm202611r; dkim-atps=neutral;\n"
        "\tdmarc=pass (p=none dis=none) header.from=acme.example\n"
        "Return-Path: <x@bounce.acme.example>\nDelivered-To: carol@bigmail.example\n"
    )
    judged = verdicts(merged + HOP + FORGED + OWN)
    assert {subject for subject, verdict in judged.items() if not verdict.passed} == {"dkim-ed25519"}
    assert is_proven(tuple(judged.values())) is Truth.PASS


def test_a_forged_result_does_not_stand_in_for_a_silent_receiver():
    judged = verdicts(HOPS + HOP + OWN.replace("From:", FORGED + "From:"))
    assert judged["spf"].truth is Truth.UNKNOWN
    assert judged["dmarc"].truth is Truth.UNKNOWN


def test_only_the_topmost_counts_where_it_stands_below_the_receivers_received():
    genuine = "Authentication-Results: mx.bigmail.example; spf=fail smtp.mailfrom=acme.example\n"
    results = authentication_results((HOPS + HOP + genuine + FORGED + OWN).encode(), "mx.bigmail.example")
    assert results == (MethodResult("spf", "fail", {"smtp.mailfrom": "acme.example"}),)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("MX.bigmail.example 1; none", ()),
        ('"mx.bigmail.example"; SPF = Pass smtp . mailfrom = a@b.example', (("spf", "pass", {}),)),
        ("mx.bigmail.example; dkim/1=pass header.d=b.example", (("dkim", "pass", {"header.d": "b.example"}),)),
        (
            'mx.bigmail.example; dkim=fail reason="no; key (here)" header.d=b.example',
            (("dkim", "fail", {"reason": "no; key (here)", "header.d": "b.example"}),),
        ),
        ("mx.bigmail.example (a (nested; spf=pass) one); spf=none", (("spf", "none", {}),)),
        (r"mx.bigmail.example (a \) still; spf=pass); spf=none", (("spf", "none", {}),)),
        (r'mx.bigmail.example; spf=none reason="a \" b"', (("spf", "none", {"reason": 'a " b'}),)),
        ("(c) mx.bigmail.example; spf=none (open", None),
        ("mx.bigmail.example.evil.example; spf=pass", None),
        ("evil.example mx.bigmail.example; spf=pass", None),
        ('mx.bigmail.example; spf="pass', None),
        ("; spf=pass", None),
        ("", None),
    ],
)
def test_results_are_read_as_rfc_8601_writes_them(value, expected):
    raw = f"Authentication-Results: {value}\nFrom: a@b.example\n\n".encode()
    found = authentication_results(raw, "mx.bigmail.example")
    if expected and expected[0][1] == "pass" and not expected[0][2]:
        assert [(result.method, result.result) for result in found] == [("spf", "pass")]
    else:
        assert found == tuple(MethodResult(*one) for one in expected or ())


def test_the_hop_is_the_connection_from_outside_not_the_local_delivery():
    assert received_hop(GOOD.encode(), "MX.bigmail.example.") == Hop(
        by="mx.bigmail.example",
        helo="mail.acme.example",
        client_ip=IPv4Address("198.51.100.11"),
        protocol="ESMTPS",
        tls_version=(1, 3),
        cipher="TLS_AES_256_GCM_SHA384",
    )


def test_a_hop_behind_another_server_is_not_the_receivers_word():
    relay = "Received: from x.example (x.example [192.0.2.1]) by relay.example with ESMTPS\n"
    assert received_hop((relay + HOP + OWN).encode(), "mx.bigmail.example") is None
    assert verdicts(relay + HOP + OWN)["tls"].reason == "no_received"


def test_a_hop_that_names_no_address_tells_nothing():
    local = "Received: by mx.bigmail.example (Postfix, from userid 0) id 5C; Sun, 22 Nov 2026 10:00:00 +0000\n"
    assert received_hop((local + OWN).encode(), "mx.bigmail.example") is None
    broken = HOP.replace("[198.51.100.11]", "[198.51.100.999]")
    assert received_hop((broken + OWN).encode(), "mx.bigmail.example") is None


def test_a_client_cannot_name_another_address_in_its_greeting():
    lying = HOP.replace(
        "from mail.acme.example (mail.acme.example [198.51.100.11])", "from [198.51.100.11] (evil.example [192.0.2.66])"
    )
    found = received_hop((lying + OWN).encode(), "mx.bigmail.example")
    assert found is not None
    assert str(found.client_ip) == "192.0.2.66"


def test_a_key_that_nobody_answered_for_is_unknown_and_may_yet_be_answered():
    silent = tuple(replace(signature, valid=None) for signature in SIGNATURES)
    judged = verdicts(signatures=silent)
    assert {judged[f"signature-{name}"].truth for name in ("rsa", "ed25519")} == {Truth.UNKNOWN}
    assert may_yet_be_answered(tuple(judged.values()))
    assert not may_yet_be_answered(tuple(verdicts().values()))
    assert not may_yet_be_answered(
        tuple(verdicts(GOOD.replace("spf=pass", "spf=temperror"), signatures=silent).values())
    )
    wrong = (replace(SIGNATURES[0], valid=False), *silent[1:])
    assert not may_yet_be_answered(tuple(verdicts(signatures=wrong).values()))


def test_evidence_says_who_saw_it_and_when():
    at = datetime(2026, 11, 22, tzinfo=UTC)
    for verdict in judge_delivery(
        GOOD.encode(), EXPECTATION, SIGNATURES, ("mail.acme.example",), ("198.51.100.11",), fetched_at=at
    ):
        (evidence,) = verdict.evidence
        assert (evidence.source, evidence.asked_at) == ("mx.bigmail.example", at)


def test_header_fields_end_at_the_empty_line():
    assert header_fields(f"A: 1\r\n b\r\nnonsense\r\n\r\n{NONCE_HEADER}: x\r\n".encode()) == (("a", "1 b"),)


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_hostile_bytes_never_raise_and_never_prove(head, tail):
    raw = b"Authentication-Results: mx.bigmail.example; " + head + b"\nReceived: " + tail + b"\n\n"
    judged = judge_delivery(raw, EXPECTATION, (), None, None)
    assert is_proven(judged) is not Truth.PASS
