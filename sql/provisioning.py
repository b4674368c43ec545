"""Runs of the provisioning journeys, their steps, and every try of a step.

A step row is the intent: committed before the outside call, answered after it. One live run serves a (tenant, kind,
target); a second trigger joins it. Every answer names its flow run, so a process that was given up for dead and comes
back late changes nothing.
"""

# ruff: noqa: S608 - every statement is a LiteralString: the type checker refuses anything else
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sql.provisioning_steps import (
    Attempt,
    Outcome,
    Step,
    StepStatus,
    begin_attempt,
    close_crashed_attempts,
    end_attempt,
    finish_step,
    intend_step,
    list_attempts,
    list_steps,
)
from sql.session import HELD_LOCKS, Contended

__all__ = [
    "Attempt",
    "FinalStatus",
    "Outcome",
    "Run",
    "Step",
    "StepStatus",
    "WaitReason",
    "begin_attempt",
    "call_operator",
    "claim_due_runs",
    "close_crashed_attempts",
    "end_attempt",
    "expire_waits",
    "finish_run",
    "finish_step",
    "get_run",
    "intend_step",
    "list_attempts",
    "list_runs",
    "list_steps",
    "open_or_join_run",
    "open_runs",
    "orphaned_runs",
    "request_cancel",
    "start_run",
    "wait_run",
]

WaitReason = Literal["dns", "provider", "operator"]
FinalStatus = Literal["rejected", "succeeded", "failed", "cancelled"]

CLAIM_LASTS: Final = "2 minutes"  # a resume whose flow never comes up is due again after this
NEVER_STARTED_AFTER: Final = "5 minutes"  # a pending run whose trigger was lost on the way


@dataclass(frozen=True, slots=True)
class Run:
    """One provisioning run. Shown as `waiting_for_<wait_reason>` while it waits."""

    id: UUID
    tenant_id: int
    tenant_uuid: UUID
    kind: str
    target: str
    idempotency_key: str
    vps_instance_id: int | None
    status: str
    wait_reason: str | None
    last_wait_reason: str | None  # of the last wait since which no step was done
    wait_detail: str | None
    resume_at: datetime | None
    deadline_at: datetime | None
    starts: int
    idle_starts: int
    flow_run_id: UUID | None
    requested_by: str | None
    cancel_requested_at: datetime | None
    input: dict[str, Any]
    last_error_message: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


RUN: Final = """
    r.id, r.tenant_id, (SELECT t.tenant_id FROM tenants t WHERE t.id = r.tenant_id) AS tenant_uuid, r.kind, r.target,
    r.idempotency_key, r.vps_instance_id, r.status, r.wait_reason, r.last_wait_reason, r.wait_detail, r.resume_at,
    r.deadline_at, r.starts, r.idle_starts, r.flow_run_id, r.requested_by, r.cancel_requested_at, r.input,
    r.last_error_message, r.created_at, r.started_at, r.finished_at, r.updated_at
"""
LOCK_FREE: Final = f"hashtextextended('penguin-run:' || r.id::text, 0) NOT IN ({HELD_LOCKS})"
ORPHANED: Final = f"""
    (r.status = 'running' OR r.status = 'pending' AND r.updated_at < now() - interval '{NEVER_STARTED_AFTER}')
    AND {LOCK_FREE}
"""


