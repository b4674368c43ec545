"""History of listings: one row per run of equal answers of one list on one subject, and whose turn it is.

A claim sets the next look a few minutes ahead: a look whose process dies is due again then, and one that comes back
late finds another time in the row and writes nothing.
"""

# ruff: noqa: S608 - table names come from this file's own literals: the type checker refuses anything else
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

CheckType = Literal["ip", "domain"]
LOOK_MINUTES: Final = 10
WINDOW: Final = 20_000  # due subjects among which turns are dealt


@dataclass(frozen=True, slots=True)
class Due:
    """One subject to look at. `hosts` are names it introduces itself with; `lease` is what the look must still hold."""

    id: int
    tenant_id: int
    tenant_uuid: UUID
    subject: str
    hosts: list[str]
    is_sending: bool
    lease: datetime


@dataclass(frozen=True, slots=True)
class RunRow:
    """One open run, as it is stored; `id` None: not stored yet. `category`, `effect`, `tier` say what a listing is."""

    id: int | None
    subject_id: int
    list_name: str
    verdict: str
    category: str | None
    effect: str | None
    tier: int | None
    since: datetime
    codes: Sequence[str]
    reason: str | None
    contrary: str | None
    contrary_since: datetime | None
    unknown_since: datetime | None
    unknown_reason: str | None
    checked_at: datetime
    next_check_at: datetime
    announced: str = ""


@dataclass(frozen=True, slots=True)
class Untold:
    """A listing that began or ended, and that nobody was told of."""

    id: int
    tenant_id: int
    tenant_uuid: UUID
    check_type: str
    subject_id: int
    subject: str
    list_name: str
    category: str
    effect: str
    tier: int
    codes: list[str]
    reason: str | None
    listed_since: datetime
    ended_at: datetime | None
    is_listed_still: bool  # the run ended, and another listing on the same list follows it


_COLUMN: Final[Mapping[CheckType, LiteralString]] = {"ip": "smtp_ip_address_id", "domain": "domain_id"}
_TABLE: Final[Mapping[CheckType, LiteralString]] = {"ip": "smtp_ip_addresses", "domain": "domains"}
_LIVE: Final[Mapping[CheckType, LiteralString]] = {
    "ip": "a.status <> 'released'",
    "domain": "a.verification_status <> 'deleted'",
}
_SUBJECT: Final[Mapping[CheckType, LiteralString]] = {"ip": "host(a.ip_address)", "domain": "a.domain_name"}
_ASSIGNED: Final[Mapping[CheckType, LiteralString]] = {
    "ip": "d.smtp_ip_address_id = a.id AND d.tenant_id = a.tenant_id AND d.status <> 'expired'",
    "domain": "d.domain_id = a.id AND d.tenant_id = a.tenant_id AND d.status <> 'expired'",
}
_HOSTS: Final[Mapping[CheckType, LiteralString]] = {
    "ip": "'{}'::text[]",
    "domain": """ARRAY(SELECT DISTINCT i.rdns_hostname::text FROM domain_ip_assignments d
                   JOIN smtp_ip_addresses i ON i.tenant_id = d.tenant_id AND i.id = d.smtp_ip_address_id
                  WHERE d.domain_id = a.id AND d.tenant_id = a.tenant_id AND d.status <> 'expired'
                    AND i.rdns_hostname IS NOT NULL)""",
}


