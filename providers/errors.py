"""Why a call to an outside system did not give what was asked.

    ProviderError(provider, action, detail)
    ├─ Unavailable    nothing happened; the same call may work later   → try again, with a pause
    ├─ Unconfirmed    it may have happened                             → never repeat; look, then adopt or create
    └─ Rejected       the same call will always fail                   → an operator reads the reason
       ├─ NotFound
       └─ Unauthorized                                                 → stop all work for this credential

The three branches answer: again? look first? fix something?
"""

DETAIL_LIMIT = 200  # characters of a foreign answer that may enter a message


class ProviderError(Exception):
    """One failed call. Carries no secret: callers pass a short detail that was redacted at its source."""

    def __init__(self, provider: str, action: str, detail: str, *, retry_after_seconds: float | None = None) -> None:
        self.provider = provider
        self.action = action
        self.detail = detail[:DETAIL_LIMIT]
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{provider} {action}: {self.detail}")


class Unavailable(ProviderError):
    """Nothing happened; the same call may work later."""


class Unconfirmed(ProviderError):
    """The call may have taken effect: look before acting again."""


class Rejected(ProviderError):
    """The same call will always fail; somebody has to change something."""


class NotFound(Rejected):
    """The named thing does not exist, or is not ours to see."""


class Unauthorized(Rejected):
    """The credential was refused: all work under it stops."""
