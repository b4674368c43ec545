from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.convergence import Facts, plan
from flows.policy.host_clock import LIMIT_SECONDS, being_mended, wrong_clock
from flows.policy.secure_host import HostSecurity, desired
from tests.support.hosts_as_wished import facts_as_wished

ASKED, ANSWERED = 1_795_000_000.0, 1_795_000_010.0


def told(seconds: int, container: str = "none") -> Facts:
    return Facts(state="running", clock_seconds=seconds, container=container)


@given(st.floats(ASKED, ANSWERED), st.integers(-LIMIT_SECONDS, LIMIT_SECONDS))
def test_a_clock_within_the_limit_is_trusted_however_long_the_look_took(read_at: float, off: int) -> None:
    assert wrong_clock(told(int(read_at + off)), ASKED, ANSWERED) is None


@pytest.mark.parametrize(
    ("off", "words"),
    [(3600, "3600 s ahead of ours"), (-3600, "3600 s behind ours"), (LIMIT_SECONDS + 1, "61 s ahead of ours")],
)
def test_a_wrong_clock_is_told_with_its_error_and_its_cure(off: int, words: str) -> None:
    said = int(ANSWERED) + off if off > 0 else int(ASKED) - 1 + off  # a second lasts a second
    wrong = wrong_clock(told(said, "systemd-nspawn"), ASKED, ANSWERED)
    assert wrong is not None
    assert words in wrong.sentence
    assert "nothing is signed by it" in wrong.sentence
    assert not wrong.mends_itself


def test_a_clock_of_its_own_is_left_to_the_hosts_time_service() -> None:
    wrong = wrong_clock(told(0), ASKED, ANSWERED)
    assert wrong is not None
    assert wrong.mends_itself
    assert "timedatectl timesync-status" in wrong.sentence


def test_a_host_without_a_time_service_gets_one_before_it_is_judged() -> None:
    wish = desired(HostSecurity((IPv4Network("192.0.2.7/32"),), ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 worker",)))
    whole = facts_as_wished(wish)
    assert not being_mended(plan(wish, whole))
    assert being_mended(plan(wish, replace(whole, holds=whole.holds - {"clock/synchronised"})))
