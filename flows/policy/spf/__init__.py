"""Sender Policy Framework, RFC 7208: parsing without look-ups, evaluation over a one-method look-up."""

from flows.policy.spf.evaluation import Lookup, LookupAnswer, SpfOutcome, SpfResult, check_host
from flows.policy.spf.syntax import Directive, SpfRecord, SpfSyntax, parse_spf, spf_texts

__all__ = [
    "Directive",
    "Lookup",
    "LookupAnswer",
    "SpfOutcome",
    "SpfRecord",
    "SpfResult",
    "SpfSyntax",
    "check_host",
    "parse_spf",
    "spf_texts",
]
