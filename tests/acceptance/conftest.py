"""One world and one `serve` for all stories; tenants that several stories look at are onboarded once."""

import base64
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support import world
from tests.support.world import BARE, DONE, TEMPLATE, Lab, Tenant

LOOKS_FOR_SECRETS = "test_9_secrets"
LONGEST_SECONDS = 1800  # of a test with all that it is the first to need, on a machine that others load


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.sandbox)
            item.add_marker(pytest.mark.timeout(LONGEST_SECONDS))


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Generator[Lab]:
    if lacks := world.why_not():
        if world.REQUIRED:
            pytest.fail(f"PENGUINMAILS_SANDBOX__REQUIRED=1, and no world can be raised: {lacks}")
        pytest.skip(f"no world can be raised here: {lacks}")
    with world.raised(watched=any(item.path.stem == LOOKS_FOR_SECRETS for item in request.session.items)) as made:
        yield made


@pytest.fixture(scope="session")
def acme(lab: Lab) -> Tenant:
    """A tenant that went from a row in a table to proven mail on a server that was bare."""
    tenant = lab.add_tenant("acorn")
    ran = lab.interpreted("flows", "onboard", tenant.uuid, **{TEMPLATE: BARE})
    lab.printed.append(ran.out + ran.err)
    assert ran.code == DONE, ran.said
    return tenant


@pytest.fixture(scope="session")
def quiet(lab: Lab) -> Generator[Lab]:
    """A second installation in the same world, which no sweep looks after: what stands still there, stands still."""
    with world.second_installation(lab, "quiet", base64.b64encode(os.urandom(32)).decode()) as made:
        yield made
