"""One question to the DNS, one Answer that says what was heard, from whom, and how long it holds."""

from providers.resolver.asking import Asker
from providers.resolver.inquiry import Inquiry
from providers.resolver.nouns import ENDLESS, Answer, Authorities, Outcome
from providers.resolver.resolver import Resolver

__all__ = ["ENDLESS", "Answer", "Asker", "Authorities", "Inquiry", "Outcome", "Resolver"]
