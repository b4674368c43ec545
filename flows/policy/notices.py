"""Which event tells whom what, in which words; mails as plain text and as HTML, whatever is filled in escaped."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Final

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
SUBJECT_CHARACTERS: Final = 150
OUR_COMMAND: Final = re.compile(r"[:;]? python -m flows [^;)]*")


@dataclass(frozen=True, slots=True)
class Words:
    """A template: subject and paragraphs with $fields. Subject and first paragraph are the notice shown."""

    subject: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Ready to be shown or sent."""

    subject: str
    text: str
    html: str


TEMPLATES: Final[Mapping[str, Words]] = {
    "tenant_active": Words(
        "$tenant is ready to send",
        (
            "Server, DNS and mailboxes of $tenant stand, and mail from every domain was seen to arrive authenticated.",
            "Volumes grow slowly from here: the warm-up plan decides how much each mailbox may send a day.",
        ),
    ),
    "subscription_past_due": Words(
        "A payment of $tenant is overdue",
        (
            "The subscription of $tenant was paid until $expires_at.",
            "Mail goes out for now. After the time of grace your servers refuse to send until the payment has arrived.",
        ),
    ),
    "subscription_suspended": Words(
        "$tenant cannot send: the subscription is unpaid",
        (
            "The servers of $tenant refuse to send, because the subscription is unpaid since $past_due_since.",
            "Mail still comes in and can be read. A payment opens the way out again at once.",
        ),
    ),
    "release_planned": Words(
        "The servers of $tenant end on $release_planned_for",
        (
            "$tenant has not paid: its servers and addresses will be given back on $release_planned_for.",
            "A payment before that day keeps them, with the reputation they have earned.",
        ),
    ),
    "submission_restored": Words(
        "$tenant can send again",
        ("The payment of $tenant has arrived, and its servers take mail again.",),
    ),
    "dns_repaired": Words(
        "Records of $domain were put back",
        (
            "$names had gone from the zone of $domain, which we publish for $tenant, and stands there again.",
            "If it was taken out on purpose, tell us: we put it back as it was, and leave the zone to you.",
        ),
    ),
    "dkim_to_publish": Words(
        "A new DKIM key of $domain waits for you to publish it",
        (
            "Enter a TXT record named $enter with the value $value",
            "Until it is seen everywhere, mail of $tenant is signed with the old key of $domain: leave it in place.",
        ),
    ),
    "dns_deadline": Words(
        "Setting up $tenant has ended: a DNS record is missing",
        (
            "Still to be published: $missing",
            "We waited until the deadline. What was made for $tenant stays; once the record is there, ask us to go on.",
        ),
    ),
    "dns_wrong": Words(
        "$title",
        (
            "$cure",
            "Severity $severity, since $since. Mail may be refused until it is mended; we look again by ourselves.",
        ),
    ),
    "alert": Words(
        "$severity: $title",
        ("$title", "Severity $severity, since $since. Our operators know of it."),
    ),
}

TOLD: Final[Mapping[str, str]] = {
    "tenant_active": "tenant_active",
    "past_due": "subscription_past_due",
    "suspended": "subscription_suspended",
    "release_planned": "release_planned",
    "submission_restored": "submission_restored",
    "dns_repaired": "dns_repaired",
    "dkim_to_publish": "dkim_to_publish",
    "dns_deadline": "dns_deadline",
}
"""Event of `infrastructure_events` to template: a notice and a mail to the owners and admins of its tenant."""

LOUD: Final = ("high", "critical")
"""Severities of an alert that reach the tenant's and the platform's people."""


def for_a_tenant(sentence: str) -> str:
    """A sentence of ours without the commands that only an operator can give."""
    return OUR_COMMAND.sub("", sentence)


def render(kind: str, fields: Mapping[str, object]) -> Rendered:
    """A template with its fields; ValueError names what is lacking."""
    words = TEMPLATES.get(kind)
    if words is None:
        raise ValueError(f"no template is called {kind!r}")
    plain = {name: CONTROL.sub(" ", str(value)).strip() for name, value in fields.items()}
    escaped = {name: html.escape(value) for name, value in plain.items()}
    try:
        subject = Template(words.subject).substitute(plain)
        paragraphs = [Template(paragraph).substitute(plain) for paragraph in words.paragraphs]
        marked = [f"<p>{Template(html.escape(words_)).substitute(escaped)}</p>" for words_ in words.paragraphs]
    except KeyError as lacking:
        raise ValueError(f"template {kind} lacks {lacking}") from lacking
    body = "\n".join(marked)
    page = f'<!doctype html>\n<html lang="en"><head><title>{html.escape(subject)}</title></head>\n<body>\n{body}\n'
    return Rendered(subject[:SUBJECT_CHARACTERS], "\n\n".join(paragraphs) + "\n", page + "</body></html>\n")
