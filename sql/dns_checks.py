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


@dataclass(frozen=True, slots=True)
class CheckOf:
    """A verdict with the domain it belongs to, for many at once."""

    tenant_id: int
    domain_id: int
    check: DnsCheck


async def add_checks(
    conn: AsyncConnection, *, tenant_id: int, domain_id: int, flow_run_id: UUID | None, checks: Sequence[DnsCheck]
) -> None:
    """Append the verdicts of one look at a domain."""
    await add_many(conn, [CheckOf(tenant_id, domain_id, check) for check in checks], flow_run_id)


async def add_many(conn: AsyncConnection, checks: Sequence[CheckOf], flow_run_id: UUID | None) -> None:
    """Append verdicts of many domains in one statement."""
    if not checks:
        return
    await conn.execute(
        """
        INSERT INTO dns_checks (tenant_id, domain_id, record_key, record_type, record_name, verdict, reason, expected,
                                observed, evidence, ttl, flow_run_id)
        SELECT c.tenant_id, c.domain_id, c.record_key, c.record_type, c.record_name, c.verdict, c.reason, c.expected,
               ARRAY(SELECT jsonb_array_elements_text(c.observed)), c.evidence, c.ttl, %(flow_run_id)s
          FROM jsonb_to_recordset(%(rows)s) AS c(tenant_id bigint, domain_id bigint, record_key text, record_type text,
               record_name text, verdict text, reason text, expected text, observed jsonb, evidence jsonb, ttl int)
        """,
        {"rows": Jsonb([_as_json(item) for item in checks]), "flow_run_id": flow_run_id},
    )


def _as_json(item: CheckOf) -> dict[str, Any]:
    check = item.check
    return {
        "tenant_id": item.tenant_id, "domain_id": item.domain_id, "record_key": check.record_key,
        "record_type": check.record_type, "record_name": check.record_name, "verdict": check.verdict,
        "reason": check.reason[:50], "expected": check.expected, "observed": list(check.observed),
        "evidence": dict(check.evidence), "ttl": check.ttl,
    }  # fmt: skip


async def latest(conn: AsyncConnection, domain_id: int, limit: int = 50) -> list[tuple[Any, ...]]:
    """The newest rows of a domain's history: time, key, verdict, reason, observed."""
    cursor = await conn.execute(
        """
        SELECT checked_at, record_key, verdict, reason, observed FROM dns_checks
         WHERE domain_id = %s ORDER BY checked_at DESC, id DESC LIMIT %s
        """,
        [domain_id, limit],
    )
    return await cursor.fetchall()
