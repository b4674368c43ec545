"""What stands in the way of a safe schema: logins that reach too far, rows nobody may guess about, open tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from sql.migration_files import Target
from sql.session import CONNECT_SECONDS, our_errors

OLDEST_SERVER: Final = 150000
LISTED: Final = 10  # rows a finding names


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where, and the one line that cures it."""

    subject: str
    problem: str
    fix: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A question whose every row is a fault; the row's first column names it."""

    tables: tuple[str, ...]
    statement: str
    problem: str
    fix: str


def _without_tenant(table: str) -> Probe:
    return Probe(
        (table,),
        f"SELECT id FROM {table} WHERE tenant_id IS NULL ORDER BY id",  # noqa: S608 - our own table names
        "rows without a tenant",
        "set their tenant_id, or delete them",
    )


def _twice_by_case(table: str, column: str) -> Probe:
    return Probe(
        (table,),
        f"SELECT lower({column}) FROM {table} GROUP BY tenant_id, lower({column}) HAVING count(*) > 1",  # noqa: S608 - our own table names
        "the same name in two spellings of one tenant",
        "keep one of each pair",
    )


def _unknown_words(table: str, column: str, *words: str) -> Probe:
    named = ", ".join(f"'{word}'" for word in words)
    return Probe(
        (table,),
        f"SELECT coalesce({column}, 'none at all') || ' x ' || count(*) FROM {table}"  # noqa: S608 - our own names
        f" WHERE {column} IS NULL OR {column} NOT IN ({named}) GROUP BY {column} ORDER BY 1",
        f"words in {column} that mean nothing to us",
        f"give these rows one of {', '.join(words)}",
    )


TENANT_TABLES: Final = (
    "users",
    "tenant_users",
    "staff_members",
    "staff_roles",
    "subscriptions",
    "payments",
    "vps_instances",
    "smtp_ip_addresses",
    "domains",
    "email_accounts",
    "templates",
    "campaigns",
    "leads",
    "emails",
)
"""Core tables of the seed whose tenant_id could be empty."""

WORDS: Final[dict[Target, tuple[tuple[str, ...], ...]]] = {
    "core": (
        ("vps_instances", "status", "requested", "provisioning", "active", "maintenance", "suspended", "failed",
         "scheduled_decommission", "decommissioned"),
        ("smtp_ip_addresses", "status", "available", "assigned", "warming", "warmed", "degraded", "burned",
         "quarantined", "released", "active"),
        ("domains", "verification_status", "pending", "partially_verified", "verified", "failed", "error", "deleted"),
        ("email_accounts", "status", "pending", "active", "issue", "paused", "suspended", "deleted"),
        ("email_accounts", "warmup_status", "none", "active", "paused", "completed", "failed"),
        ("payments", "status", "pending", "succeeded", "failed", "refunded", "disputed"),
        ("subscriptions", "status", "trialing", "active", "past_due", "suspended", "cancelled", "expired"),
        ("users", "role", "owner", "admin", "employee"),
        ("tenant_users", "permission_level", "basic", "manager", "admin", "owner"),
        ("campaigns", "status", "draft", "scheduled", "running", "paused", "completed", "cancelled"),
        ("emails", "status", "queued", "sending", "sent", "deferred", "bounced", "failed", "suppressed", "cancelled"),
    ),
    "analytics": (
        ("jobs", "status", "queued", "running", "completed", "failed", "cancelled", "migrated_to_redis"),
        ("transactional_emails", "status", "queued", "sending", "sent", "failed"),
        ("notifications", "channel", "in_app", "email", "webhook"),
        ("system_notifications", "severity", "info", "low", "medium", "high", "critical"),
    ),
}  # fmt: skip
"""Table, column, and the words that the CHECKs take, with those that a migration rewrites on its way."""

PROBES: Final[dict[Target, tuple[Probe, ...]]] = {
    "core": (
        *(_without_tenant(table) for table in TENANT_TABLES),
        _twice_by_case("domains", "domain_name"),
        _twice_by_case("email_accounts", "email_address"),
        _twice_by_case("leads", "email"),
        _twice_by_case("staff_members", "email"),
        *(_unknown_words(*words) for words in WORDS["core"]),
        Probe(
            ("email_accounts",),
            "SELECT lower(email_address) FROM email_accounts WHERE status <> 'deleted'"
            " GROUP BY lower(email_address) HAVING count(DISTINCT tenant_id) > 1",
            "mailboxes that two tenants hold",
            "leave each with one of them",
        ),
        Probe(
            ("vps_instances",),
            "SELECT hostwind_id FROM vps_instances WHERE hostwind_id IS NOT NULL"
            " GROUP BY hostwind_id HAVING count(*) > 1",
            "servers of the provider that two rows name",
            "keep one row of each",
        ),
        Probe(
            ("domains",),
            "SELECT tenant_id FROM domains WHERE is_primary GROUP BY tenant_id HAVING count(*) > 1",
            "tenants with two primary domains",
            "leave one of them primary",
        ),
        Probe(
            ("templates",),
            "SELECT template_name FROM templates GROUP BY tenant_id, template_name HAVING count(*) > 1",
            "template names that a tenant has twice",
            "give each another name",
        ),
        Probe(
            ("emails",),
            "SELECT campaign_id || '/' || lead_id FROM emails GROUP BY campaign_id, lead_id HAVING count(*) > 1"
            " AND campaign_id IS NOT NULL AND lead_id IS NOT NULL",
            "leads with two messages of one campaign",
            "keep one of each pair",
        ),
        Probe(
            ("campaigns", "templates"),
            "SELECT c.id FROM campaigns c JOIN templates t ON t.id = c.template_id WHERE t.tenant_id <> c.tenant_id",
            "campaigns that use another tenant's template",
            "give them a template of their own tenant",
        ),
        Probe(
            ("staff_role_assignments", "staff_members", "staff_roles"),
            "SELECT a.id FROM staff_role_assignments a JOIN staff_members m ON m.id = a.staff_member_id"
            " JOIN staff_roles r ON r.id = a.role_id WHERE r.tenant_id <> m.tenant_id",
            "staff who hold a role of another tenant",
            "delete these assignments",
        ),
        Probe(
            ("smtp_ip_addresses",),
            "SELECT host(ip_address) FROM smtp_ip_addresses WHERE status <> 'released'"
            " GROUP BY host(ip_address) HAVING count(*) > 1",
            "addresses that two live rows hold",
            "release all but one",
        ),
        Probe(
            ("domains",),
            "SELECT lower(domain_name) FROM domains WHERE verification_status = 'verified'"
            " GROUP BY lower(domain_name) HAVING count(*) > 1",
            "domains that two tenants hold as verified",
            "leave the word with one of them",
        ),
    ),
    "analytics": (
        *(_unknown_words(*words) for words in WORDS["analytics"]),
        Probe(
            ("daily_analytics",),
            "SELECT min(date) FROM daily_analytics GROUP BY user_id, tenant_id, campaign_id, mailbox_id, date"
            " HAVING count(*) > 1",
            "days that stand twice",
            "delete all but the newest row of each",
        ),
    ),
}

