"""Raw interactions in, daily figures out.

A row's id is the caller's, made from the event it tells of, so the same event told twice is one row. The rollup counts
a day anew in one statement: it may run twice, late, or over a day that is counted already. Ids of core rows come as
text (sql/ids.py). Warm-up is counted apart from real mail, always.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

LATE: Final = timedelta(
    minutes=10
)  # longer than any transaction of ours: a row may show this long after it was written
SORTING_ROOM: Final = "64MB"
"""What one day of some millions of interactions needs to be made distinct in memory."""
WarmupKind = Literal["send", "open", "reply", "rescue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Which message of whom: tenant and user by uuid, the rest as core keys in text."""

    id: UUID
    tenant_id: UUID
    user_id: UUID
    email_id: str
    campaign_id: str | None = None
    mailbox_id: str | None = None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(About):
    """A message was shown."""

    ip_address: IPv4Address | IPv6Address | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Click(About):
    """A link was followed."""

    clicked_url: str
    ip_address: IPv4Address | IPv6Address | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce(About):
    """A message came back."""

    bounce_type: str
    bounce_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(About):
    """Somebody answered."""

    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint(About):
    """Somebody called it spam; `source` is the provider that told us."""

    feedback_type: str = "abuse"
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupInteraction:
    """One turn of a warm-up conversation, seen from `mailbox_id`."""

    id: UUID
    tenant_id: UUID
    user_id: UUID
    mailbox_id: str
    kind: WarmupKind
    partner_mailbox: str | None = None
    at: datetime


@dataclass(frozen=True, slots=True)
class Sent:
    """How many messages core sent on a day, for one user, campaign and mailbox."""

    tenant_id: UUID
    user_id: UUID
    campaign_id: str | None
    mailbox_id: str | None
    date: date
    count: int


@dataclass(frozen=True, slots=True)
class Day:
    """One row of daily figures; rates are per cent of what was sent."""

    date: date
    user_id: UUID
    campaign_id: str | None
    mailbox_id: str | None
    emails_sent: int
    emails_opened: int
    emails_clicked: int
    emails_bounced: int
    emails_replied: int
    emails_complained: int
    warmup_opens: int
    warmup_replies: int
    open_rate: float
    bounce_rate: float


async def note_opens(conn: AsyncConnection, opens: Sequence[Open]) -> int:
    """How many were new."""
    return await _note(
        conn,
        """
        INSERT INTO email_opens
          (id, tenant_id, user_id, email_id, campaign_id, mailbox_id, opened_at, ip_address, user_agent)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
                             %s::inet[], %s::text[])
        ON CONFLICT (id) DO NOTHING
        """,
        opens,
        [[one.ip_address for one in opens], [one.user_agent for one in opens]],
    )


async def note_clicks(conn: AsyncConnection, clicks: Sequence[Click]) -> int:
    """How many were new."""
    return await _note(
        conn,
        """
        INSERT INTO email_clicks
          (id, tenant_id, user_id, email_id, campaign_id, mailbox_id, clicked_at, clicked_url, ip_address, user_agent)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
                             %s::text[], %s::inet[], %s::text[])
        ON CONFLICT (id) DO NOTHING
        """,
        clicks,
        [[one.clicked_url for one in clicks], [one.ip_address for one in clicks], [one.user_agent for one in clicks]],
    )


async def note_bounces(conn: AsyncConnection, bounces: Sequence[Bounce]) -> int:
    """How many were new."""
    return await _note(
        conn,
        """
        INSERT INTO email_bounces
          (id, tenant_id, user_id, email_id, campaign_id, mailbox_id, bounced_at, bounce_type, bounce_reason)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
                             %s::text[], %s::text[])
        ON CONFLICT (id) DO NOTHING
        """,
        bounces,
        [[one.bounce_type for one in bounces], [one.bounce_reason for one in bounces]],
    )


