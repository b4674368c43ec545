from datetime import date

import pytest

from flows.policy.dns_ids import dkim_selector, is_slot, ownership_text
from flows.policy.names import is_record_name


def test_a_selector_tells_month_and_algorithm():
    on = date(2026, 11, 22)
    assert dkim_selector("rsa", on) == "pm202611r"
    assert dkim_selector("ed25519", on) == "pm202611e"


def test_a_taken_selector_gets_the_next_letter():
    taken: list[str] = []
    for _ in range(26):
        selector = dkim_selector("rsa", date(2026, 1, 1), taken)
        assert selector not in taken
        assert is_record_name(f"{selector}._domainkey.acme.example")
        taken.append(selector)
    assert taken[:3] == ["pm202601r", "pm202601rb", "pm202601rc"]
    with pytest.raises(ValueError, match="taken"):
        dkim_selector("rsa", date(2026, 1, 1), taken)


def test_only_the_four_slots_are_delegated():
    assert [name for name in ("pm0", "pm1", "pm4", "pm5", "pm12", "pm202611r") if is_slot(name)] == ["pm1", "pm4"]


def test_the_ownership_text_needs_a_whole_token():
    assert ownership_text("0a" * 16) == "pm-verify=" + "0a" * 16
    for token in ("", "0a" * 15, "0A" * 16, "0a" * 16 + "\n"):
        with pytest.raises(ValueError, match="32"):
            ownership_text(token)
