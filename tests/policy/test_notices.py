"""Notices: every event has its template, every template says all it names, and nothing filled in becomes markup."""

import re
from pathlib import Path

import pytest

from flows.policy.notices import SUBJECT_CHARACTERS, TEMPLATES, TOLD, for_a_tenant, render

FIELDS = {
    "tenant": "Acme", "expires_at": "2026-11-30", "past_due_since": "2026-11-30", "release_planned_for": "2026-12-24",
    "severity": "high", "title": "A server is gone", "since": "2026-11-22",
    "domain": "acme.example", "names": "_dmarc.acme.example TXT", "cure": "enter only _dmarc",
    "missing": "enter only _pm-verify",
    "enter": "pm202611e._domainkey", "value": '"v=DKIM1; k=ed25519; p=AAAA"',
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_every_template_is_whole(kind: str) -> None:
    words = render(kind, FIELDS)
    assert words.subject
    assert "$" not in words.subject + words.text + words.html
    assert words.text.endswith("\n")


def test_every_event_that_is_told_has_its_template() -> None:
    assert set(TOLD.values()) <= set(TEMPLATES)


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_a_hostile_name_becomes_no_markup_and_no_header(kind: str) -> None:
    hostile = '<script>alert("x")</script>\r\nBcc: everybody@elsewhere.example\u2028$tenant'
    words = render(kind, FIELDS | {"tenant": hostile, "title": hostile})
    assert "<script" not in words.html
    assert "&lt;script&gt;" in words.html
    assert not {"\r", "\n", "\u2028"} & set(words.subject)
    assert len(words.subject) <= SUBJECT_CHARACTERS
    assert "\r\nBcc" not in words.text


def test_a_template_that_lacks_a_field_or_is_none_says_so() -> None:
    with pytest.raises(ValueError, match="subscription_past_due lacks 'expires_at'"):
        render("subscription_past_due", {"tenant": "Acme"})
    with pytest.raises(ValueError, match="no template is called 'greeting'"):
        render("greeting", FIELDS)


def test_a_tenant_is_told_no_command_of_ours() -> None:
    told = for_a_tenant("acme.example enter _dmarc (and 3 more: python -m flows dns records acme.example); soon")
    assert told == "acme.example enter _dmarc (and 3 more); soon"


def test_the_documents_tell_of_every_event_that_people_are_told_of() -> None:
    page = (Path(__file__).parents[2] / "docs" / "database.md").read_text().partition("## Notices")[2]
    listed = re.findall(r"^\| `(\w+)` \| [^|]+ \| `(\w+)` \|", page.partition("\n## ")[0], re.MULTILINE)
    assert dict(listed) == TOLD
