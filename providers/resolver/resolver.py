"""The resolver that an installation has: its servers, its patience, and the way to all other servers."""

from collections.abc import Sequence

from providers.resolver.asking import Asker
from providers.resolver.exchange import Exchange
from providers.resolver.inquiry import Inquiry


class Resolver(Asker):
    """Asks its recursive servers, or the authorities of a name, and opens inquiries that do so within bounds."""

    def __init__(self, servers: Sequence[str], *, timeout_seconds: float = 3, tries: int = 2, port: int = 53) -> None:
        """`servers` are addresses of recursive servers, asked in this order; `port` holds for every server."""
        if not servers or tries < 1:
            raise ValueError("a resolver needs at least one server and one try")
        ours = tuple(servers)
        super().__init__(Exchange(ours, port=port, timeout_seconds=timeout_seconds), ours, tries)

    def inquiry(self, most: int, *, seconds: float = 60) -> Inquiry:
        """Questions on behalf of one subject: at most so many, for so long, and none of them twice."""
        return Inquiry(self._exchange, self._servers, self._tries, most=most, seconds=seconds)