async def note_replies(conn: AsyncConnection, replies: Sequence[Reply]) -> int:
    """How many were new."""
    return await _note(
        conn,
        """
        INSERT INTO email_replies (id, tenant_id, user_id, email_id, campaign_id, mailbox_id, replied_at, message_id)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
                             %s::text[])
        ON CONFLICT (id) DO NOTHING
        """,
        replies,
        [[one.message_id for one in replies]],
    )


async def note_complaints(conn: AsyncConnection, complaints: Sequence[Complaint]) -> int:
    """How many were new."""
    return await _note(
        conn,
        """
        INSERT INTO email_complaints
          (id, tenant_id, user_id, email_id, campaign_id, mailbox_id, complained_at, feedback_type, source)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
                             %s::text[], %s::text[])
        ON CONFLICT (id) DO NOTHING
        """,
        complaints,
        [[one.feedback_type for one in complaints], [one.source for one in complaints]],
    )


async def note_warmup(conn: AsyncConnection, turns: Sequence[WarmupInteraction]) -> int:
    """How many were new."""
    cursor = await conn.execute(
        """
        INSERT INTO warmup_interactions
          (id, tenant_id, user_id, mailbox_id, interaction_type, partner_mailbox, interaction_at)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
        ON CONFLICT (id) DO NOTHING
        """,
        [
            [one.id for one in turns],
            [one.tenant_id for one in turns],
            [one.user_id for one in turns],
            [one.mailbox_id for one in turns],
            [one.kind for one in turns],
            [one.partner_mailbox for one in turns],
            [one.at for one in turns],
        ],
    )
    return cursor.rowcount


async def touched_days(conn: AsyncConnection, *, oldest: date) -> tuple[list[date], datetime]:
    """UTC days with rows written since the watermark, and the mark to set once they are counted.

    Days before `oldest` are left out: their raw rows may be purged, and counting anew would lose what is known.
    """
    cursor = await conn.execute(TOUCHED, {"late": LATE, "oldest": oldest})
    days = sorted(row[0] for row in await cursor.fetchall())
    now = await (await conn.execute("SELECT clock_timestamp()")).fetchone()
    return days, datetime.now(UTC) if now is None else now[0]


async def roll_up(conn: AsyncConnection, days: Sequence[date]) -> int:
    """Count these UTC days anew from the raw rows; how many figures changed. Leaves emails_sent alone."""
    await conn.execute("SELECT set_config('work_mem', %s, true)", [SORTING_ROOM])
    changed = 0
    for day in days:
        for statement in (ROLL_UP, ROLL_UP_WARMUP):
            changed += (await conn.execute(statement, {"day": day})).rowcount
    return changed


async def roll_up_sent(conn: AsyncConnection, days: Sequence[date], sent: Iterable[Sent]) -> int:
    """Set what core sent on these days, 0 where it names nothing; how many figures changed."""
    rows = list(sent)
    cursor = await conn.execute(
        ROLL_UP_SENT,
        {
            "days": list(days),
            "tenants": [row.tenant_id for row in rows],
            "users": [row.user_id for row in rows],
            "campaigns": [row.campaign_id for row in rows],
            "mailboxes": [row.mailbox_id for row in rows],
            "dates": [row.date for row in rows],
            "counts": [row.count for row in rows],
        },
    )
    return cursor.rowcount


async def remember(conn: AsyncConnection, seen_until: datetime) -> None:
    """Set the watermark, in the transaction that counted."""
    await conn.execute(
        """
        INSERT INTO rollup_watermarks (name, seen_until) VALUES ('interactions', %s)
        ON CONFLICT (name) DO UPDATE SET seen_until = EXCLUDED.seen_until, updated_at = now()
         WHERE rollup_watermarks.seen_until < EXCLUDED.seen_until
        """,
        [seen_until],
    )


async def daily(conn: AsyncConnection, tenant_id: UUID, first: date, last: date) -> list[Day]:
    """A tenant's figures from `first` to `last`, both included."""
    cursor = conn.cursor(row_factory=class_row(Day))
    await cursor.execute(
        """
        SELECT date, user_id, campaign_id, mailbox_id, emails_sent, emails_opened, emails_clicked, emails_bounced,
               emails_replied, emails_complained, warmup_opens, warmup_replies, open_rate::float8, bounce_rate::float8
          FROM daily_analytics WHERE tenant_id = %s AND date BETWEEN %s AND %s ORDER BY date, campaign_id, mailbox_id
        """,
        [tenant_id, first, last],
    )
    return await cursor.fetchall()


