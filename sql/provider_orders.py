"""Orders of what costs money or cannot be undone: one row each, found again by its token.

An order is called at most once per arming. An arming is the first time, or an operator's word that nothing was created.
Every move names the states it may come from, so two processes cannot both make it.
"""

# ruff: noqa: S608 - every statement is a LiteralString: the type checker refuses anything else
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sql.session import AlreadyExists

Kind = Literal["server", "address", "destroy"]
Decision = Literal["adopt", "not_created", "abandon"]

LOOK_FOR: Final = "7 days"  # a late server is paid for and must not be lost


@dataclass(frozen=True, slots=True)
class Order:
    """One order; `spec` and `evidence` hold no secrets."""

    id: int
    tenant_id: int
    run_id: UUID | None
    vps_instance_id: int
    kind: str
    token: str
    spec: dict[str, Any]
    expected_amount: Decimal
    currency: str
    state: str
    arming: int
    claimed_by: str | None
    claimed_at: datetime | None
    called_at: datetime | None
    external_ref: str | None
    evidence: dict[str, Any]
    reason: str | None
    next_look_at: datetime | None
    look_until: datetime | None
    decided_by: str | None
    decision: str | None
    decided_at: datetime | None
    created_at: datetime
    updated_at: datetime


ORDER: Final = """
    o.id, o.tenant_id, o.run_id, o.vps_instance_id, o.kind, o.token, o.spec, o.expected_amount, o.currency, o.state,
    o.arming, o.claimed_by, o.claimed_at, o.called_at, o.external_ref, o.evidence, o.reason, o.next_look_at,
    o.look_until, o.decided_by, o.decision, o.decided_at, o.created_at, o.updated_at
"""


async def note_intent(
    conn: AsyncConnection,
    *,
    tenant_id: int,
    run_id: UUID | None,
    vps_instance_id: int,
    kind: Kind,
    token: str,
    spec: Mapping[str, Any],
    expected_amount: Decimal,
) -> Order:
    """The order of this token: made on the first try, the same row on every later one. Commit before calling.

    What was first ordered stays in `spec`, until a person says that nothing was made of it. Raises AlreadyExists when
    the token belongs to another tenant or server.
    """
    order = await _one(
        conn,
        f"""
        INSERT INTO provider_orders AS o (tenant_id, run_id, vps_instance_id, kind, token, spec, expected_amount)
        VALUES (%(tenant_id)s, %(run_id)s, %(vps)s, %(kind)s, %(token)s, %(spec)s, %(amount)s)
        ON CONFLICT (kind, token) DO UPDATE SET run_id = EXCLUDED.run_id, updated_at = clock_timestamp(),
               spec = CASE WHEN o.state = 'intended' AND o.arming > 1 THEN EXCLUDED.spec ELSE o.spec END
         WHERE o.tenant_id = EXCLUDED.tenant_id AND o.vps_instance_id = EXCLUDED.vps_instance_id
        RETURNING {ORDER}
        """,
        tenant_id=tenant_id,
        run_id=run_id,
        vps=vps_instance_id,
        kind=kind,
        token=token,
        spec=Jsonb(spec),
        amount=expected_amount,
    )
    if order is None:
        raise AlreadyExists("provider_orders_kind_token_key")
    return order


async def get_order(conn: AsyncConnection, kind: Kind, token: str) -> Order | None:
    """One order by its token."""
    return await _one(
        conn,
        f"SELECT {ORDER} FROM provider_orders o WHERE kind = %(kind)s AND token = %(token)s",
        kind=kind,
        token=token,
    )


async def list_orders(conn: AsyncConnection, *, states: Sequence[str]) -> list[Order]:
    """All orders in these states, oldest first."""
    return await _all(
        conn, f"SELECT {ORDER} FROM provider_orders o WHERE state = ANY(%(states)s) ORDER BY id", states=list(states)
    )


