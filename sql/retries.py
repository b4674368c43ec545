"""A start after a start: an operator's retry, which looks again at what it is told to, and one that was lost."""

from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.provisioning import LOCK_FREE, RUN, Run, get_run


async def rearm_run(conn: AsyncConnection, run_id: UUID, *, from_ordinal: int | None) -> Run | None:
    """Counters to zero, steps from `from_ordinal` on to pending; None when the run has ended or a process is at it.

    AlreadyExists when another live run has taken its place.
    """
    cursor = await conn.execute(
        f"""
        UPDATE provisioning_runs r SET starts = 0, idle_starts = 0, cancel_requested_at = NULL, deadline_at = NULL,
               status = CASE WHEN status = 'running' THEN status ELSE 'pending' END,
               wait_reason = NULL, wait_detail = NULL, last_wait_reason = NULL, resume_at = NULL, finished_at = NULL,
               updated_at = clock_timestamp()
         WHERE id = %s AND status IN ('pending', 'running', 'waiting', 'failed') AND {LOCK_FREE}
        """,  # noqa: S608  literals of this package
        [run_id],
    )
    if cursor.rowcount == 0:
        return None
    # A step that starts its patience anew: the deadline counts from the retry. What is not known stays so.
    await conn.execute(
        """
        UPDATE provisioning_steps SET started_at = clock_timestamp(), updated_at = clock_timestamp(),
               status = CASE WHEN status IN ('unconfirmed', 'running') THEN status ELSE 'pending' END
         WHERE run_id = %(run)s AND (status <> 'succeeded' OR ordinal >= %(from)s::integer)
        """,
        {"run": run_id, "from": from_ordinal},
    )
    return await get_run(conn, run_id)


async def count_lost_start(conn: AsyncConnection, run: Run) -> Run | None:
    """A start that died before it took the run: it counts, and the next is another. None when the run has moved on."""
    cursor = conn.cursor(row_factory=class_row(Run))
    await cursor.execute(
        f"""
        UPDATE provisioning_runs r SET status = 'pending', starts = starts + 1, idle_starts = idle_starts + 1,
               wait_reason = NULL, wait_detail = NULL, resume_at = NULL, updated_at = clock_timestamp()
         WHERE id = %s AND updated_at = %s AND status IN ('pending', 'waiting') AND {LOCK_FREE} RETURNING {RUN}
        """,  # noqa: S608  literals of this package
        [run.id, run.updated_at],
    )
    return await cursor.fetchone()
