"""Those who do not pay: nothing leaves, and what was bought ends with its paid month, never before and never after."""

from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.mail_host import DailyCaps, HostMailbox, MailDomain, MailHost, SendingAddress
from flows.policy.mail_host.caps import caps_file
from flows.policy.unpaid import refusing, release_at

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
HOST = MailHost(
    hostname="mail.acme.example",
    addresses=(SendingAddress(IPv4Address("192.0.2.10"), "mail.acme.example", "smtp-ip1"),),
    domains=(MailDomain("acme.example", "smtp-ip1"),),
    mailboxes=(HostMailbox("anna@acme.example", "{X}y", 100, "acme.example"),),
    first_day_cap=5,
    caps=DailyCaps(NOW, {"anna@acme.example": 40}, {IPv4Address("192.0.2.10"): 1200}),
)


def test_a_refusing_host_grants_nobody_anything_and_is_otherwise_the_same() -> None:
    closed = refusing(HOST)
    assert '"first_day": 0' in caps_file(closed)
    assert '"canary_cap": 0' in caps_file(closed)
    assert '"users": {}' in caps_file(closed)
    assert (closed.mailboxes, closed.domains, closed.addresses) == (HOST.mailboxes, HOST.domains, HOST.addresses)


@pytest.mark.parametrize(
    ("bought", "now", "end"),
    [
        ("2026-10-05", "2026-11-22", "2026-12-05"),
        ("2026-10-25", "2026-11-22", "2026-11-25"),
        ("2026-10-22", "2026-11-22", "2026-12-22"),  # the new month began at midnight
        ("2026-01-31", "2026-02-10", "2026-02-28"),
        ("2026-01-31", "2026-02-28", "2026-03-31"),
        ("2025-12-15", "2026-12-20", "2027-01-15"),
        ("2026-11-22", "2026-11-22", "2026-12-22"),
        ("2024-02-29", "2026-02-10", "2026-02-28"),
    ],
)
def test_months_count_from_the_day_of_purchase(bought: str, now: str, end: str) -> None:
    at = datetime.fromisoformat(f"{now}T13:00:00+00:00")
    found = release_at(at, period_ends_on=None, bought_at=datetime.fromisoformat(f"{bought}T09:00:00+00:00"))
    assert found == datetime.fromisoformat(f"{end}T00:00:00+00:00")


def test_what_the_provider_says_holds_while_it_is_ahead() -> None:
    bought = NOW - timedelta(days=50)
    assert release_at(NOW, period_ends_on=date(2026, 11, 30), bought_at=bought) == datetime(2026, 11, 30, tzinfo=UTC)
    assert release_at(NOW, period_ends_on=date(2026, 11, 22), bought_at=bought) == datetime(2026, 12, 3, tzinfo=UTC)


@given(st.integers(0, 86_400 * 3650), st.integers(0, 3000))
def test_the_end_is_ahead_and_within_one_month(seconds: int, days: int) -> None:
    bought = NOW + timedelta(seconds=seconds)
    now = bought + timedelta(days=days)
    end = release_at(now, period_ends_on=None, bought_at=bought)
    assert now < end <= now + timedelta(days=31)