OPEN_TABLES: Final = """
    SELECT c.relname FROM pg_class c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
       AND EXISTS (SELECT FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
       AND NOT (c.relrowsecurity AND c.relforcerowsecurity
                AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid))
       AND to_regproc('isolate_tenant_table') IS NOT NULL
     ORDER BY 1
"""
LOGIN: Final = """
    SELECT current_setting('server_version_num')::int, session_user::text, r.rolsuper, r.rolbypassrls,
           (SELECT array_agg(x) FROM unnest(ARRAY['penguin_app', 'penguin_orchestrator']) x
             WHERE to_regrole(x) IS NOT NULL AND pg_has_role(session_user, to_regrole(x), 'USAGE')),
           (SELECT array_agg(x) FROM unnest(ARRAY['penguin_app', 'penguin_orchestrator', 'penguin_owner']) x
             WHERE to_regrole(x) IS NOT NULL AND NOT pg_has_role(session_user, to_regrole(x), 'MEMBER'))
      FROM pg_roles r WHERE r.rolname = session_user
"""


async def doctor(dsn: str, target: Target) -> tuple[Finding, ...]:
    """Everything that would stop a migration or undo its isolation, with its cure. Changes nothing."""
    with our_errors():
        async with await AsyncConnection.connect(
            dsn, autocommit=True, application_name="penguin:doctor", connect_timeout=CONNECT_SECONDS
        ) as conn:
            found = await _login(conn)
            for probe in PROBES[target]:
                found += await _ask(conn, probe)
            return (*found, *await _open_tables(conn))


async def _login(conn: AsyncConnection) -> list[Finding]:
    row = await (await conn.execute(LOGIN)).fetchone()
    if row is None:
        return []
    version, login, superuser, bypasses, inherits, lacks = row
    found: list[Finding] = []
    if version < OLDEST_SERVER:
        found.append(Finding("server", f"PostgreSQL {version // 10000} is too old", "use PostgreSQL 15 or newer"))
    if superuser:  # the embedded server's own login: it takes the roles by the same statement, and is nobody's tenant
        return found
    if bypasses:
        found.append(Finding(f"login {login}", "row security does not bind it", f"ALTER ROLE {login} NOBYPASSRLS"))
    found += [
        Finding(
            f"login {login}", f"it inherits {role} outside any transaction of ours", f"ALTER ROLE {login} NOINHERIT"
        )
        for role in inherits or ()
    ]
    found += [
        Finding(f"login {login}", f"it may not take the role {role}", f"GRANT {role} TO {login}")
        for role in lacks or ()
    ]
    return found


async def _ask(conn: AsyncConnection, probe: Probe) -> list[Finding]:
    owners = await conn.execute(
        """
        SELECT relowner::regrole::text FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s)
        """,
        [list(probe.tables)],
    )
    named = [str(row[0]) for row in await owners.fetchall()]
    if len(named) < len(probe.tables):
        return []
    async with conn.transaction():
        if set(named) == {"penguin_owner"}:  # as ourselves we would see nothing, and report nothing
            if not await _may_be_owner(conn):
                return []  # _login has said so
            await conn.execute("SET LOCAL ROLE penguin_owner")
        cursor = conn.cursor(row_factory=tuple_row)
        await cursor.execute(probe.statement.encode())
        rows = await cursor.fetchall()
    if not rows:
        return []
    return [Finding(probe.tables[0], f"{len(rows)} {probe.problem}: {_names(rows)}", probe.fix)]


async def _may_be_owner(conn: AsyncConnection) -> bool:
    row = await (await conn.execute("SELECT pg_has_role('penguin_owner', 'MEMBER')")).fetchone()
    return row is not None and bool(row[0])


async def _open_tables(conn: AsyncConnection) -> list[Finding]:
    rows = await (await conn.execute(OPEN_TABLES)).fetchall()
    return [
        Finding(str(row[0]), "it has a tenant_id and no row security", f"SELECT isolate_tenant_table('{row[0]}')")
        for row in rows
    ]


def _names(rows: Sequence[tuple[object, ...]]) -> str:
    named = ", ".join(str(row[0]) for row in rows[:LISTED])
    return named if len(rows) <= LISTED else f"{named} …"
