"""The world's blocklists, asked as the product asks them: listings, and every fault and its end."""

from collections.abc import Iterator

import dns.exception
import dns.resolver
import pytest

from sandbox.blocklists import FAULTS, LISTS, Blocklists, label_of, records, with_lists
from sandbox.network import RESOLVER
from sandbox.world import World

ADDRESS = "198.51.100.77"


def answer(world: World, name: str, subject: str) -> list[str] | str:
    """Codes in order; a word where there is none."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.lifetime, resolver.timeout = [str(RESOLVER)], 1.5, 1.5
    with world.enter_control():
        try:
            return sorted(code.to_text() for code in resolver.resolve(f"{label_of(subject)}.{LISTS[name].zone}.", "A"))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return "absent"
        except (dns.resolver.NoNameservers, dns.exception.Timeout):
            return "unknown"


@pytest.fixture
def lists(world: World) -> Iterator[Blocklists]:
    yield world.blocklists
    for name in ("psbl", "uribl"):
        world.blocklists.trouble(name, None)
        for subject in (ADDRESS, "acme.example"):
            world.blocklists.take_off(name, subject)


@pytest.mark.sandbox
def test_every_list_answers_its_test_point_and_nothing_else(world: World) -> None:
    for name, one in LISTS.items():
        assert (
            answer(world, name, one.point if "." in one.point and one.point[0].isalpha() else "127.0.0.2") != "unknown"
        )
        assert answer(world, name, "127.0.0.1") == "absent"


@pytest.mark.sandbox
def test_a_subject_is_listed_until_it_is_taken_off(world: World, lists: Blocklists) -> None:
    lists.put("psbl", ADDRESS)
    lists.put("uribl", "acme.example", "127.0.0.2")
    assert answer(world, "psbl", ADDRESS) == ["127.0.0.2"]
    assert answer(world, "uribl", "acme.example") == ["127.0.0.2"]
    lists.take_off("psbl", ADDRESS)
    assert answer(world, "psbl", ADDRESS) == "absent"


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("fault", "listed", "clean"),
    [
        ("empty", "absent", "absent"),
        ("parked", ["203.0.113.250"], ["203.0.113.250"]),
        ("lists-all", ["127.0.0.2"], ["127.0.0.2"]),
        ("refuses", ["127.255.255.254"], ["127.255.255.254"]),
        ("new-code", ["127.0.0.99"], "absent"),
        ("silent", "unknown", "unknown"),
        ("broken", "unknown", "unknown"),
    ],
)
def test_every_fault_does_what_it_says_and_leaves_nothing_behind(
    world: World, lists: Blocklists, fault: str, listed: list[str] | str, clean: list[str] | str
) -> None:
    lists.put("psbl", ADDRESS)
    lists.trouble("psbl", fault)
    assert answer(world, "psbl", ADDRESS) == listed
    assert answer(world, "psbl", "127.0.0.1") == clean
    lists.trouble("psbl", None)
    assert (answer(world, "psbl", ADDRESS), answer(world, "psbl", "127.0.0.1")) == (["127.0.0.2"], "absent")


def test_every_fault_changes_what_a_list_says() -> None:
    one, listed = LISTS["psbl"], {ADDRESS: ("127.0.0.2", "why")}
    well = records(one, listed, None)
    assert ("77.100.51.198", "TXT", "why") in well
    assert all(records(one, listed, fault) != well for fault in FAULTS)


def test_an_unknown_list_or_fault_is_refused(tmp_path) -> None:
    lists = Blocklists(None, tmp_path)
    with pytest.raises(ValueError, match="no list"):
        lists.put("sorbs", ADDRESS)
    with pytest.raises(ValueError, match="no fault"):
        lists.trouble("psbl", "sleepy")


def test_a_new_world_has_every_list() -> None:
    zones = with_lists({"example": []})
    assert {one.zone for one in LISTS.values()} <= zones.keys()
