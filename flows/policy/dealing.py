"""Which domain sends from which address: one each, as evenly as they go, and nobody who has one is moved."""

from collections import Counter
from collections.abc import Mapping, Sequence


def dealt(domains: Sequence[int], addresses: Sequence[int], standing: Mapping[int, int]) -> Mapping[int, int]:
    """An address for each domain that has none (row ids). `standing` is what was dealt before.

    The address with the fewest domains is next; of equals the one that comes first, so the main one begins.
    """
    if not addresses:
        raise ValueError("without an address nothing can be dealt")
    taken = Counter(standing.values())
    new: dict[int, int] = {}
    for domain in domains:
        if domain not in standing:
            new[domain] = min(addresses, key=lambda address: taken[address])
            taken[new[domain]] += 1
    return new