async def open_or_join_run(
    conn: AsyncConnection,
    *,
    tenant_id: int,
    kind: str,
    target: str,
    idempotency_key: str,
    requested_by: str,
    input: Mapping[str, Any],  # noqa: A002 - the column's name
) -> Run:
    """The run of this request: the one that bears its key, else the live one of (tenant, kind, target), else a new one.

    A run that is joined keeps its own input: what was frozen at its start stays what it does.
    """
    for _ in range(3):  # the run we lost to may end between our insert and our look
        run = await _one_run(
            conn,
            f"""
            INSERT INTO provisioning_runs AS r (tenant_id, kind, target, idempotency_key, requested_by, input)
            VALUES (%(tenant_id)s, %(kind)s, %(target)s, %(key)s, %(requested_by)s, %(input)s)
            ON CONFLICT DO NOTHING RETURNING {RUN}
            """,
            tenant_id=tenant_id,
            kind=kind,
            target=target,
            key=idempotency_key,
            requested_by=requested_by,
            input=Jsonb(input),
        ) or await _one_run(
            conn,
            f"""
            SELECT {RUN} FROM provisioning_runs r
             WHERE tenant_id = %(tenant_id)s AND (idempotency_key = %(key)s
                OR kind = %(kind)s AND target = %(target)s AND status IN ('pending', 'running', 'waiting'))
             ORDER BY idempotency_key = %(key)s DESC LIMIT 1
            """,
            tenant_id=tenant_id,
            kind=kind,
            target=target,
            key=idempotency_key,
        )
        if run is not None:
            return run
    raise Contended(f"runs of tenant {tenant_id} come and go too fast")


async def get_run(conn: AsyncConnection, run_id: UUID) -> Run | None:
    """One run by its id."""
    return await _one_run(conn, f"SELECT {RUN} FROM provisioning_runs r WHERE id = %(run_id)s", run_id=run_id)


async def list_runs(conn: AsyncConnection, tenant_id: int | None = None, *, limit: int = 100) -> list[Run]:
    """Newest first, of one tenant or of all."""
    return await _runs(
        conn,
        f"""
        SELECT {RUN} FROM provisioning_runs r WHERE %(tenant_id)s::bigint IS NULL OR tenant_id = %(tenant_id)s
         ORDER BY created_at DESC, id LIMIT %(limit)s
        """,
        tenant_id=tenant_id,
        limit=limit,
    )


async def open_runs(conn: AsyncConnection) -> list[Run]:
    """Every live run, and every failed one that none of its kind and target followed; newest first, none left out."""
    return await _runs(
        conn,
        f"""
        SELECT {RUN} FROM provisioning_runs r
         WHERE r.status NOT IN ('succeeded', 'cancelled', 'rejected') AND (r.status <> 'failed' OR NOT EXISTS (
                 SELECT FROM provisioning_runs n WHERE n.tenant_id = r.tenant_id AND n.kind = r.kind
                    AND n.target = r.target AND n.created_at > r.created_at))
         ORDER BY r.created_at DESC, r.id
        """,
    )


async def start_run(conn: AsyncConnection, run_id: UUID, flow_run_id: UUID) -> Run | None:
    """Make this flow run the run's only writer. None when the run has ended for good; call it under the run's lock.

    A start is counted unless it resumes a wait (whose cause is gone) or was counted when the sweep claimed it. A failed
    run may start again; AlreadyExists when another live run has taken its place.
    """
    return await _one_run(
        conn,
        f"""
        UPDATE provisioning_runs r SET status = 'running', flow_run_id = %(flow_run_id)s,
               starts = starts + counted, idle_starts = idle_starts + counted,
               wait_reason = NULL, wait_detail = NULL, resume_at = NULL, finished_at = NULL,
               started_at = coalesce(started_at, clock_timestamp()), updated_at = clock_timestamp()
          FROM (SELECT id AS counted_id,
                       (status <> 'waiting' AND NOT (status = 'pending' AND starts > 0))::int AS counted
                  FROM provisioning_runs WHERE id = %(run_id)s FOR UPDATE) c
         WHERE r.id = c.counted_id AND status IN ('pending', 'running', 'waiting', 'failed') RETURNING {RUN}
        """,
        run_id=run_id,
        flow_run_id=flow_run_id,
    )