async def claim_due(conn: AsyncConnection, check_type: CheckType, *, limit: int) -> list[Due]:
    """Take subjects that are due and that nobody else is looking at: one of each tenant, then a second of each."""
    cursor = conn.cursor(row_factory=class_row(Due))
    await cursor.execute(
        f"""
        WITH due AS MATERIALIZED (
          SELECT a.id, a.tenant_id, a.blacklist_next_check_at AS at FROM {_TABLE[check_type]} a
           WHERE {_LIVE[check_type]} AND a.blacklist_next_check_at <= now()
           ORDER BY a.blacklist_next_check_at LIMIT %(window)s),
        turn AS (SELECT id, at, row_number() OVER (PARTITION BY tenant_id ORDER BY at, id) AS place FROM due),
        taken AS (
          SELECT a.id FROM turn JOIN {_TABLE[check_type]} a ON a.id = turn.id
           WHERE a.blacklist_next_check_at <= now() ORDER BY turn.place, turn.at LIMIT %(limit)s
             FOR UPDATE OF a SKIP LOCKED)
        UPDATE {_TABLE[check_type]} a SET blacklist_next_check_at = now() + %(minutes)s * interval '1 minute'
          FROM taken, tenants t WHERE a.id = taken.id AND t.id = a.tenant_id
        RETURNING a.id, a.tenant_id, t.tenant_id AS tenant_uuid, {_SUBJECT[check_type]} AS subject,
                  {_HOSTS[check_type]} AS hosts, a.blacklist_next_check_at AS lease,
                  EXISTS (SELECT FROM domain_ip_assignments d WHERE {_ASSIGNED[check_type]}) AS is_sending
        """,
        {"window": WINDOW, "limit": limit, "minutes": LOOK_MINUTES},
    )
    return await cursor.fetchall()


async def any_due(conn: AsyncConnection, check_type: CheckType) -> bool:
    """Whether anything is due: one look into the index."""
    cursor = await conn.execute(
        f"SELECT EXISTS (SELECT FROM {_TABLE[check_type]} a WHERE {_LIVE[check_type]}"
        " AND a.blacklist_next_check_at <= now())"
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def make_due(conn: AsyncConnection, check_type: CheckType, subject: str) -> int:
    """Let a subject be looked at in the next sweep, all its lists at once; how many live rows that is."""
    cursor = await conn.execute(
        f"UPDATE {_TABLE[check_type]} a SET blacklist_next_check_at = now() WHERE {_LIVE[check_type]}"
        f" AND {_SUBJECT[check_type]} = %s RETURNING a.id",
        [subject],
    )
    ids = [row[0] for row in await cursor.fetchall()]
    await conn.execute(
        f"UPDATE blacklist_checks SET next_check_at = now() WHERE ended_at IS NULL AND {_COLUMN[check_type]} = ANY(%s)",
        [ids],
    )
    return len(ids)


async def open_runs(conn: AsyncConnection, check_type: CheckType, ids: Sequence[int]) -> list[RunRow]:
    """The open runs of these subjects."""
    cursor = conn.cursor(row_factory=class_row(RunRow))
    await cursor.execute(
        f"""
        SELECT id, {_COLUMN[check_type]} AS subject_id, blacklist_name AS list_name, verdict,
               blacklist_category AS category, effect, tier, coalesce(listed_since, first_checked_at) AS since,
               return_codes AS codes, listing_reason AS reason, contrary, contrary_since, unknown_since, unknown_reason,
               checked_at, next_check_at, announced
          FROM blacklist_checks WHERE ended_at IS NULL AND {_COLUMN[check_type]} = ANY(%s)
        """,
        [list(ids)],
    )
    return await cursor.fetchall()


async def still_ours(conn: AsyncConnection, check_type: CheckType, due: Sequence[Due]) -> set[int]:
    """Those whose look is still this one, locked until the transaction ends; the others' results are dropped."""
    cursor = await conn.execute(
        f"""
        SELECT a.id FROM {_TABLE[check_type]} a
          JOIN unnest(%s::bigint[], %s::timestamptz[]) AS mine (id, lease) ON mine.id = a.id
         WHERE {_LIVE[check_type]} AND a.blacklist_next_check_at = mine.lease ORDER BY a.id FOR UPDATE OF a
        """,
        [[one.id for one in due], [one.lease for one in due]],
    )
    return {row[0] for row in await cursor.fetchall()}


async def end_runs(conn: AsyncConnection, ids: Sequence[int], at: datetime, *, delisted: bool) -> None:
    """The runs are over. `delisted`: because the lists said clean; else another listing follows, or nobody asks."""
    await conn.execute(
        """
        UPDATE blacklist_checks SET ended_at = %(at)s, checked_at = %(at)s, contrary = NULL, contrary_since = NULL,
               delisted_at = CASE WHEN %(delisted)s AND verdict = 'fail' THEN %(at)s ELSE delisted_at END
         WHERE id = ANY(%(ids)s) AND ended_at IS NULL
        """,
        {"at": at, "ids": list(ids), "delisted": delisted},
    )


async def begin_runs(
    conn: AsyncConnection, check_type: CheckType, subjects: Mapping[int, Due], runs: Sequence[RunRow]
) -> None:
    """Open the runs; the ones before them must have ended."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            f"""
            INSERT INTO blacklist_checks (tenant_id, check_type, {_COLUMN[check_type]}, check_value, blacklist_name,
                   blacklist_category, verdict, effect, tier, return_codes, listing_reason, listed_since, unknown_since,
                   unknown_reason, contrary, contrary_since, first_checked_at, checked_at, next_check_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (
                    subjects[run.subject_id].tenant_id, check_type, run.subject_id, subjects[run.subject_id].subject,
                    run.list_name, run.category, run.verdict, run.effect, run.tier, list(run.codes), run.reason,
                    run.since if run.verdict == "fail" else None, run.unknown_since, run.unknown_reason, run.contrary,
                    run.contrary_since, run.since, run.checked_at, run.next_check_at,
                )
                for run in runs
            ],
        )  # fmt: skip


