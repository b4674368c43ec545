from ipaddress import IPv4Address

import pytest

from flows.policy.ingress import judge
from flows.policy.verdict import Truth

ADDRESS = IPv4Address("198.51.100.7")


@pytest.mark.parametrize(
    ("greeted", "others", "truth"),
    [(True, True, Truth.PASS), (True, False, Truth.PASS), (False, True, Truth.FAIL), (False, False, Truth.UNKNOWN)],
)
def test_silence_is_blamed_on_a_host_only_by_who_hears_others(greeted: bool, others: bool, truth: Truth) -> None:
    verdict = judge(ADDRESS, greeted=greeted, reaches_others=others)
    assert verdict.truth is truth
    assert (str(ADDRESS) in verdict.fix) == (truth is not Truth.PASS)
