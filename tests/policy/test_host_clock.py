from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.convergence import Facts, plan
from flows.policy.host_clock import LIMIT_SECONDS, being_mended, doubt, setting, wrong_clock
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


WISH = desired(HostSecurity((IPv4Network("192.0.2.7/32"),), ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 worker",)))
WHOLE = facts_as_wished(WISH)
WITHOUT_SERVICE = plan(WISH, replace(WHOLE, holds=WHOLE.holds - {"clock/synchronised"}))
QUARTER = 90 * 86400


def test_a_plan_says_whether_it_brings_a_time_service() -> None:
    assert not being_mended(plan(WISH, WHOLE))
    assert being_mended(WITHOUT_SERVICE)


@pytest.mark.parametrize(("off", "words"), [(-QUARTER, "s behind"), (QUARTER, "s ahead")])
def test_a_host_that_is_only_to_get_a_time_service_is_told_the_time_before_apt_is_asked(off: int, words: str) -> None:
    facts = replace(told(int(ANSWERED) + off), up_seconds=77)
    wrong = wrong_clock(facts, ASKED, ANSWERED)
    assert wrong is not None
    change = setting(wrong, WITHOUT_SERVICE, facts, ANSWERED)
    assert change is not None
    assert change.script == f"set_clock {int(ANSWERED)} 77"
    assert change.summary.startswith("clock: set, it was 77")
    assert change.summary.endswith(words)


def test_a_clock_that_a_service_or_a_machine_sets_is_left_to_it() -> None:
    own, lent = wrong_clock(told(0), ASKED, ANSWERED), wrong_clock(told(0, "lxc"), ASKED, ANSWERED)
    assert own is not None
    assert lent is not None
    assert setting(own, plan(WISH, WHOLE), told(0), ANSWERED) is None
    assert setting(lent, WITHOUT_SERVICE, told(0, "lxc"), ANSWERED) is None


@pytest.mark.parametrize("off", [-QUARTER, -LIMIT_SECONDS - 1, LIMIT_SECONDS + 1])
def test_no_host_is_judged_by_a_clock_that_the_database_does_not_share(off: int) -> None:
    assert doubt(ASKED, ASKED + LIMIT_SECONDS) is None
    assert f"are {abs(off)} s apart" in (doubt(ASKED + off, ASKED) or "")
