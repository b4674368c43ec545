"""Notices to a tenant's people: in the application, and as mail that is claimed before it is sent.

A message keeps its Message-ID over all tries, made from its row's id. A crash between the server's 250 and our commit
sends a second copy under the same Message-ID; nothing else does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

Connection = AsyncConnection
"""For those who hand it on."""

TRIES: Final = 8  # pauses double from a minute: about two hours in all
LEASE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice as the application shows it."""

    id: UUID
    type: str
    title: str
    message: str
    channel: str
    is_read: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """One mail of the platform in the hands of a sender; `attempt` is the number every answer must name."""

    id: UUID
    user_id: UUID
    tenant_id: UUID
    type: str
    payload: dict[str, Any]
    attempt: int

    def message_id(self, domain: str) -> str:
        """The same on every try."""
        return f"<{self.id}@{domain}>"


async def notify(
    conn: AsyncConnection,
    *,
    tenant_id: UUID,
    user_id: UUID,
    type: str,  # noqa: A002 - the column's name
    title: str,
    message: str,
    dedupe_key: str | None = None,
    expires_at: datetime | None = None,
) -> bool:
    """Show a notice; False when the same cause was shown to this person before."""
    cursor = await conn.execute(
        """
        INSERT INTO notifications (tenant_id, user_id, type, title, message, dedupe_key, expires_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant_id, user_id, dedupe_key) DO NOTHING
        """,
        [tenant_id, user_id, type, title, message, dedupe_key, expires_at],
    )
    return cursor.rowcount > 0


async def unread(conn: AsyncConnection, *, tenant_id: UUID, user_id: UUID) -> list[Notice]:
    """What a person has not read and what has not expired, newest first."""
    cursor = conn.cursor(row_factory=class_row(Notice))
    await cursor.execute(
        """
        SELECT id, type, title, message, channel, is_read, created_at FROM notifications
         WHERE tenant_id = %s AND user_id = %s AND NOT is_read AND (expires_at IS NULL OR expires_at > now())
         ORDER BY created_at DESC, id
        """,
        [tenant_id, user_id],
    )
    return await cursor.fetchall()


async def mark_read(conn: AsyncConnection, *, tenant_id: UUID, user_id: UUID, notice_id: UUID) -> bool:
    """A person has read it."""
    cursor = await conn.execute(
        """
        UPDATE notifications SET is_read = true, read_at = now()
         WHERE id = %s AND tenant_id = %s AND user_id = %s AND NOT is_read
        """,
        [notice_id, tenant_id, user_id],
    )
    return cursor.rowcount > 0


async def put_message(
    conn: AsyncConnection,
    *,
    tenant_id: UUID,
    user_id: UUID,
    type: str,  # noqa: A002 - the column's name
    payload: Mapping[str, Any],
    dedupe_key: str | None = None,
) -> UUID | None:
    """Queue a mail; None when the same cause was queued before. The payload is what its template needs, no secret."""
    cursor = await conn.execute(
        """
        INSERT INTO transactional_emails (tenant_id, user_id, type, payload, dedupe_key) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (tenant_id, dedupe_key) DO NOTHING RETURNING id
        """,
        [tenant_id, user_id, type, Jsonb(dict(payload)), dedupe_key],
    )
    row = await cursor.fetchone()
    return None if row is None else UUID(str(row[0]))


async def claim_messages(conn: AsyncConnection, sender: str, limit: int, lease: timedelta = LEASE) -> list[Message]:
    """Take mails that are due, and those whose sender died. Commit, then send."""
    cursor = conn.cursor(row_factory=class_row(Message))
    await cursor.execute(
        """
        UPDATE transactional_emails SET status = 'sending', claimed_by = %(sender)s, attempt_count = attempt_count + 1,
               claimed_until = clock_timestamp() + %(lease)s
         WHERE id IN (SELECT id FROM transactional_emails
                       WHERE status = 'queued' AND next_try_at <= clock_timestamp()
                          OR status = 'sending' AND claimed_until < clock_timestamp()
                       ORDER BY next_try_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
        RETURNING id, user_id, tenant_id, type, payload, attempt_count AS attempt
        """,
        {"sender": sender, "lease": lease, "limit": limit},
    )
    return await cursor.fetchall()


