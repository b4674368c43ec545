"""Whether one delivered message proves its domain and address: the receiver's word, our own check, and DNS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address
from typing import Final

from flows.policy.names import is_under, same_form
from flows.policy.proof.headers import (
    Hop,
    MethodResult,
    authentication_results,
    author_domains,
    header_fields,
    received_hop,
)
from flows.policy.reverse_dns import judge_forward, judge_greeting, judge_ptr
from flows.policy.verdict import Evidence, Truth, Verdict, overall

NONCE_HEADER: Final = "X-PM-Proof"
LOWEST_TLS: Final = (1, 2)
ALGORITHMS: Final = ("rsa", "ed25519")  # every message bears a signature of each
# What a receiver says when it could not tell; everything else but pass is its refusal (RFC 8601 section 2.7).
UNDECIDED: Final = {"spf": {"temperror"}, "dkim": {"temperror", "neutral"}, "dmarc": {"temperror"}}
# Not every receiver verifies Ed25519 (RFC 8463 is optional for it), so its silence does not hold a domain back:
# our own verification of that signature has to pass instead.
MAY_STAY_UNKNOWN: Final = frozenset({"dkim-ed25519"})
UNANSWERED: Final = "resolver_unreachable"  # what DNS did not say now, and may say at the next look
WORDS: Final = {True: "valid", False: "invalid", None: "without an answer about its key"}


@dataclass(frozen=True, slots=True)
class ProofExpectation:
    """What the message that was sent must show; `selectors` by algorithm, rsa and ed25519."""

    domain: str
    ip: IPv4Address
    helo: str
    authserv_id: str
    selectors: Mapping[str, str]
    nonce: str
    receiver_mx: str


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """One DKIM signature of the message after our own verification against DNS."""

    domain: str
    selector: str
    algorithm: str
    valid: bool | None  # None: nobody said whether there is a key


def judge_delivery(
    raw: bytes,
    expectation: ProofExpectation,
    signatures: Sequence[VerifiedSignature],
    ptr_names: Sequence[str] | None,
    a_addresses: Sequence[str] | None,
    *,
    fetched_at: datetime | None = None,
) -> tuple[Verdict, ...]:
    """One verdict for each thing to be proven. None for names or addresses: the DNS gave no answer."""
    results = authentication_results(raw, expectation.authserv_id)
    hop = received_hop(raw, expectation.receiver_mx)
    verdicts = (
        judge_nonce(raw, expectation),
        judge_spf(results, expectation),
        *(judge_dkim(results, expectation, algorithm) for algorithm in ALGORITHMS),
        judge_dmarc_result(results, expectation),
        judge_alignment(raw, results, expectation),
        *(judge_signature(signatures, expectation, algorithm) for algorithm in ALGORITHMS),
        judge_tls(hop),
        judge_source(hop, expectation),
        judge_fcrdns(expectation, ptr_names, a_addresses),
    )
    if fetched_at is None:
        return verdicts
    return tuple(verdict._replace(evidence=(seen(verdict, expectation, fetched_at),)) for verdict in verdicts)


def is_proven(verdicts: Sequence[Verdict]) -> Truth:
    """The gate: PASS only when everything passes, apart from what a receiver is free not to judge."""
    return overall(
        verdict for verdict in verdicts if not (verdict.subject in MAY_STAY_UNKNOWN and verdict.truth is Truth.UNKNOWN)
    )


def may_yet_be_answered(verdicts: Sequence[Verdict]) -> bool:
    """Whether only DNS's silence is between this message and its verdict: what its headers leave open stays open."""
    return is_proven(verdicts) is Truth.UNKNOWN and all(
        verdict.reason == UNANSWERED
        for verdict in verdicts
        if verdict.truth is Truth.UNKNOWN and verdict.subject not in MAY_STAY_UNKNOWN
    )


def seen(verdict: Verdict, expectation: ProofExpectation, at: datetime) -> Evidence:
    """What the receiver or we found, as it is stored."""
    return Evidence(expectation.receiver_mx, verdict.subject, " | ".join(verdict.found), at)


def judge_nonce(raw: bytes, expectation: ProofExpectation) -> Verdict:
    """The message is the one that this run sent."""
    found = tuple(value for name, value in header_fields(raw) if name == NONCE_HEADER.lower())
    return judged("nonce", expectation.nonce, found, right=found == (expectation.nonce,), reason="another_message")


