"""Domains are dealt evenly over the addresses, and stay where they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.dealing import dealt


def test_the_main_address_begins_and_the_next_follows() -> None:
    assert dealt([1, 2, 3], [10, 11], {}) == {1: 10, 2: 11, 3: 10}


def test_a_domain_that_has_an_address_keeps_it() -> None:
    assert dealt([1, 2], [10, 11], {1: 11}) == {2: 10}


def test_a_new_address_gets_the_next_domain_not_an_old_one() -> None:
    assert dealt([1, 2, 3], [10, 11], {1: 10, 2: 10}) == {3: 11}


def test_without_an_address_nothing_is_dealt() -> None:
    with pytest.raises(ValueError, match="without an address"):
        dealt([1], [], {})


@given(st.integers(0, 20), st.integers(1, 5))
def test_no_address_has_two_domains_more_than_another(domains: int, addresses: int) -> None:
    new = dealt(range(domains), range(addresses), {})
    counts = [list(new.values()).count(address) for address in range(addresses)]
    assert max(counts) - min(counts) <= 1
