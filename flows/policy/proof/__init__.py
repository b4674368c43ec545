"""The proof of delivery: what a receiver wrote about a message, and whether that proves domain and address."""

from flows.policy.proof.bundle import Bundle, Spoiled, as_bytes, manifest_of, packed, unpacked
from flows.policy.proof.fate import Fate, fate_script, judge_absence, judge_placement, next_look, read_fate
from flows.policy.proof.headers import Hop, MethodResult, authentication_results, header_fields, received_hop
from flows.policy.proof.judging import (
    NONCE_HEADER,
    ProofExpectation,
    VerifiedSignature,
    is_proven,
    judge_delivery,
    may_yet_be_answered,
)

__all__ = [
    "NONCE_HEADER",
    "Bundle",
    "Fate",
    "Hop",
    "MethodResult",
    "ProofExpectation",
    "Spoiled",
    "VerifiedSignature",
    "as_bytes",
    "authentication_results",
    "fate_script",
    "header_fields",
    "is_proven",
    "judge_absence",
    "judge_delivery",
    "judge_placement",
    "manifest_of",
    "may_yet_be_answered",
    "next_look",
    "packed",
    "read_fate",
    "received_hop",
    "unpacked",
]