async def _note(
    conn: AsyncConnection, statement: LiteralString, events: Sequence[About], more: Sequence[Sequence[object]]
) -> int:
    columns = [
        [one.id for one in events],
        [one.tenant_id for one in events],
        [one.user_id for one in events],
        [one.email_id for one in events],
        [one.campaign_id for one in events],
        [one.mailbox_id for one in events],
        [one.at for one in events],
    ]
    return (await conn.execute(statement, [*columns, *more])).rowcount


TOUCHED: Final = """
    WITH mark AS (
      SELECT coalesce(max(seen_until) - %(late)s, '-infinity') AS since
        FROM rollup_watermarks WHERE name = 'interactions'),
    days AS (
      SELECT (opened_at AT TIME ZONE 'UTC')::date AS day FROM email_opens, mark WHERE created_at >= since
      UNION SELECT (clicked_at AT TIME ZONE 'UTC')::date FROM email_clicks, mark WHERE created_at >= since
      UNION SELECT (bounced_at AT TIME ZONE 'UTC')::date FROM email_bounces, mark WHERE created_at >= since
      UNION SELECT (replied_at AT TIME ZONE 'UTC')::date FROM email_replies, mark WHERE created_at >= since
      UNION SELECT (complained_at AT TIME ZONE 'UTC')::date FROM email_complaints, mark WHERE created_at >= since
      UNION SELECT (interaction_at AT TIME ZONE 'UTC')::date FROM warmup_interactions, mark WHERE created_at >= since)
    SELECT day FROM days WHERE day >= %(oldest)s
"""
# A day at a time: half the cost of all days in one statement, for the day's index finds its rows and its messages fit
# the cache. A message opened ten times is one opened message: DISTINCT first (a hash), then count; count(DISTINCT …)
# would sort.
ROLL_UP: Final = """
    INSERT INTO daily_analytics AS d (tenant_id, user_id, campaign_id, mailbox_id, date, emails_opened, emails_clicked,
                                      emails_bounced, emails_replied, emails_complained, warmup_opens, warmup_replies)
    SELECT tenant_id, user_id, campaign_id, mailbox_id, day,
           count(*) FILTER (WHERE kind = 1), count(*) FILTER (WHERE kind = 2), count(*) FILTER (WHERE kind = 3),
           count(*) FILTER (WHERE kind = 4), count(*) FILTER (WHERE kind = 5),
           count(*) FILTER (WHERE kind = 6), count(*) FILTER (WHERE kind = 7)
      FROM (
        SELECT DISTINCT 1 AS kind, tenant_id, user_id, campaign_id, mailbox_id,
               %(day)s::date AS day, email_id
          FROM email_opens WHERE (opened_at AT TIME ZONE 'UTC')::date = %(day)s
        UNION ALL
        SELECT DISTINCT 2, tenant_id, user_id, campaign_id, mailbox_id, %(day)s::date, email_id
          FROM email_clicks WHERE (clicked_at AT TIME ZONE 'UTC')::date = %(day)s
        UNION ALL
        SELECT DISTINCT 3, tenant_id, user_id, campaign_id, mailbox_id, %(day)s::date, email_id
          FROM email_bounces WHERE (bounced_at AT TIME ZONE 'UTC')::date = %(day)s
        UNION ALL
        SELECT DISTINCT 4, tenant_id, user_id, campaign_id, mailbox_id, %(day)s::date, email_id
          FROM email_replies WHERE (replied_at AT TIME ZONE 'UTC')::date = %(day)s
        UNION ALL
        SELECT DISTINCT 5, tenant_id, user_id, campaign_id, mailbox_id, %(day)s::date,
               email_id
          FROM email_complaints WHERE (complained_at AT TIME ZONE 'UTC')::date = %(day)s
        UNION ALL
        SELECT CASE interaction_type WHEN 'open' THEN 6 ELSE 7 END, tenant_id, user_id, NULL, mailbox_id,
               %(day)s::date, id::text
          FROM warmup_interactions
         WHERE (interaction_at AT TIME ZONE 'UTC')::date = %(day)s AND interaction_type IN ('open', 'reply')
      ) seen
     GROUP BY tenant_id, user_id, campaign_id, mailbox_id, day
    ON CONFLICT (user_id, tenant_id, campaign_id, mailbox_id, date) DO UPDATE SET
      emails_opened = EXCLUDED.emails_opened, emails_clicked = EXCLUDED.emails_clicked,
      emails_bounced = EXCLUDED.emails_bounced, emails_replied = EXCLUDED.emails_replied,
      emails_complained = EXCLUDED.emails_complained, warmup_opens = EXCLUDED.warmup_opens,
      warmup_replies = EXCLUDED.warmup_replies, updated_at = now()
     WHERE (d.emails_opened, d.emails_clicked, d.emails_bounced, d.emails_replied, d.emails_complained, d.warmup_opens,
            d.warmup_replies)
       IS DISTINCT FROM (EXCLUDED.emails_opened, EXCLUDED.emails_clicked, EXCLUDED.emails_bounced,
            EXCLUDED.emails_replied, EXCLUDED.emails_complained, EXCLUDED.warmup_opens, EXCLUDED.warmup_replies)
"""
ROLL_UP_WARMUP: Final = """
    INSERT INTO warmup_daily_stats AS w (tenant_id, user_id, mailbox_id, date, emails_sent, opens_received,
                                         replies_received)
    SELECT tenant_id, min(user_id::text)::uuid, mailbox_id, %(day)s::date,
           count(*) FILTER (WHERE interaction_type = 'send'), count(*) FILTER (WHERE interaction_type = 'open'),
           count(*) FILTER (WHERE interaction_type = 'reply')
      FROM warmup_interactions WHERE (interaction_at AT TIME ZONE 'UTC')::date = %(day)s
     GROUP BY tenant_id, mailbox_id
    ON CONFLICT (mailbox_id, date, tenant_id) DO UPDATE SET
      emails_sent = EXCLUDED.emails_sent, opens_received = EXCLUDED.opens_received,
      replies_received = EXCLUDED.replies_received, updated_at = now()
     WHERE (w.emails_sent, w.opens_received, w.replies_received)
       IS DISTINCT FROM (EXCLUDED.emails_sent, EXCLUDED.opens_received, EXCLUDED.replies_received)
"""
ROLL_UP_SENT: Final = """
    WITH told AS (
      SELECT * FROM unnest(%(tenants)s::uuid[], %(users)s::uuid[], %(campaigns)s::text[], %(mailboxes)s::text[],
                           %(dates)s::date[], %(counts)s::int[])
        AS t (tenant_id, user_id, campaign_id, mailbox_id, date, sent)),
    none_any_more AS (
      UPDATE daily_analytics d SET emails_sent = 0, updated_at = now()
       WHERE d.date = ANY(%(days)s) AND d.emails_sent > 0 AND NOT EXISTS (
         SELECT FROM told t WHERE (t.tenant_id, t.user_id, t.date) = (d.tenant_id, d.user_id, d.date)
            AND t.campaign_id IS NOT DISTINCT FROM d.campaign_id AND t.mailbox_id IS NOT DISTINCT FROM d.mailbox_id))
    INSERT INTO daily_analytics AS d (tenant_id, user_id, campaign_id, mailbox_id, date, emails_sent)
    SELECT tenant_id, user_id, campaign_id, mailbox_id, date, sent FROM told WHERE date = ANY(%(days)s)
    ON CONFLICT (user_id, tenant_id, campaign_id, mailbox_id, date) DO UPDATE SET
      emails_sent = EXCLUDED.emails_sent, updated_at = now()
     WHERE d.emails_sent IS DISTINCT FROM EXCLUDED.emails_sent
"""
