"""The one form in which a blocklist's subject is asked for and stored."""

import pytest

from flows.commands.listings import as_asked


@pytest.mark.parametrize(
    ("word", "subject"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
    ],
)
def test_an_address_has_one_form_and_a_mapped_one_is_ipv4(word: str, subject: str) -> None:
    assert as_asked(word) == subject
