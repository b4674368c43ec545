"""One question to the DNS, one Answer that says what was heard, from whom, and how long it holds."""

from providers.resolver.asking import Resolver
from providers.resolver.inquiry import Inquiry
from providers.resolver.nouns import Answer, Authorities, Outcome

__all__ = ["Answer", "Authorities", "Inquiry", "Outcome", "Resolver"]
