"""An operator's retry: the run may start again, and looks again at what it is told to."""

from uuid import UUID

from psycopg import AsyncConnection

from sql.provisioning import LOCK_FREE, Run, get_run


async def rearm_run(conn: AsyncConnection, run_id: UUID, *, from_ordinal: int | None) -> Run | None:
    """Counters to zero, steps from `from_ordinal` on to pending; None when the run has ended or a process is at it."""
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
    # A step that starts its patience anew: the deadline counts from the retry.
    await conn.execute(
        """
        UPDATE provisioning_steps SET status = 'pending', started_at = clock_timestamp(), updated_at = clock_timestamp()
         WHERE run_id = %(run)s AND status NOT IN ('unconfirmed', 'running')
           AND (status <> 'succeeded' OR ordinal >= %(from)s::integer)
        """,
        {"run": run_id, "from": from_ordinal},
    )
    return await get_run(conn, run_id)