async def list_orders_of(conn: AsyncConnection, vps_instance_id: int, kind: Kind) -> list[Order]:
    """All orders of one kind for one server, settled ones too, oldest first."""
    return await _all(
        conn,
        f"SELECT {ORDER} FROM provider_orders o WHERE vps_instance_id = %(vps)s AND kind = %(kind)s ORDER BY id",
        vps=vps_instance_id,
        kind=kind,
    )


async def claim(conn: AsyncConnection, token: str, kind: Kind, claimed_by: str) -> Order | None:
    """Take the right to call, once: None when somebody has it or had it. Commit, then call while the claim is young.

    The call counts from here on, made or not: whoever dies between this and the answer leaves `calling` behind.
    """
    return await _one(
        conn,
        f"""
        UPDATE provider_orders o SET state = 'calling', claimed_by = %(claimed_by)s, claimed_at = clock_timestamp(),
               called_at = clock_timestamp(), updated_at = clock_timestamp()
         WHERE kind = %(kind)s AND token = %(token)s AND state = 'intended' RETURNING {ORDER}
        """,
        kind=kind,
        token=token,
        claimed_by=claimed_by,
    )


async def mark(
    conn: AsyncConnection,
    order_id: int,
    *,
    state: str,
    from_states: Sequence[str],
    evidence: Mapping[str, Any] | None = None,
    external_ref: str | None = None,
    reason: str | None = None,
    next_look_at: datetime | None = None,
    claimed_by: str | None = None,
) -> bool:
    """Move an order; False when it is in none of `from_states`, or `claimed_by` is given and has it no longer.

    `evidence` is merged into what is known. Back to `intended` (nothing was sent) takes the claim and the call back.
    An order that is not settled is looked for until seven days after the first doubt.
    """
    cursor = await conn.execute(
        f"""
        UPDATE provider_orders SET state = %(state)s::text, evidence = evidence || %(evidence)s,
               external_ref = coalesce(%(external_ref)s::text, external_ref),
               reason = coalesce(%(reason)s::text, reason),
               next_look_at = %(next_look_at)s, updated_at = clock_timestamp(),
               look_until = CASE WHEN %(state)s::text IN ('unconfirmed', 'needs_operator')
                                 THEN coalesce(look_until, clock_timestamp() + interval '{LOOK_FOR}')
                                 ELSE look_until END,
               claimed_by = CASE WHEN %(state)s::text <> 'intended' THEN claimed_by END,
               claimed_at = CASE WHEN %(state)s::text <> 'intended' THEN claimed_at END,
               called_at = CASE WHEN %(state)s::text <> 'intended' THEN called_at END
         WHERE id = %(id)s AND state = ANY(%(from_states)s)
           AND (%(claimed_by)s::text IS NULL OR claimed_by = %(claimed_by)s::text)
        """,
        {
            "id": order_id,
            "state": state,
            "from_states": list(from_states),
            "evidence": Jsonb(evidence or {}),
            "external_ref": external_ref,
            "reason": reason,
            "next_look_at": next_look_at,
            "claimed_by": claimed_by,
        },
    )
    return cursor.rowcount > 0


