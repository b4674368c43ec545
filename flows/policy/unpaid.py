"""What becomes of those who do not pay: their host lets nothing out, and what was bought ends with its paid month."""

import calendar
from dataclasses import replace
from datetime import UTC, date, datetime, time

from flows.policy.mail_host import MailHost

MONTHS = 12


def refusing(host: MailHost) -> MailHost:
    """The same host with every cap at nothing. Mail still comes in, mailboxes are still read, nothing is lost."""
    return replace(host, first_day_cap=0, canary_cap=0, caps=None)


def release_at(now: datetime, *, period_ends_on: date | None, bought_at: datetime) -> datetime:
    """The last moment of the month that is paid to the provider: a server is never given back early, nor renewed.

    Where the provider has not said when its month ends, months count from the day of purchase, in UTC; a month that
    lacks the day ends on its last.
    """
    if period_ends_on is not None and (end := _midnight(period_ends_on)) > now:
        return end
    first = bought_at.astimezone(UTC).date()
    passed = (now.year - first.year) * MONTHS + now.month - first.month
    ends = (_midnight(_months_after(first, passed + more)) for more in (0, 1, 2))
    return next(end for end in ends if end > now and end.date() > first)


def _months_after(first: date, months: int) -> date:
    year, month = divmod(first.year * MONTHS + first.month - 1 + months, MONTHS)
    return date(year, month + 1, min(first.day, calendar.monthrange(year, month + 1)[1]))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
