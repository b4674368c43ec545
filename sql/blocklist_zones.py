"""Blocklists as an operator has them: where they answer, their codes, whether they are asked, and how they stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg import AsyncConnection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class ListRow:
    """One list. `points` maps a kind of subject to what must be listed and what must not.

    `codes` are rows of pattern, word, effect and tier.
    """

    name: str
    title: str
    zone: str
    public_zone: str
    key_name: str
    tier: int
    points: Mapping[str, Sequence[str]]
    codes: Sequence[tuple[str, str, str, int | None]]
    lookup_url: str
    condition: str
    source_url: str
    checked_on: date
    is_enabled: bool
    gates: bool
    changed_by: str
    daily_limit: int | None  # questions a UTC day that the list permits; None: it names no number
    asked_today: int  # counted only where there is a limit


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How one list stands for one kind of subject."""

    list_name: str
    kind: str
    trust: str
    reason: str
    tested_at: datetime | None
    tried_at: datetime
    passes: int
    passed_at: datetime | None


async def list_zones(conn: AsyncConnection, *, enabled_only: bool = True) -> list[ListRow]:
    """The lists with their code tables, those of the gravest tier first."""
    cursor = conn.cursor(row_factory=class_row(ListRow))
    await cursor.execute(
        """
        SELECT name, title, zone, public_zone, key_name, tier, points, lookup_url, condition, source_url, checked_on,
               is_enabled, gates, changed_by, daily_limit,
               CASE WHEN asked_on = (now() AT TIME ZONE 'UTC')::date THEN asked ELSE 0 END AS asked_today,
               coalesce((SELECT jsonb_agg(jsonb_build_array(pattern, word, effect, c.tier) ORDER BY pattern)
                           FROM blocklist_codes c WHERE c.list_name = z.name), '[]') AS codes
          FROM blocklist_zones z WHERE is_enabled OR NOT %s ORDER BY tier, name
        """,
        [enabled_only],
    )
    return await cursor.fetchall()


async def list_self_tests(conn: AsyncConnection) -> list[SelfTest]:
    """How all lists stand."""
    cursor = conn.cursor(row_factory=class_row(SelfTest))
    await cursor.execute(
        "SELECT list_name, kind, trust, reason, tested_at, tried_at, passes, passed_at FROM blocklist_self_tests"
        " ORDER BY list_name, kind"
    )
    return await cursor.fetchall()


async def take_allowance(conn: AsyncConnection, wanted: Mapping[str, int]) -> frozenset[str]:
    """Count questions as asked today; the lists among `wanted` whose limit leaves no room for theirs, uncounted."""
    cursor = await conn.execute(
        """
        WITH wanted AS MATERIALIZED (
            SELECT name, questions, CASE WHEN asked_on = today THEN asked ELSE 0 END + questions AS asked, today
              FROM unnest(%s::text[], %s::bigint[]) w (name, questions) JOIN blocklist_zones USING (name),
                   CAST(now() AT TIME ZONE 'UTC' AS date) today
             WHERE daily_limit IS NOT NULL ORDER BY name FOR UPDATE OF blocklist_zones),
        taken AS (
            UPDATE blocklist_zones z SET asked = w.asked, asked_on = w.today
              FROM wanted w WHERE z.name = w.name AND w.asked <= z.daily_limit RETURNING z.name)
        SELECT name FROM wanted EXCEPT SELECT name FROM taken
        """,
        [list(wanted), list(wanted.values())],
    )
    return frozenset(name for (name,) in await cursor.fetchall())


async def note_self_test(conn: AsyncConnection, test: SelfTest) -> None:
    """Write down how a list stands after its test; of two workers that tested it, the later test stays."""
    await conn.execute(
        """
        INSERT INTO blocklist_self_tests AS t (list_name, kind, trust, reason, tested_at, tried_at, passes, passed_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (list_name, kind) DO UPDATE
           SET trust = EXCLUDED.trust, reason = EXCLUDED.reason, tested_at = EXCLUDED.tested_at,
               tried_at = EXCLUDED.tried_at, passes = EXCLUDED.passes, passed_at = EXCLUDED.passed_at
         WHERE t.tried_at <= EXCLUDED.tried_at
        """,
        [
            test.list_name, test.kind, test.trust, test.reason[:50], test.tested_at, test.tried_at, test.passes,
            test.passed_at,
        ],
    )  # fmt: skip


async def set_enabled(conn: AsyncConnection, name: str, *, on: bool, actor: str) -> bool:
    """Ask a list, or stop asking it; False when there is none of that name. Switched on it must prove itself anew."""
    cursor = await conn.execute(
        "UPDATE blocklist_zones SET is_enabled = %s, changed_by = %s, updated_at = now() WHERE name = %s",
        [on, actor, name],
    )
    if on and cursor.rowcount:
        await conn.execute("DELETE FROM blocklist_self_tests WHERE list_name = %s AND trust <> 'dead'", [name])
    return cursor.rowcount > 0


async def set_gates(conn: AsyncConnection, name: str, *, on: bool, actor: str) -> bool:
    """Let acceptance wait for a list's answer, or not; False when there is none of that name."""
    cursor = await conn.execute(
        "UPDATE blocklist_zones SET gates = %s, changed_by = %s, updated_at = now() WHERE name = %s", [on, actor, name]
    )
    return cursor.rowcount > 0
