"""Flows speak of a provider's terms, never of one provider by name."""

from datetime import timedelta
from pathlib import Path

import pytest

from flows.settings import Settings
from flows.vps_terms import missing_for_an_order, terms_of

FLOWS = Path(__file__).parents[2] / "flows"
KNOW_THE_PROVIDER = {"settings.py", "resources.py", "vps_terms.py", "commands/doctor.py"}  # what sets it up


@pytest.mark.parametrize("path", sorted(FLOWS.rglob("*.py")), ids=lambda path: str(path.relative_to(FLOWS)))
def test_a_flow_names_no_provider(path: Path) -> None:
    if str(path.relative_to(FLOWS)) not in KNOW_THE_PROVIDER:
        assert "hostwind" not in path.read_text().lower()


def test_windows_follow_one_another() -> None:
    terms = terms_of(Settings())
    assert (terms.listed_within, terms.ready_within) == (timedelta(minutes=15), timedelta(minutes=65))
    assert terms.label_prefix == "pm--"


def test_what_an_order_lacks_is_named_as_it_is_set() -> None:
    missing = missing_for_an_order(Settings())
    assert {"hostwinds.template", "hostwinds.rid", "hostwinds.location_id"} <= set(missing)
