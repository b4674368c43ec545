"""Time that a test may push forward."""

import time
from collections.abc import Callable


class Clock:
    """Seconds since the epoch, plus whatever was pushed; never runs backwards."""

    def __init__(self, source: Callable[[], float] = time.time, shift_seconds: float = 0.0) -> None:
        """Start from a source of seconds, shifted by what an earlier run had been pushed."""
        self._source = source
        self.shift_seconds = shift_seconds

    def now(self) -> float:
        """Return the seconds of this world."""
        return self._source() + self.shift_seconds

    def push(self, seconds: float) -> None:
        """Let time pass at once; ValueError for a step back."""
        if seconds < 0:
            raise ValueError(f"time runs forward only, got {seconds}")
        self.shift_seconds += seconds
