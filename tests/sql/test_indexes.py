"""Each index of the seed, or the key that stands in for it, serves the query it is for."""

import re
from typing import LiteralString

import psycopg
import pytest

from tests.support.postgres import TEMPLATE, cloned

ID = "'00000000-0000-0000-0000-000000000001'::uuid"
QUERIES = {
    "tenants.tenant_id": f"SELECT * FROM tenants WHERE tenant_id = {ID}",
    "users.user_id": f"SELECT * FROM users WHERE user_id = {ID}",
    "users.email": "SELECT * FROM users WHERE email = 'ada@acme.example'",
    "tenant_users.tenant": "SELECT * FROM tenant_users WHERE tenant_id = 1",
    "tenant_users.user": "SELECT * FROM tenant_users WHERE user_id = 1",
    "emails.tenant": "SELECT * FROM emails WHERE tenant_id = 1 ORDER BY created_at DESC LIMIT 50",
    "emails.campaign": "SELECT * FROM emails WHERE campaign_id = 1",
    "emails.account": "SELECT * FROM emails WHERE email_account_id = 1",
    "emails.lead": "SELECT * FROM emails WHERE lead_id = 1",
    "emails.status": "SELECT * FROM emails WHERE status = 'queued'",
    "emails.sent_at": "SELECT * FROM emails WHERE sent_at > now() - interval '1 day'",
    "email_opens.email_id": "SELECT * FROM email_opens WHERE email_id = '1'",
    "email_opens.user_tenant": (f"SELECT * FROM email_opens WHERE tenant_id = {ID} AND user_id = {ID}"),
    "email_opens.date": "SELECT * FROM email_opens WHERE (opened_at AT TIME ZONE 'UTC')::date = '2026-11-20'",
    "email_clicks.email_id": "SELECT * FROM email_clicks WHERE email_id = '1'",
    "email_clicks.user_tenant": (f"SELECT * FROM email_clicks WHERE tenant_id = {ID} AND user_id = {ID}"),
    "email_clicks.date": "SELECT * FROM email_clicks WHERE (clicked_at AT TIME ZONE 'UTC')::date = '2026-11-20'",
    "email_bounces.email_id": "SELECT * FROM email_bounces WHERE email_id = '1'",
    "email_bounces.user_tenant": f"SELECT * FROM email_bounces WHERE tenant_id = {ID}",
    "email_replies.email_id": "SELECT * FROM email_replies WHERE email_id = '1'",
    "email_replies.user_tenant": f"SELECT * FROM email_replies WHERE tenant_id = {ID}",
    "daily_analytics.user_tenant": (f"SELECT * FROM daily_analytics WHERE user_id = {ID} AND tenant_id = {ID}"),
    "daily_analytics.date": "SELECT * FROM daily_analytics WHERE date = '2026-11-20'",
    "daily_analytics.campaign": "SELECT * FROM daily_analytics WHERE campaign_id = '1'",
    "jobs.queue, status, priority, run_at": (
        "SELECT * FROM jobs WHERE queue_name = 'warmup' AND status = 'queued' AND priority = 150"
        f" AND coalesce(tenant_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) = {ID} AND run_at <= now()"
    ),
    "warmup_interactions.mailbox": "SELECT * FROM warmup_interactions WHERE mailbox_id = '1'",
    "warmup_interactions.date": (
        "SELECT * FROM warmup_interactions WHERE (interaction_at AT TIME ZONE 'UTC')::date = '2026-11-20'"
    ),
    "warmup_daily_stats.mailbox": "SELECT * FROM warmup_daily_stats WHERE mailbox_id = '1'",
}

USED = re.compile(r"(?:Index(?: Only)? Scan using|Bitmap Index Scan on) (\w+)")
CONDITION = re.compile(r"Index Cond: (.*)")


@pytest.fixture(scope="module")
def conn(embedded_server):
    with cloned(embedded_server, TEMPLATE) as dsn, psycopg.connect(dsn) as opened:
        # Empty tables are read whole; forbid that, and an index is used wherever one can be.
        opened.execute("SET enable_seqscan = off")
        yield opened


def plan_of(conn: psycopg.Connection, query: str) -> str:
    return "\n".join(row[0] for row in conn.execute("EXPLAIN " + query).fetchall())


def serves(conn: psycopg.Connection, plan: str) -> bool:
    """Whether an index is entered by its first key: one that merely has the column is read from end to end."""
    used = USED.search(plan)
    if used is None or "Seq Scan" in plan:
        return False
    row = conn.execute("SELECT pg_get_indexdef(%s::regclass, 1, false)", [used[1]]).fetchone()
    return row is not None and any(bare(row[0]) in bare(condition) for condition in CONDITION.findall(plan))


def bare(expression: str) -> str:
    """Without its brackets, of which the two spellings have different numbers."""
    return expression.replace("(", "").replace(")", "")


@pytest.mark.parametrize("name", QUERIES)
def test_an_index_of_the_seed_serves_its_query(conn: psycopg.Connection, name: str) -> None:
    plan = plan_of(conn, QUERIES[name])
    assert serves(conn, plan), plan


@pytest.mark.parametrize(
    ("index", "name"),
    [
        ("idx_daily_analytics_date", "daily_analytics.date"),
        ("idx_daily_analytics_campaign", "daily_analytics.campaign"),
        ("idx_tenant_users_user", "tenant_users.user"),
    ],
)
def test_another_index_that_merely_has_the_column_is_no_stand_in(
    conn: psycopg.Connection, index: LiteralString, name: str
) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute(f"DROP INDEX {index}")
        plan = plan_of(conn, QUERIES[name])
        assert not serves(conn, plan), plan


def test_a_query_without_an_index_is_seen(conn: psycopg.Connection) -> None:
    plan = plan_of(conn, "SELECT * FROM leads WHERE company = 'x'")
    assert not serves(conn, plan), plan