def judge_spf(results: Sequence[MethodResult], expectation: ProofExpectation) -> Verdict:
    """The receiver lets the return path pass, and the return path is ours."""
    return by_receiver("spf", results, "spf", {"smtp.mailfrom": expectation.domain})


def judge_dkim(results: Sequence[MethodResult], expectation: ProofExpectation, algorithm: str) -> Verdict:
    """The receiver accepts the signature of this algorithm by our domain and selector."""
    if algorithm not in expectation.selectors:
        return without_key(f"dkim-{algorithm}")
    of_ours = [
        result
        for result in results
        if result.method != "dkim" or is_by_key(result, expectation.selectors[algorithm], algorithm)
    ]
    return by_receiver(f"dkim-{algorithm}", of_ours, "dkim", {"header.d": expectation.domain})


def judge_dmarc_result(results: Sequence[MethodResult], expectation: ProofExpectation) -> Verdict:
    """The receiver's DMARC verdict on our author domain."""
    return by_receiver("dmarc", results, "dmarc", {"header.from": expectation.domain})


def by_receiver(subject: str, results: Sequence[MethodResult], method: str, wanted: Mapping[str, str]) -> Verdict:
    """PASS when the receiver says pass about what is ours; UNKNOWN when it says nothing or could not tell."""
    told = [result for result in results if result.method == method]
    outcomes = {result.result for result in told if is_about(result, wanted)}
    expected = " ".join((f"{method}=pass", *(f"{name}={value}" for name, value in wanted.items())))
    words = tuple(text_of(result) for result in told)
    if "pass" in outcomes and (method == "dkim" or outcomes <= {"pass"} | UNDECIDED[method]):
        return Verdict(subject, Truth.PASS, expected=expected, found=words)
    if "pass" in outcomes:
        return Verdict(subject, Truth.UNKNOWN, "receiver_contradicts_itself", expected, words)
    if not told:
        return Verdict(subject, Truth.UNKNOWN, "not_reported", expected, words)
    if outcomes and outcomes <= UNDECIDED[method]:
        return Verdict(subject, Truth.UNKNOWN, "receiver_undecided", expected, words)
    # Told of something else than ours: a missing signature, a foreign return path.
    said = min(outcomes or {result.result for result in told} - {"pass"} or {"not_ours"})
    return Verdict(subject, Truth.FAIL, f"{method}_{said}", expected, words, f"the receiver found no {expected}")


def is_about(result: MethodResult, wanted: Mapping[str, str]) -> bool:
    """Whether the result names our domain; a signature must be by the domain itself, a return path may lie below."""
    for name, value in wanted.items():
        said = domain_in(result, name)
        if not is_under(said, value) or (name == "header.d" and said != same_form(value)):
            return False
    return True


def domain_in(result: MethodResult, name: str) -> str:
    """The domain of a property; some receivers tell `header.i` and no `header.d`."""
    said = result.properties.get(name) or (result.properties.get("header.i", "") if name == "header.d" else "")
    return same_form(said.rpartition("@")[2])


def is_by_key(result: MethodResult, selector: str, algorithm: str) -> bool:
    """Whether a dkim result may be about this key: by selector, else by algorithm, else it is taken for RSA."""
    if said := result.properties.get("header.s"):
        return same_form(said) == same_form(selector)
    return result.properties.get("header.a", "rsa").lower().startswith(algorithm)


def judge_alignment(raw: bytes, results: Sequence[MethodResult], expectation: ProofExpectation) -> Verdict:
    """The one author domain is ours, and SPF or DKIM passed for it."""
    authors = author_domains(raw)
    expected = f"From: …@{expectation.domain}, and spf or dkim pass for it"
    words = (*authors, *(text_of(result) for result in results if result.method in {"spf", "dkim"}))
    if authors != (same_form(expectation.domain),):
        return Verdict("alignment", Truth.FAIL, "foreign_author", expected, words, "send with an author of the domain")
    aligned = [
        result
        for result in results
        if result.result == "pass"
        and (
            (result.method == "spf" and is_about(result, {"smtp.mailfrom": expectation.domain}))
            or (result.method == "dkim" and is_about(result, {"header.d": expectation.domain}))
        )
    ]
    if aligned:
        return Verdict("alignment", Truth.PASS, expected=expected, found=words)
    if not any(result.method in {"spf", "dkim"} for result in results):
        return Verdict("alignment", Truth.UNKNOWN, "not_reported", expected, words)
    return Verdict(
        "alignment", Truth.FAIL, "not_aligned", expected, words, "neither spf nor dkim passes for the domain"
    )


