"""History of DNS verdicts, one row per record and check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb


@dataclass(frozen=True, slots=True)
class DnsCheck:
    """One verdict, as it is stored."""

    record_key: str
    record_type: str
    record_name: str
    verdict: str
    reason: str
    expected: str
    observed: Sequence[str]
    ttl: int | None
    evidence: Mapping[str, Any] = field(default_factory=dict[str, Any])


async def add_checks(
    conn: AsyncConnection, *, tenant_id: int, domain_id: int, flow_run_id: UUID | None, checks: Sequence[DnsCheck]
) -> None:
    """Append the verdicts of one look at a domain."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            """
            INSERT INTO dns_checks (tenant_id, domain_id, record_key, record_type, record_name, verdict, reason,
                                    expected, observed, evidence, ttl, flow_run_id)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (
                    tenant_id, domain_id, check.record_key, check.record_type, check.record_name, check.verdict,
                    check.reason[:50], check.expected, list(check.observed), Jsonb(dict(check.evidence)), check.ttl,
                    flow_run_id,
                )
                for check in checks
            ],
        )  # fmt: skip
