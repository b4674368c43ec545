"""The provider refuses who asks, or no longer knows what is asked: a sentence for a person, and nothing is bought."""

import re
from pathlib import Path

import pytest

from sandbox.hostwinds.faults import AUTH, BAD_REPLY, NAMES
from tests.support.product import Product

# Switches that no call of the product can meet, and why.
OUT_OF_REACH = {
    "ip_cooldown": "it spoils the change of a main address, which the product must never ask for",
}


@pytest.mark.parametrize("refusal", sorted(AUTH))
async def test_a_provider_that_refuses_our_key_is_a_persons_matter_until_it_takes_it(
    product: Product, refusal: str
) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault(refusal, times="forever")
    await product.onboard(customer)
    run = product.run_of(customer)
    assert (run["status"], run["wait_reason"]) == ("waiting", "operator"), run["wait_detail"]
    assert "hostwinds" in run["wait_detail"]
    assert (product.hostwinds.orders(), product.hostwinds.bought()) == (0, 0)
    product.hostwinds.admin.ask("clear_faults")
    await product.onboard(customer)
    assert product.run_of(customer)["wait_reason"] == "provider"
    assert product.hostwinds.bought() == 1


@pytest.mark.parametrize("action", ["get_instances", "add_instance"])
async def test_an_action_that_left_the_catalogue_is_named_and_nothing_is_bought(product: Product, action: str) -> None:
    customer = product.sign_up()
    product.hostwinds.admin.fault("action_gone", action=action, times="forever")
    await product.onboard(customer)
    run = product.run_of(customer)
    assert (run["status"], run["wait_reason"]) == ("waiting", "operator"), run["wait_detail"]
    assert action in run["wait_detail"]
    assert product.hostwinds.bought() == 0


def test_every_switch_of_the_emulator_is_met_by_the_product() -> None:
    """By name in a story of the flows or the acceptance ring, unless a whole group is."""
    ring = Path(__file__).parents[1]
    text = "".join(file.read_text() for name in ("flows", "acceptance") for file in (ring / name).glob("test_*.py"))
    named = set(re.findall(r'"([a-z0-9_]+)"', text)) | AUTH | BAD_REPLY
    assert sorted(NAMES - named - OUT_OF_REACH.keys()) == []
