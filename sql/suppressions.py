"""Suppressions: addresses and domains that a tenant must not write to, each with why and until when."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from psycopg import AsyncConnection
from psycopg.rows import class_row

Reason = Literal["hard_bounce", "complaint", "unsubscribe", "mailbox_full", "unknown_permanent", "manual"]
Scope = Literal["address", "domain"]
ASKED_FOR: Final = ("complaint", "unsubscribe")
"""Reasons that are the recipient's own word; no operator takes them back."""
FILLS: Final = "hashtextextended('penguin-fills:' || %s::text, 0)"
"""The lock of a tenant's fills: suppressions share it (take_back_queued), a fill's last look has it alone."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """One entry; without an end it stands for ever."""

    scope: str
    value: str
    reason: str
    created_at: datetime
    expires_at: datetime | None


async def suppress(
    conn: AsyncConnection, *, tenant_id: int, scope: Scope, value: str, reason: Reason, until: datetime | None
) -> int:
    """Write to it no more; how many queued messages were taken back. An entry that is there gets the later end."""
    cursor = await conn.execute("SELECT take_back_queued(%s, %s, %s)", [tenant_id, scope, value])
    row = await cursor.fetchone()
    await conn.execute(
        """
        INSERT INTO suppressions (tenant_id, scope, value, reason, expires_at)
        VALUES (%(tenant)s, %(scope)s, %(value)s, %(reason)s, %(until)s)
        ON CONFLICT (tenant_id, scope, value) DO UPDATE
          SET reason = CASE WHEN suppressions.expires_at < now()
                              OR EXCLUDED.reason = ANY(%(asked_for)s) AND suppressions.reason <> ALL(%(asked_for)s)
                            THEN EXCLUDED.reason ELSE suppressions.reason END,
              expires_at = CASE WHEN suppressions.expires_at IS NULL OR EXCLUDED.expires_at IS NULL THEN NULL
                                ELSE greatest(suppressions.expires_at, EXCLUDED.expires_at) END
        """,
        {
            "tenant": tenant_id,
            "scope": scope,
            "value": value,
            "reason": reason,
            "until": until,
            "asked_for": list(ASKED_FOR),
        },
    )
    return int(row[0]) if row else 0


async def take_back_suppressed(conn: AsyncConnection, tenant_id: int, campaign_id: int) -> int:
    """Take back what is queued for the suppressed, who may be so since a fill read; how many of this fill. Commit soon.

    From here to the commit no suppression of the tenant is under way: an earlier one is seen here, a later one finds
    the fill's messages.
    """
    await conn.execute(f"SELECT pg_advisory_xact_lock({FILLS})", [tenant_id])
    cursor = await conn.execute(
        """
        WITH taken AS (
        UPDATE emails e SET status = 'suppressed', updated_at = now() FROM leads l
         WHERE e.tenant_id = %(tenant)s AND e.campaign_id = %(campaign)s AND e.status = 'queued'
           AND l.tenant_id = e.tenant_id AND l.id = e.lead_id
           AND (l.email IN (SELECT value FROM suppressions WHERE tenant_id = %(tenant)s AND scope = 'address'
                               AND (expires_at IS NULL OR expires_at > now()))
             OR split_part(l.email, '@', 2) IN (SELECT value FROM suppressions WHERE tenant_id = %(tenant)s
                               AND scope = 'domain' AND (expires_at IS NULL OR expires_at > now())))
        RETURNING e.created_at)
        SELECT count(*) FROM taken WHERE created_at = now()
        """,
        {"tenant": tenant_id, "campaign": campaign_id},
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def list_suppressions(conn: AsyncConnection, tenant_id: int, limit: int) -> list[Suppression]:
    """What stands now, the newest first."""
    cursor = conn.cursor(row_factory=class_row(Suppression))
    await cursor.execute(
        """
        SELECT scope, value, reason, created_at, expires_at FROM suppressions
         WHERE tenant_id = %s AND (expires_at IS NULL OR expires_at > now()) ORDER BY created_at DESC, id DESC LIMIT %s
        """,
        [tenant_id, limit],
    )
    return await cursor.fetchall()


async def lift(conn: AsyncConnection, *, tenant_id: int, scope: Scope, value: str) -> str | None:
    """Take an entry out again, unless its reason is ASKED_FOR; that reason, or None when there is no entry."""
    cursor = await conn.execute(
        """
        WITH entry AS (
          SELECT id, reason FROM suppressions WHERE tenant_id = %s AND scope = %s AND value = %s FOR UPDATE),
        lifted AS (DELETE FROM suppressions s USING entry WHERE s.id = entry.id AND entry.reason <> ALL(%s))
        SELECT reason FROM entry
        """,
        [tenant_id, scope, value, list(ASKED_FOR)],
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])
