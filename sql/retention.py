"""What is old enough goes, in chunks that hold nobody up; what is still wanted stays.

How long each kind of row is kept is a preset's figure (kind `retention`, body: rule name → days).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, LiteralString

from psycopg_pool import AsyncConnectionPool

from sql.migration_files import Target
from sql.session import as_orchestrator

CHUNK: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows of one table that may go; `condition` speaks of a row `r` and of %(before)s."""

    name: str
    target: Target
    table: LiteralString
    condition: LiteralString


@dataclass(frozen=True, slots=True)
class Purged:
    """What one rule took away."""

    name: str
    rows: int


# Counted days only: a bounce of a day that no rollup has seen would be lost from the figures.
ROLLED_UP: Final = "r.created_at < (SELECT seen_until FROM rollup_watermarks WHERE name = 'interactions')"

RULES: Final = (
    Rule("email_opens", "analytics", "email_opens", f"r.created_at < %(before)s AND {ROLLED_UP}"),
    Rule("email_clicks", "analytics", "email_clicks", f"r.created_at < %(before)s AND {ROLLED_UP}"),
    Rule("email_bounces", "analytics", "email_bounces", f"r.created_at < %(before)s AND {ROLLED_UP}"),
    Rule("email_replies", "analytics", "email_replies", f"r.created_at < %(before)s AND {ROLLED_UP}"),
    Rule("email_complaints", "analytics", "email_complaints", f"r.created_at < %(before)s AND {ROLLED_UP}"),
    Rule("warmup_interactions", "analytics", "warmup_interactions", f"r.created_at < %(before)s AND {ROLLED_UP}"),
    Rule("jobs_completed", "analytics", "jobs", "r.status = 'completed' AND r.completed_at < %(before)s"),
    Rule("jobs_failed", "analytics", "jobs", "r.status IN ('failed', 'cancelled') AND r.updated_at < %(before)s"),
    Rule("job_logs", "analytics", "job_logs", "r.created_at < %(before)s"),
    Rule("notifications", "analytics", "notifications", "r.expires_at < now() OR r.created_at < %(before)s"),
    Rule("system_notifications", "analytics", "system_notifications", "r.is_resolved AND r.resolved_at < %(before)s"),
    Rule(
        "dns_checks",
        "core",
        "dns_checks",
        "r.checked_at < %(before)s AND EXISTS (SELECT FROM dns_checks l WHERE l.tenant_id = r.tenant_id"
        " AND l.domain_id = r.domain_id AND l.record_key = r.record_key AND l.checked_at > r.checked_at)",
    ),
    Rule(
        "delivery_proofs",
        "core",
        "delivery_proofs",
        "r.created_at < %(before)s AND (r.verdict <> 'pass' OR EXISTS (SELECT FROM delivery_proofs l"
        " WHERE l.tenant_id = r.tenant_id AND l.domain_id = r.domain_id"
        " AND l.smtp_ip_address_id = r.smtp_ip_address_id AND l.verdict = 'pass' AND l.created_at > r.created_at))",
    ),
    Rule("blacklist_checks", "core", "blacklist_checks", "r.ended_at < %(before)s"),
    # What we left in a zone is known from its publications alone, for as long as the domain is ours.
    Rule(
        "infrastructure_events",
        "core",
        "infrastructure_events",
        "r.created_at < %(before)s AND (r.event NOT IN ('dns_publishing', 'dns_undone') OR NOT EXISTS (SELECT FROM"
        " domains d WHERE d.tenant_id = r.tenant_id AND d.domain_name = r.subject_id"
        " AND d.verification_status <> 'deleted'))",
    ),
    # A server's newest order says what came of it; the newest certificate of the same names makes the next a renewal.
    Rule(
        "acme_orders",
        "core",
        "acme_orders",
        "r.ended_at < %(before)s AND EXISTS (SELECT FROM acme_orders l WHERE l.tenant_id = r.tenant_id"
        " AND l.vps_instance_id = r.vps_instance_id AND l.id > r.id) AND (r.state <> 'issued' OR EXISTS (SELECT FROM"
        " acme_orders l WHERE l.directory = r.directory AND l.names = r.names AND l.state = 'issued' AND l.id > r.id))",
    ),
    Rule("reputation_history", "core", "reputation_history", "r.computed_at < %(before)s"),
)


async def purge(
    pool: AsyncConnectionPool, target: Literal["core", "analytics"], days: Mapping[str, int], now: datetime
) -> list[Purged]:
    """Delete what is older than `days` says, rule by rule; a rule without a figure takes nothing away."""
    return [
        Purged(rule.name, await _purge(pool, rule, now - timedelta(days=days[rule.name])))
        for rule in RULES
        if rule.target == target and rule.name in days
    ]


async def _purge(pool: AsyncConnectionPool, rule: Rule, before: datetime) -> int:
    """Chunk after chunk, each a transaction of its own, until one comes back short."""
    rows = 0
    while True:
        async with as_orchestrator(pool) as conn:
            cursor = await conn.execute(
                f"DELETE FROM {rule.table} WHERE ctid = ANY(ARRAY("  # noqa: S608 - literals of this file
                f"SELECT r.ctid FROM {rule.table} r WHERE {rule.condition} LIMIT %(chunk)s))",
                {"before": before, "chunk": CHUNK},
            )
        rows += cursor.rowcount
        if cursor.rowcount < CHUNK:
            return rows
