"""The latest picture of all lists on an address or a domain, beside the row it is about, and the time of its next look.

Shape: `{list: {verdict, category, effect, tier, codes, listed_since, unknown_since, unknown_reason, checked_at}}`.
"""

# ruff: noqa: S608 - table names come from this file's own literals: the type checker refuses anything else
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from sql.blacklist_checks import CheckType, RunRow

_TABLE: Final[Mapping[CheckType, LiteralString]] = {"ip": "smtp_ip_addresses", "domain": "domains"}
_SUBJECT: Final[Mapping[CheckType, LiteralString]] = {"ip": "host(ip_address)", "domain": "domain_name"}


async def note_status(
    conn: AsyncConnection, check_type: CheckType, runs: Mapping[int, Sequence[RunRow]], next_at: Mapping[int, datetime]
) -> None:
    """Replace the picture of these subjects by their open runs, and set when each is looked at next."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            f"UPDATE {_TABLE[check_type]} SET provider_blacklist_status = %s, blacklist_next_check_at = %s"
            " WHERE id = %s",
            [
                (Jsonb({run.list_name: _shown(run) for run in of_subject}), next_at[subject_id], subject_id)
                for subject_id, of_subject in runs.items()
            ],
        )


async def stored_status(conn: AsyncConnection, check_type: CheckType, subject: str) -> Mapping[str, Any] | None:
    """The picture of the live row of this address or domain, of the newest row where several tenants had it."""
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(
        f"SELECT provider_blacklist_status AS picture FROM {_TABLE[check_type]} WHERE {_SUBJECT[check_type]} = %s"
        " ORDER BY id DESC LIMIT 1",
        [subject],
    )
    row = await cursor.fetchone()
    return row["picture"] if row else None


def _shown(run: RunRow) -> dict[str, Any]:
    names = (
        "verdict",
        "category",
        "effect",
        "tier",
        "codes",
        "reason",
        "unknown_since",
        "unknown_reason",
        "checked_at",
    )
    picture = {name: getattr(run, name) for name in names} | {
        "listed_since": run.since if run.verdict == "fail" else None
    }
    return {name: _plain(value) for name, value in picture.items() if value not in (None, [], ())}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
