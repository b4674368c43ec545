"""What is heard of new jobs: the notices that an INSERT into the queue sends to whoever listens."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from psycopg import AsyncConnection

from sql.session import CONNECT_SECONDS, our_errors

CHANNEL: Final = "jobs"


@dataclass(frozen=True, slots=True)
class News:
    """A queue has new jobs; `job` is the one that came alone."""

    queue: str
    job: UUID | None


@asynccontextmanager
async def wake_ups(dsn: str) -> AsyncGenerator["WakeUps"]:
    """Hear of new jobs on a connection of its own. `dsn` must not lead through a transaction pooler."""
    with our_errors():
        async with await AsyncConnection.connect(
            dsn, autocommit=True, application_name="penguin:jobs listen", connect_timeout=CONNECT_SECONDS
        ) as conn:
            await conn.execute(f"LISTEN {CHANNEL}")
            yield WakeUps(conn)


class WakeUps:
    """The notices of new jobs. A notice may be lost, so a worker also polls."""

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def next(self, timeout_seconds: float) -> frozenset[News]:
        """What is new; empty when nothing was told of in time."""
        with our_errors():
            notices = [one.payload async for one in self._conn.notifies(timeout=timeout_seconds, stop_after=1)]
        return frozenset(map(_read, notices))


def _read(payload: str) -> News:
    """A queue, and the key of a job that came alone. Any login may notify: what is not a key belongs to the name."""
    queue, _, key = payload.rpartition(" ")
    try:
        return News(queue, UUID(key))
    except ValueError:
        return News(payload, None)
