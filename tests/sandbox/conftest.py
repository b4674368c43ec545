"""One world for the whole ring; stories that raise and take down worlds make their own."""

import os
from collections.abc import Iterator

import pytest

from sandbox import prerequisites
from sandbox.world import World

CHOSEN = os.environ.get("PENGUINMAILS_SANDBOX__WORLD")
NAME = f"{CHOSEN}t" if CHOSEN else "tests"  # not the acceptance ring's: both may run at once
REQUIRED = os.environ.get("PENGUINMAILS_SANDBOX__REQUIRED") == "1"


@pytest.fixture(scope="session")
def able() -> None:
    """Skip where no world can be raised; fail there when the machine is meant to be able."""
    lacks = [f"{lack.what}: {lack.cure}" for lack in prerequisites.lacks()]
    if lacks and REQUIRED:
        pytest.fail("; ".join(lacks))
    if lacks:
        pytest.skip("; ".join(lacks))


@pytest.fixture(scope="session")
def world(able: None) -> Iterator[World]:
    World.down_named(NAME, say=lambda _: None)
    raised = World.up(NAME, say=lambda _: None)
    yield raised
    raised.down(say=lambda _: None)