async def wait_run(
    conn: AsyncConnection,
    run_id: UUID,
    flow_run_id: UUID | None,
    *,
    reason: WaitReason,
    detail: str,
    resume_at: datetime | None,
    deadline_at: datetime | None,
) -> bool:
    """End the process, keep the run: it is looked at again at `resume_at`. False when another flow run has it now.

    A wait for DNS or the provider needs both times. Waiting again for the same reason keeps the earlier deadline until
    a step is done: looking often does not put off the end.
    """
    return await _changed(
        conn,
        """
        UPDATE provisioning_runs SET status = 'waiting', wait_reason = %(reason)s::text, wait_detail = %(detail)s,
               resume_at = %(resume_at)s, last_wait_reason = %(reason)s::text, updated_at = clock_timestamp(),
               deadline_at = CASE WHEN last_wait_reason = %(reason)s::text AND %(deadline_at)s::timestamptz IS NOT NULL
                                  THEN least(deadline_at, %(deadline_at)s::timestamptz)
                                  ELSE %(deadline_at)s::timestamptz END
         WHERE id = %(run_id)s AND flow_run_id IS NOT DISTINCT FROM %(flow_run_id)s AND status IN ('running', 'waiting')
        """,
        run_id=run_id,
        flow_run_id=flow_run_id,
        reason=reason,
        detail=detail,
        resume_at=resume_at,
        deadline_at=deadline_at,
    )


async def finish_run(
    conn: AsyncConnection, run_id: UUID, flow_run_id: UUID | None, status: FinalStatus, message: str | None = None
) -> bool:
    """End a run for good. False when another flow run has it now; saying the same end twice is no failure."""
    return await _changed(
        conn,
        """
        UPDATE provisioning_runs SET status = %(status)s::text,
               last_error_message = CASE WHEN %(status)s::text <> 'succeeded' THEN left(%(message)s::text, 2000) END,
               wait_reason = NULL, wait_detail = NULL, resume_at = NULL, deadline_at = NULL,
               finished_at = clock_timestamp(), updated_at = clock_timestamp()
         WHERE id = %(run_id)s AND flow_run_id IS NOT DISTINCT FROM %(flow_run_id)s
           AND status IN ('running', %(status)s::text)
        """,
        run_id=run_id,
        flow_run_id=flow_run_id,
        status=status,
        message=message,
    )


async def claim_due_runs(conn: AsyncConnection, limit: int) -> list[Run]:
    """Waits that are due and that no other sweep has; one that is not started in two minutes is due again."""
    return await _runs(
        conn,
        f"""
        UPDATE provisioning_runs r SET resume_at = now() + interval '{CLAIM_LASTS}'
         WHERE id IN (SELECT id FROM provisioning_runs WHERE status = 'waiting' AND resume_at <= now()
                       ORDER BY resume_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) RETURNING {RUN}
        """,
        limit=limit,
    )


async def claim_dns_waits(conn: AsyncConnection, tenant_ids: Sequence[int]) -> list[Run]:
    """Runs of these tenants that wait for DNS: what they wait for has come. Claimed like due ones."""
    return await _runs(
        conn,
        f"""
        UPDATE provisioning_runs r SET resume_at = now() + interval '{CLAIM_LASTS}'
         WHERE id IN (SELECT id FROM provisioning_runs WHERE status = 'waiting' AND wait_reason = 'dns'
                         AND tenant_id = ANY(%(tenant_ids)s) FOR UPDATE SKIP LOCKED) RETURNING {RUN}
        """,
        tenant_ids=list(tenant_ids),
    )


