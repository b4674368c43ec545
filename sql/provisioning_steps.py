"""Steps of a provisioning run and every try of them. Reached through `sql.provisioning`."""

# ruff: noqa: S608 - every statement is a LiteralString: the type checker refuses anything else
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sql.session import Contended

StepStatus = Literal["waiting", "unconfirmed", "succeeded", "failed", "skipped"]
Outcome = Literal["succeeded", "waiting", "failed", "unconfirmed", "crashed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run: what was about to be asked for, and what came of it."""

    id: int
    tenant_id: int
    run_id: UUID
    step_key: str
    ordinal: int
    status: str
    intent: dict[str, Any]
    external_ref: str | None
    output: dict[str, Any]
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a step; `duration_seconds` is None while it runs."""

    step_key: str
    attempt_number: int
    task_run_id: UUID | None
    outcome: str | None
    error_type: str | None
    error_message: str | None
    started_at: datetime
    finished_at: datetime | None
    duration_seconds: float | None


STEP: Final = "id, tenant_id, run_id, step_key, ordinal, status, intent, external_ref, output, started_at, finished_at"


async def intend_step(
    conn: AsyncConnection, *, run_id: UUID, tenant_id: int, step_key: str, ordinal: int, intent: Mapping[str, Any]
) -> Step:
    """Say what is about to be asked for; the caller commits before it asks. The same row on every try.

    A step that this run has behind it comes back as it is, output and all. An unconfirmed one keeps its word and its
    old intent: look before acting.
    """
    cursor = conn.cursor(row_factory=class_row(Step))
    await cursor.execute(
        f"""
        INSERT INTO provisioning_steps AS s (tenant_id, run_id, step_key, ordinal, status, intent, started_at)
        VALUES (%(tenant_id)s, %(run_id)s, %(step_key)s, %(ordinal)s, 'running', %(intent)s, clock_timestamp())
        ON CONFLICT (run_id, step_key) DO UPDATE SET
          ordinal = EXCLUDED.ordinal, updated_at = clock_timestamp(),
          status = CASE WHEN s.status IN ('unconfirmed', 'succeeded', 'skipped') THEN s.status ELSE 'running' END,
          intent = CASE WHEN s.status IN ('unconfirmed', 'succeeded', 'skipped') THEN s.intent ELSE EXCLUDED.intent END,
          started_at = coalesce(s.started_at, EXCLUDED.started_at),
          finished_at = CASE WHEN s.status IN ('succeeded', 'skipped') THEN s.finished_at END
        RETURNING {STEP}
        """,
        {"run_id": run_id, "tenant_id": tenant_id, "step_key": step_key, "ordinal": ordinal, "intent": Jsonb(intent)},
    )
    step = await cursor.fetchone()
    if step is None:
        raise Contended(f"step {step_key} of run {run_id} was not written")
    return step


async def finish_step(
    conn: AsyncConnection,
    step_id: int,
    *,
    status: StepStatus,
    output: Mapping[str, Any] | None = None,
    external_ref: str | None = None,
    flow_run_id: UUID | None = None,
) -> bool:
    """Answer a step: `output` is merged into what is there. A success shows that the run moves: idle_starts is 0 again.

    With `flow_run_id` a process that no longer has the run changes nothing: False.
    """
    return await _changed(
        conn,
        """
        WITH answered AS (
          UPDATE provisioning_steps s SET status = %(status)s::text, output = s.output || %(output)s,
                 external_ref = coalesce(%(external_ref)s::text, s.external_ref), updated_at = clock_timestamp(),
                 finished_at = CASE WHEN %(status)s::text IN ('succeeded', 'failed', 'skipped')
                                    THEN clock_timestamp() END
            FROM provisioning_runs r
           WHERE s.id = %(step_id)s AND r.id = s.run_id
             AND (%(flow_run_id)s::uuid IS NULL OR r.flow_run_id = %(flow_run_id)s::uuid)
          RETURNING s.run_id),
        moved AS (
          UPDATE provisioning_runs SET idle_starts = 0, deadline_at = NULL, last_wait_reason = NULL
           WHERE id IN (SELECT run_id FROM answered) AND status = 'running'
             AND %(status)s::text IN ('succeeded', 'skipped'))
        SELECT run_id FROM answered
        """,
        step_id=step_id,
        status=status,
        output=Jsonb(output or {}),
        external_ref=external_ref,
        flow_run_id=flow_run_id,
    )


async def list_steps(conn: AsyncConnection, run_id: UUID) -> list[Step]:
    """The steps of a run in their order."""
    cursor = conn.cursor(row_factory=class_row(Step))
    await cursor.execute(
        f"SELECT {STEP} FROM provisioning_steps WHERE run_id = %s ORDER BY ordinal, id",
        [run_id],
    )
    return await cursor.fetchall()


async def begin_attempt(conn: AsyncConnection, *, step_id: int, tenant_id: int, task_run_id: UUID | None) -> int:
    """Number and note one try; Prefect counts from 1 again in each task run, so the count is ours."""
    cursor = await conn.execute(
        """
        INSERT INTO provisioning_attempts (step_id, attempt_number, tenant_id, task_run_id)
        SELECT %(step_id)s, coalesce(max(attempt_number), 0) + 1, %(tenant_id)s, %(task_run_id)s
          FROM provisioning_attempts WHERE step_id = %(step_id)s
        RETURNING attempt_number
        """,
        {"step_id": step_id, "tenant_id": tenant_id, "task_run_id": task_run_id},
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def end_attempt(
    conn: AsyncConnection,
    step_id: int,
    number: int,
    *,
    outcome: Outcome,
    error_type: str | None = None,
    error_message: str | None = None,
) -> bool:
    """Say how a try ended. `error_message` comes redacted. An attempt that has ended keeps its end."""
    return await _changed(
        conn,
        """
        UPDATE provisioning_attempts SET outcome = %(outcome)s, error_type = %(error_type)s,
               error_message = left(%(error_message)s::text, 2000), finished_at = clock_timestamp()
         WHERE step_id = %(step_id)s AND attempt_number = %(number)s AND finished_at IS NULL
        """,
        step_id=step_id,
        number=number,
        outcome=outcome,
        error_type=error_type,
        error_message=error_message,
    )


async def close_crashed_attempts(conn: AsyncConnection, run_id: UUID) -> int:
    """Tries without an end belong to a process that died: only the holder of the run's lock may say so. How many."""
    cursor = await conn.execute(
        """
        UPDATE provisioning_attempts a SET outcome = 'crashed', finished_at = clock_timestamp()
          FROM provisioning_steps s
         WHERE s.id = a.step_id AND s.run_id = %s AND a.finished_at IS NULL
        """,
        [run_id],
    )
    return cursor.rowcount


async def list_attempts(conn: AsyncConnection, run_id: UUID) -> list[Attempt]:
    """Every try of every step of a run, oldest first."""
    cursor = conn.cursor(row_factory=class_row(Attempt))
    await cursor.execute(
        """
        SELECT s.step_key, a.attempt_number, a.task_run_id, a.outcome, a.error_type, a.error_message, a.started_at,
               a.finished_at, extract(epoch FROM a.duration)::float8 AS duration_seconds
          FROM provisioning_attempts a JOIN provisioning_steps s ON s.id = a.step_id
         WHERE s.run_id = %s ORDER BY a.started_at, s.ordinal, a.attempt_number
        """,
        [run_id],
    )
    return await cursor.fetchall()


async def _changed(conn: AsyncConnection, statement: LiteralString, **values: Any) -> bool:
    return (await conn.execute(statement, values)).rowcount > 0
