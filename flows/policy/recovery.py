"""When a run that keeps dying is handed to a person."""

from typing import Final

STARTS_LIMIT: Final = 10
IDLE_STARTS_LIMIT: Final = 3


def worn_out(starts: int, idle_starts: int) -> bool:
    """Whether starting again has stopped making sense: 3 starts without a finished step, or 10 in all."""
    return idle_starts >= IDLE_STARTS_LIMIT or starts >= STARTS_LIMIT