async def expire_waits(conn: AsyncConnection) -> list[Run]:
    """End the waits past their deadline: for DNS the run fails, for the provider it calls an operator.

    A tenant who never published has had its time, and nobody at our side can do it for him. What never came is said,
    and a line of the trail tells it to the tenant.
    """
    return await _runs(
        conn,
        f"""
        WITH w AS (
          SELECT id AS expired_id, tenant_id AS tenant, wait_reason AS reason, coalesce(wait_detail, '') AS detail,
                 'waited for ' || wait_reason || ' until the deadline: ' || coalesce(wait_detail, '') AS sentence
            FROM provisioning_runs
           WHERE status = 'waiting' AND wait_reason <> 'operator' AND deadline_at <= now() FOR UPDATE),
        told AS (
          INSERT INTO infrastructure_events
            (tenant_id, subject_type, subject_id, event, from_status, to_status, actor, details)
          SELECT tenant, 'run', expired_id, 'dns_deadline', 'waiting', 'failed', 'resume_waiting',
                 jsonb_build_object('missing', detail)
            FROM w WHERE reason = 'dns')
        UPDATE provisioning_runs r
           SET status = CASE w.reason WHEN 'dns' THEN 'failed' ELSE r.status END,
               wait_reason = CASE w.reason WHEN 'dns' THEN NULL ELSE 'operator' END,
               wait_detail = CASE w.reason WHEN 'dns' THEN NULL ELSE w.sentence END,
               last_error_message = CASE w.reason
                   WHEN 'dns' THEN left(w.sentence, 1800) || '; once it is: python -m flows retry ' || r.id
                   ELSE r.last_error_message END,
               finished_at = CASE w.reason WHEN 'dns' THEN clock_timestamp() ELSE r.finished_at END,
               resume_at = NULL, updated_at = clock_timestamp()
          FROM w WHERE r.id = w.expired_id RETURNING {RUN}
        """,
    )


async def orphaned_runs(conn: AsyncConnection, limit: int = 100) -> list[Run]:
    """Take the runs that no living process has, for a new start: running with a free lock, or pending since long.

    The start is counted here, in the transaction that takes them: a crash before the flow's first line counts too.
    """
    return await _runs(
        conn,
        f"""
        UPDATE provisioning_runs r SET status = 'pending', starts = starts + 1, idle_starts = idle_starts + 1,
               updated_at = clock_timestamp()
         WHERE id IN (SELECT r.id FROM provisioning_runs r WHERE {ORPHANED}
                       ORDER BY r.updated_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) RETURNING {RUN}
        """,
        limit=limit,
    )


async def call_operator(conn: AsyncConnection, run_id: UUID, detail: str) -> bool:
    """A run that starts and dies again and again waits for an operator. False when a process holds its lock."""
    return await _changed(
        conn,
        f"""
        UPDATE provisioning_runs r SET status = 'waiting', wait_reason = 'operator', wait_detail = %(detail)s,
               resume_at = NULL, deadline_at = NULL, updated_at = clock_timestamp()
         WHERE id = %(run_id)s AND status IN ('pending', 'running', 'waiting') AND {LOCK_FREE}
        """,
        run_id=run_id,
        detail=detail,
    )


async def request_cancel(conn: AsyncConnection, run_id: UUID) -> Literal["ended", "asked"] | None:
    """Ask a live run to stop at its next step; one that only a person would take up again has ended with that."""
    ended = await _changed(
        conn,
        """
        UPDATE provisioning_runs SET status = 'cancelled', cancel_requested_at = coalesce(cancel_requested_at, now()),
               last_error_message = 'stopped while it waited, as an operator asked; what was made stays',
               wait_reason = NULL, wait_detail = NULL, deadline_at = NULL,
               finished_at = clock_timestamp(), updated_at = clock_timestamp()
         WHERE id = %(run_id)s AND status = 'waiting' AND resume_at IS NULL
        """,
        run_id=run_id,
    )
    if ended:
        return "ended"
    asked = await _changed(
        conn,
        """
        UPDATE provisioning_runs SET cancel_requested_at = coalesce(cancel_requested_at, now())
         WHERE id = %(run_id)s AND status IN ('pending', 'running', 'waiting')
        """,
        run_id=run_id,
    )
    return "asked" if asked else None


async def _one_run(conn: AsyncConnection, statement: LiteralString, **values: Any) -> Run | None:
    cursor = conn.cursor(row_factory=class_row(Run))
    await cursor.execute(statement, values)
    return await cursor.fetchone()


async def _runs(conn: AsyncConnection, statement: LiteralString, **values: Any) -> list[Run]:
    cursor = conn.cursor(row_factory=class_row(Run))
    await cursor.execute(statement, values)
    return await cursor.fetchall()


async def _changed(conn: AsyncConnection, statement: LiteralString, **values: Any) -> bool:
    return (await conn.execute(statement, values)).rowcount > 0
