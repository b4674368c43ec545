"""Campaigns and their messages: one message a campaign and lead, every move from where it may come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sql.suppressions import take_back_suppressed

CampaignStatus = Literal["draft", "scheduled", "running", "paused", "completed", "cancelled"]
EmailStatus = Literal["queued", "sending", "sent", "deferred", "bounced", "failed", "suppressed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign."""

    id: int
    tenant_id: int
    campaign_name: str
    status: str
    template_id: int | None
    configuration: dict[str, Any]
    scheduled_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How a campaign's messages stand, by state word."""

    status: str
    messages: int


CAMPAIGN: Final = """id, tenant_id, campaign_name, status, template_id, coalesce(configuration, '{}') AS configuration,
                     scheduled_at, started_at, completed_at"""


async def draft_campaign(
    conn: AsyncConnection, *, tenant_id: int, name: str, template_id: int, configuration: Mapping[str, Any]
) -> int:
    """A campaign that sends nothing yet; its key. Another tenant's template is refused by the database's keys."""
    cursor = await conn.execute(
        """
        INSERT INTO campaigns (tenant_id, campaign_name, template_id, configuration) VALUES (%s, %s, %s, %s)
        RETURNING id
        """,
        [tenant_id, name, template_id, Jsonb(dict(configuration))],
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def get_campaign(conn: AsyncConnection, campaign_id: int) -> Campaign | None:
    """One campaign by its key."""
    cursor = conn.cursor(row_factory=class_row(Campaign))
    await cursor.execute(f"SELECT {CAMPAIGN} FROM campaigns WHERE id = %s", [campaign_id])  # noqa: S608 - a literal
    return await cursor.fetchone()


async def list_campaigns(conn: AsyncConnection, tenant_id: int) -> list[Campaign]:
    """A tenant's campaigns, the newest first."""
    cursor = conn.cursor(row_factory=class_row(Campaign))
    await cursor.execute(
        f"SELECT {CAMPAIGN} FROM campaigns WHERE tenant_id = %s ORDER BY id DESC",  # noqa: S608 - a literal
        [tenant_id],
    )
    return await cursor.fetchall()


async def mailboxes(conn: AsyncConnection, tenant_id: int, addresses: Sequence[str]) -> dict[str, int]:
    """The keys of those of these mailboxes that the tenant has, by address."""
    cursor = await conn.execute(
        """
        SELECT email_address, id FROM email_accounts
         WHERE tenant_id = %s AND email_address = ANY(%s) AND status <> 'deleted'
        """,
        [tenant_id, list(addresses)],
    )
    return {str(row[0]): int(row[1]) for row in await cursor.fetchall()}


async def move_campaign(
    conn: AsyncConnection,
    campaign_id: int,
    to: CampaignStatus,
    *,
    allowed_from: Sequence[CampaignStatus],
    scheduled_at: datetime | None = None,
) -> bool:
    """Move a campaign; False when it stands in none of `allowed_from`. A cancelled one's queued messages go with it."""
    cursor = await conn.execute(
        """
        UPDATE campaigns SET status = %(to)s::text, scheduled_at = coalesce(%(at)s::timestamptz, scheduled_at),
               started_at = CASE WHEN %(to)s::text = 'running' THEN coalesce(started_at, now()) ELSE started_at END,
               completed_at = CASE WHEN %(to)s::text IN ('completed', 'cancelled') THEN now() END, updated_at = now()
         WHERE id = %(id)s AND status = ANY(%(from)s)
        """,
        {"id": campaign_id, "to": to, "from": list(allowed_from), "at": scheduled_at},
    )
    if cursor.rowcount and to == "cancelled":
        await conn.execute(
            """
            UPDATE emails SET status = 'cancelled', updated_at = now()
             WHERE campaign_id = %s AND status IN ('queued', 'deferred')
            """,
            [campaign_id],
        )
    return cursor.rowcount > 0


async def queue_messages(
    conn: AsyncConnection,
    *,
    tenant_id: int,
    campaign_id: int,
    account_ids: Sequence[int],
    lead_ids: Sequence[int] | None,
    open_words: Sequence[CampaignStatus],
) -> int:
    """One queued message for each lead that has none of this campaign yet; how many. Accounts are dealt in turn.

    `lead_ids` None is every lead of the tenant. Whoever is suppressed by now is left out, and whoever was while the
    leads were read is taken back; a campaign that stands in none of `open_words` takes nobody.
    """
    if not account_ids:
        raise ValueError("a campaign is sent from at least one mailbox")
    await conn.execute("SELECT set_config('statement_timeout', '10min', true)")  # a million leads take longer than 30 s
    await conn.execute("SELECT set_config('lock_timeout', '2min', true)")  # nor are they lost to a slow suppression
    cursor = await conn.execute(
        """
        INSERT INTO emails (tenant_id, campaign_id, email_account_id, lead_id, subject)
        SELECT l.tenant_id, c.id, (%(accounts)s::bigint[])[1 + (row_number() OVER (ORDER BY l.id) - 1)
                                                             %% cardinality(%(accounts)s::bigint[])], l.id, t.subject
          FROM leads l
          JOIN (SELECT id, tenant_id, template_id FROM campaigns
                 WHERE id = %(campaign)s AND status = ANY(%(open)s) FOR UPDATE) c ON c.tenant_id = l.tenant_id
          LEFT JOIN templates t ON t.tenant_id = c.tenant_id AND t.id = c.template_id
         WHERE l.tenant_id = %(tenant)s AND (%(leads)s::bigint[] IS NULL OR l.id = ANY(%(leads)s)) AND NOT EXISTS (
               SELECT FROM suppressions s
                WHERE s.tenant_id = l.tenant_id AND (s.expires_at IS NULL OR s.expires_at > now())
                  AND (s.scope = 'address' AND s.value = l.email
                    OR s.scope = 'domain' AND s.value = split_part(l.email, '@', 2)))
        ON CONFLICT (campaign_id, lead_id) DO NOTHING
        """,
        {
            "tenant": tenant_id,
            "campaign": campaign_id,
            "accounts": list(account_ids),
            "open": list(open_words),
            "leads": None if lead_ids is None else list(lead_ids),
        },
    )
    return cursor.rowcount - await take_back_suppressed(conn, tenant_id, campaign_id)


async def move_message(
    conn: AsyncConnection,
    email_id: int,
    to: EmailStatus,
    *,
    allowed_from: Sequence[EmailStatus],
    message_id: str | None = None,
    reason: str | None = None,
) -> bool:
    """Move one message; False when it stands in none of `allowed_from`. Times of the first sending and bounce stay."""
    cursor = await conn.execute(
        """
        UPDATE emails SET status = %(to)s::text, message_id = coalesce(%(message_id)s::text, message_id),
               sent_at = CASE WHEN %(to)s::text = 'sent' THEN coalesce(sent_at, now()) ELSE sent_at END,
               bounced_at = CASE WHEN %(to)s::text = 'bounced' THEN coalesce(bounced_at, now()) ELSE bounced_at END,
               bounce_reason = CASE WHEN %(to)s::text = 'bounced' THEN %(reason)s::text ELSE bounce_reason END,
               error_message = CASE WHEN %(to)s::text = 'failed' THEN %(reason)s::text ELSE error_message END,
               updated_at = now()
         WHERE id = %(id)s AND status = ANY(%(from)s)
        """,
        {"id": email_id, "to": to, "from": list(allowed_from), "message_id": message_id, "reason": reason},
    )
    return cursor.rowcount > 0


async def counts(conn: AsyncConnection, campaign_id: int) -> list[Counts]:
    """How a campaign's messages stand."""
    cursor = conn.cursor(row_factory=class_row(Counts))
    await cursor.execute(
        "SELECT status, count(*) AS messages FROM emails WHERE campaign_id = %s GROUP BY status ORDER BY status",
        [campaign_id],
    )
    return await cursor.fetchall()