def judge_signature(signatures: Sequence[VerifiedSignature], expectation: ProofExpectation, algorithm: str) -> Verdict:
    """Our own verification of the signature, independent of what the receiver says."""
    if algorithm not in expectation.selectors:
        return without_key(f"signature-{algorithm}")
    selector = expectation.selectors[algorithm]
    ours = [
        signature.valid
        for signature in signatures
        if same_form(signature.domain) == same_form(expectation.domain)
        and same_form(signature.selector) == same_form(selector)
        and signature.algorithm.lower().startswith(algorithm)
    ]
    found = tuple(
        f"{signature.algorithm} d={signature.domain} s={signature.selector} {WORDS[signature.valid]}"
        for signature in signatures
    )
    reason = "signature_invalid" if ours else "signature_missing"
    expected = f"a valid {algorithm} signature by {selector}._domainkey.{expectation.domain}"
    if None in ours and True not in ours:
        return Verdict(f"signature-{algorithm}", Truth.UNKNOWN, UNANSWERED, expected, found)
    return judged(f"signature-{algorithm}", expected, found, right=any(ours), reason=reason)


def without_key(subject: str) -> Verdict:
    """A domain that has no key of an algorithm proves nothing about it."""
    return Verdict(subject, Truth.FAIL, "no_key", "a published key", (), "the domain has no verified key to sign with")


def judge_tls(hop: Hop | None) -> Verdict:
    """The receiver took the message over TLS 1.2 or later."""
    if hop is None:
        return Verdict("tls", Truth.UNKNOWN, "no_received", "TLS 1.2 or later")
    if hop.tls_version is None:
        return judged("tls", "TLS 1.2 or later", (hop.protocol,), right=False, reason="no_tls")
    words = ("TLS {}.{}".format(*hop.tls_version), hop.cipher)
    return judged("tls", "TLS 1.2 or later", words, right=hop.tls_version >= LOWEST_TLS, reason="tls_old")


def judge_source(hop: Hop | None, expectation: ProofExpectation) -> Verdict:
    """The message came from the address under test, and the host called itself by its name."""
    if hop is None:
        return Verdict("helo", Truth.UNKNOWN, "no_received", expectation.helo)
    if hop.client_ip != expectation.ip:
        words = (f"{hop.helo} [{hop.client_ip}]",)
        return judged("helo", f"{expectation.helo} [{expectation.ip}]", words, right=False, reason="another_address")
    return judge_greeting("helo", expectation.helo, hop.helo)


def judge_fcrdns(
    expectation: ProofExpectation, ptr_names: Sequence[str] | None, a_addresses: Sequence[str] | None
) -> Verdict:
    """The PTR of the address is the HELO name, and that name leads back to the address."""
    if ptr_names is None or a_addresses is None:
        return Verdict("fcrdns", Truth.UNKNOWN, UNANSWERED, expectation.helo)
    ptr = judge_ptr("fcrdns", expectation.ip, expectation.helo, ptr_names)
    if ptr.truth is not Truth.PASS:
        return ptr
    forward = judge_forward("fcrdns", expectation.ip, expectation.helo, a_addresses)
    return forward._replace(found=(*ptr.found, *forward.found), warnings=ptr.warnings)


def judged(subject: str, expected: str, found: tuple[str, ...], *, right: bool, reason: str) -> Verdict:
    """PASS or FAIL with what was seen."""
    if right:
        return Verdict(subject, Truth.PASS, expected=expected, found=found)
    fix = f"expected {expected}, found {' | '.join(found) or 'nothing'}"
    return Verdict(subject, Truth.FAIL, reason, expected, found, fix)


def text_of(result: MethodResult) -> str:
    """A result as the receiver wrote it, comments left out."""
    return " ".join(
        (f"{result.method}={result.result}", *(f"{name}={value}" for name, value in result.properties.items()))
    )
