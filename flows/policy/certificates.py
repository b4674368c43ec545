"""When a certificate still serves."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

RENEW_IN_THE_LAST: Final = 3  # the last third of its life: 30 days of 90, and never at once of a short one


def serves(
    names: Collection[str], not_before: datetime, not_after: datetime, *, wanted: Collection[str], now: datetime
) -> bool:
    """Whether it names exactly the wanted hosts and is not in the last third of its life."""
    return set(names) == set(wanted) and now < not_after - (not_after - not_before) / RENEW_IN_THE_LAST
