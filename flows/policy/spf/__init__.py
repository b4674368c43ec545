"""Sender Policy Framework, RFC 7208: parsing without look-ups, evaluation over a one-method look-up."""

from flows.policy.spf.cost import costly_terms, lookup_cost
from flows.policy.spf.evaluation import Lookup, LookupAnswer, SpfOutcome, SpfResult, check_host
from flows.policy.spf.static import authorises, is_open, own_terms, with_terms
from flows.policy.spf.syntax import Directive, SpfRecord, SpfSyntax, parse_spf, spf_texts

__all__ = [
    "Directive",
    "Lookup",
    "LookupAnswer",
    "SpfOutcome",
    "SpfRecord",
    "SpfResult",
    "SpfSyntax",
    "authorises",
    "check_host",
    "costly_terms",
    "is_open",
    "lookup_cost",
    "own_terms",
    "parse_spf",
    "spf_texts",
    "with_terms",
]