async def orders_called_since(
    conn: AsyncConnection, since: datetime, kind: Kind = "server", *, apart_from: int | None = None
) -> int:
    """How many orders may have been sent since then, over all tenants, without one: the daily limit counts them."""
    cursor = await conn.execute(
        "SELECT count(*) FROM provider_orders WHERE kind = %s AND called_at >= %s AND id IS DISTINCT FROM %s",
        [kind, since, apart_from],
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def due_looks(conn: AsyncConnection, limit: int) -> list[Order]:
    """Unsettled orders of servers to look for again; each is due again in an hour, until its seven days are over.

    Those that a run left in the middle of the call are among them once that run has ended.
    """
    return await _all(
        conn,
        f"""
        UPDATE provider_orders o SET next_look_at = clock_timestamp() + interval '1 hour'
         WHERE id IN (SELECT p.id FROM provider_orders p
                       WHERE p.kind = 'server' AND coalesce(p.next_look_at, p.updated_at) <= clock_timestamp()
                         AND (p.state IN ('unconfirmed', 'needs_operator', 'abandoned')
                              AND p.look_until > clock_timestamp()
                           OR p.state IN ('calling', 'accepted')
                              AND p.called_at > clock_timestamp() - interval '{LOOK_FOR}'
                              AND NOT EXISTS (SELECT FROM provisioning_runs r WHERE r.id = p.run_id
                                                 AND r.status IN ('pending', 'running', 'waiting')))
                       ORDER BY p.next_look_at NULLS FIRST LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
        RETURNING {ORDER}
        """,
        limit=limit,
    )


async def decide(
    conn: AsyncConnection, order_id: int, *, decision: Decision, actor: str, external_ref: str | None = None
) -> Order | None:
    """An operator's word on an order that nobody else can settle; None when the order is not open to one.

    adopt: it is `external_ref`, which the caller has seen to exist. not_created: armed again under the same token.
    abandon: given up, and still looked for; either of the others takes that back. Raises AlreadyExists when another
    order holds `external_ref`.
    """
    if decision == "adopt" and not external_ref:
        raise ValueError("to adopt, say which server or address it is")
    if decision == "adopt" and await _held(conn, order_id, str(external_ref)):
        raise AlreadyExists("provider_orders_external_ref")
    return await _one(
        conn,
        f"""
        UPDATE provider_orders o SET decision = %(decision)s::text, decided_by = %(actor)s,
               decided_at = clock_timestamp(),
               state = CASE %(decision)s::text WHEN 'adopt' THEN 'fulfilled' WHEN 'abandon' THEN 'abandoned'
                            ELSE 'intended' END,
               external_ref = CASE WHEN %(decision)s::text = 'adopt' THEN %(external_ref)s::text ELSE external_ref END,
               arming = arming + (%(decision)s::text = 'not_created')::int,
               claimed_by = CASE WHEN %(decision)s::text <> 'not_created' THEN claimed_by END,
               claimed_at = CASE WHEN %(decision)s::text <> 'not_created' THEN claimed_at END,
               next_look_at = CASE WHEN %(decision)s::text = 'abandon' THEN next_look_at END,
               updated_at = clock_timestamp()
         WHERE id = %(id)s AND (state IN ('needs_operator', 'rejected')
            OR state = 'abandoned' AND %(decision)s::text <> 'abandon') RETURNING {ORDER}
        """,
        id=order_id,
        decision=decision,
        actor=actor,
        external_ref=external_ref,
    )


async def recent_outcomes(conn: AsyncConnection, kind: Kind, limit: int, *, apart_from: int | None = None) -> list[str]:
    """States of the latest orders that were called, without one, newest first: two doubtful stop all creating."""
    cursor = await conn.execute(
        """
        SELECT state FROM provider_orders WHERE kind = %s AND called_at IS NOT NULL AND id IS DISTINCT FROM %s
         ORDER BY called_at DESC LIMIT %s
        """,
        [kind, apart_from, limit],
    )
    return [str(row[0]) for row in await cursor.fetchall()]


async def _held(conn: AsyncConnection, order_id: int, external_ref: str) -> bool:
    cursor = await conn.execute(
        """
        SELECT 1 FROM provider_orders o JOIN provider_orders mine ON mine.id = %(id)s AND mine.kind = o.kind
         WHERE o.id <> mine.id AND o.external_ref = %(external_ref)s::text
        UNION ALL
        SELECT 1 FROM vps_instances v JOIN provider_orders mine ON mine.id = %(id)s AND mine.kind = 'server'
         WHERE v.id <> mine.vps_instance_id AND v.hostwind_id = %(external_ref)s::text
        """,
        {"id": order_id, "external_ref": external_ref},
    )
    return await cursor.fetchone() is not None


async def _one(conn: AsyncConnection, statement: LiteralString, **values: Any) -> Order | None:
    cursor = conn.cursor(row_factory=class_row(Order))
    await cursor.execute(statement, values)
    return await cursor.fetchone()


async def _all(conn: AsyncConnection, statement: LiteralString, **values: Any) -> list[Order]:
    cursor = conn.cursor(row_factory=class_row(Order))
    await cursor.execute(statement, values)
    return await cursor.fetchall()