async def message_sent(conn: AsyncConnection, sender: str, message: Message) -> bool:
    """The server took it. False when another sender has it by now."""
    cursor = await conn.execute(
        """
        UPDATE transactional_emails SET status = 'sent', sent_at = clock_timestamp(), claimed_until = NULL
         WHERE id = %s AND claimed_by = %s AND attempt_count = %s AND status = 'sending'
        """,
        [message.id, sender, message.attempt],
    )
    return cursor.rowcount > 0


async def message_failed(
    conn: AsyncConnection, sender: str, message: Message, error: str, *, retryable: bool = True
) -> str | None:
    """The server did not take it: `queued` for another try, or `failed`. None when another sender has it by now."""
    cursor = await conn.execute(
        """
        UPDATE transactional_emails SET claimed_until = NULL, last_error_message = left(%(error)s, 2000),
               status = CASE WHEN %(again)s AND attempt_count < %(tries)s THEN 'queued' ELSE 'failed' END,
               failed_at = CASE WHEN %(again)s AND attempt_count < %(tries)s THEN NULL ELSE clock_timestamp() END,
               next_try_at = clock_timestamp() + interval '1 minute' * power(2, attempt_count - 1)
         WHERE id = %(id)s AND claimed_by = %(sender)s AND attempt_count = %(attempt)s AND status = 'sending'
        RETURNING status
        """,
        {
            "id": message.id,
            "sender": sender,
            "attempt": message.attempt,
            "error": error,
            "again": retryable,
            "tries": TRIES,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def told_until(conn: AsyncConnection) -> datetime:
    """Up to when the trail was turned into notices. An installation that never did begins an hour back."""
    cursor = await conn.execute(
        "SELECT coalesce(max(seen_until), now() - interval '1 hour') FROM rollup_watermarks WHERE name = 'notices'"
    )
    row = await cursor.fetchone()
    if row is None:
        raise LookupError("the server has no time")
    return row[0]


async def remember_told(conn: AsyncConnection, seen_until: datetime) -> None:
    """Set that mark; it never goes back."""
    await conn.execute(
        """
        INSERT INTO rollup_watermarks AS w (name, seen_until) VALUES ('notices', %s)
        ON CONFLICT (name) DO UPDATE SET seen_until = greatest(w.seen_until, EXCLUDED.seen_until), updated_at = now()
        """,
        [seen_until],
    )


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail of the platform as operators see it."""

    id: UUID
    tenant_id: UUID
    user_id: UUID
    type: str
    status: str
    attempt_count: int
    queued_at: datetime
    sent_at: datetime | None
    last_error_message: str | None


async def list_mails(conn: AsyncConnection, *, status: str | None = None, limit: int = 100) -> list[Mail]:
    """Mails, the newest first."""
    cursor = conn.cursor(row_factory=class_row(Mail))
    await cursor.execute(
        """
        SELECT id, tenant_id, user_id, type, status, attempt_count, queued_at, sent_at, last_error_message
          FROM transactional_emails WHERE %(status)s::text IS NULL OR status = %(status)s
         ORDER BY queued_at DESC, id LIMIT %(limit)s
        """,
        {"status": status, "limit": limit},
    )
    return await cursor.fetchall()


async def send_again(conn: AsyncConnection, ids: Sequence[UUID], actor: str) -> list[UUID]:
    """An operator's word that failed mails are to be tried anew, under the same Message-ID; those that were."""
    cursor = await conn.execute(
        """
        UPDATE transactional_emails SET status = 'queued', attempt_count = 0, next_try_at = now(), failed_at = NULL,
               last_error_message = left('again, by ' || %s || ': ' || coalesce(last_error_message, ''), 2000)
         WHERE id = ANY(%s) AND status = 'failed' RETURNING id
        """,
        [actor, list(ids)],
    )
    return [UUID(str(row[0])) for row in await cursor.fetchall()]
