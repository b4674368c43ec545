"""The proof of delivery: what a receiver wrote about a message, and whether that proves domain and address."""

from flows.policy.proof.headers import Hop, MethodResult, authentication_results, header_fields, received_hop
from flows.policy.proof.judging import (
    NONCE_HEADER,
    ProofExpectation,
    VerifiedSignature,
    is_proven,
    judge_delivery,
)

__all__ = [
    "NONCE_HEADER",
    "Hop",
    "MethodResult",
    "ProofExpectation",
    "VerifiedSignature",
    "authentication_results",
    "header_fields",
    "is_proven",
    "judge_delivery",
    "received_hop",
]