async def renew_runs(conn: AsyncConnection, runs: Sequence[RunRow]) -> None:
    """Write what a look brought to runs that go on, all in one statement."""
    await conn.execute(
        """
        UPDATE blacklist_checks b SET verdict = n.verdict, blacklist_category = n.category, effect = n.effect,
               tier = n.tier, listed_since = CASE WHEN n.verdict = 'fail' THEN n.since END, return_codes = n.codes,
               listing_reason = n.reason, unknown_since = n.unknown_since, unknown_reason = n.unknown_reason,
               contrary = n.contrary, contrary_since = n.contrary_since, checked_at = n.checked_at,
               next_check_at = n.next_check_at
          FROM jsonb_to_recordset(%s) AS n (id bigint, verdict text, category text, effect text, tier int,
               since timestamptz, codes text[], reason text, unknown_since timestamptz, unknown_reason text,
               contrary text, contrary_since timestamptz, checked_at timestamptz, next_check_at timestamptz)
         WHERE b.id = n.id AND b.ended_at IS NULL
        """,
        [Jsonb([_as_json(run) for run in runs])],
    )


def _as_json(run: RunRow) -> dict[str, Any]:
    names = (
        *("id", "verdict", "category", "effect", "tier", "since", "codes", "reason", "unknown_since", "unknown_reason"),
        *("contrary", "contrary_since", "checked_at", "next_check_at"),
    )
    values = ((name, getattr(run, name)) for name in names)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values}


async def untold(conn: AsyncConnection, limit: int = 500) -> list[Untold]:
    """Listings that began or ended since people were last told."""
    cursor = conn.cursor(row_factory=class_row(Untold))
    await cursor.execute(
        """
        SELECT b.id, b.tenant_id, t.tenant_id AS tenant_uuid, b.check_type,
               coalesce(b.smtp_ip_address_id, b.domain_id) AS subject_id, b.check_value AS subject,
               b.blacklist_name AS list_name, b.blacklist_category AS category, b.effect, b.tier,
               b.return_codes AS codes, b.listing_reason AS reason, b.listed_since, b.ended_at,
               EXISTS (SELECT FROM blacklist_checks n WHERE n.ended_at IS NULL AND n.verdict = 'fail'
                          AND n.blacklist_name = b.blacklist_name
                          AND n.smtp_ip_address_id IS NOT DISTINCT FROM b.smtp_ip_address_id
                          AND n.domain_id IS NOT DISTINCT FROM b.domain_id) AS is_listed_still
          FROM blacklist_checks b JOIN tenants t ON t.id = b.tenant_id
         WHERE b.verdict = 'fail' AND ((b.ended_at IS NULL AND b.announced = '')
                                    OR (b.ended_at IS NOT NULL AND b.announced = 'listed'))
         ORDER BY b.ended_at NULLS LAST, b.id LIMIT %s
        """,
        [limit],
    )
    return await cursor.fetchall()


async def mark_told(conn: AsyncConnection, run: Untold) -> None:
    """People were told of this beginning or end."""
    await conn.execute(
        "UPDATE blacklist_checks SET announced = %s WHERE id = %s", ["ended" if run.ended_at else "listed", run.id]
    )
