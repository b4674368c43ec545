"""Certificates of an authority that speaks ACME (RFC 8555), proven over HTTP-01."""

from providers.acme.authority import Acme, new_account_key
from providers.acme.nouns import Challenge, Order, Problem

__all__ = ["Acme", "Challenge", "Order", "Problem", "new_account_key"]
