"""The worker of the job queue: claim, work, beat, finish; on every machine one process or more.

A job is worked outside any transaction. Jobs are taken on one connection and answered for on another: neither waits for
the other, nor a claim for the disk. A lease is lengthened on a timer of its own; when that fails for as long as a lease
lasts, the worker lets its jobs go, for somebody else has them by then. Whatever answers late is refused by the
database, which knows worker and attempt. New jobs wake the worker at once, and one that came alone is taken by name;
delayed, retried and reaped ones, and those whose notice was lost, are found by looking.
"""

import asyncio
import logging
import math
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from flows.redact import redactor
from providers.errors import Rejected, Unconfirmed
from sql import job_news, jobs
from sql.job_news import News
from sql.jobs import Job
from sql.session import Connection, Contended, Pool, as_orchestrator, as_orchestrator_at_once

log = logging.getLogger(__name__)

Said = TypeVar("Said")
Handler = Callable[[Job], Awaitable[None]]
"""Works one job; may be run again after any crash. What it raises is the attempt's end."""

BEATS_PER_LEASE = 3
SLOWEST = 5  # pauses between looks grow to this many first ones
RECONNECT_SECONDS = 5.0
LAST_WORDS_SECONDS = 5  # of the time to stop
AT_ONCE = -math.inf


class Poison(Exception):
    """This job can never be done: it is dead at once, and the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much at once, and how often; seconds."""

    slots: int = 100
    lease_seconds: float = 60
    poll_seconds: float = 1
    stop_seconds: float = 30

    @property
    def batch(self) -> int:
        """Most jobs to ask for at once: while the one half is worked, the server sees to the other."""
        return (self.slots + 1) // 2

    @property
    def held(self) -> int:
        """Most jobs in hand, with those that are done and not yet answered for: a crash undoes no more."""
        return 2 * self.slots

    @property
    def slowest(self) -> float:
        """Longest pause between two looks, and how long news of single jobs may put one off."""
        return self.poll_seconds * SLOWEST

    @property
    def lease(self) -> timedelta:
        """As the database takes it."""
        return timedelta(seconds=self.lease_seconds)


@dataclass(slots=True, kw_only=True)
class Worker:
    """One process's hold on the queue. `pool` is its own: handlers must not keep a beat from its connection."""

    pool: Pool
    listen_dsn: str
    handlers: Mapping[str, Handler]
    pace: Pace = field(default_factory=Pace)
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}")
    refused: int = 0  # answers that came too late
    _held: dict[UUID, Job] = field(default_factory=dict[UUID, Job])
    _tasks: dict[UUID, asyncio.Task[None]] = field(default_factory=dict[UUID, asyncio.Task[None]])
    _done: list[Job] = field(default_factory=list[Job])
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _ends: asyncio.Event = field(default_factory=asyncio.Event)  # there is something to answer for
    _named: set[UUID] = field(default_factory=set[UUID])  # heard of, one by one
    _pause: float = 0  # between two looks
    _look_at: float = AT_ONCE  # when to look for whatever is due, by the monotonic clock
    _stopping: bool = False
    _stop_by: float = math.inf  # by the monotonic clock

    def stop(self) -> None:
        """Claim nothing more, let what is in hand end, give back the rest; safe in a signal handler of the loop."""
        self._stopping = True
        self._stop_by = min(self._stop_by, time.monotonic() + self.pace.stop_seconds)
        self._news.set()
        self._ends.set()

    async def work(self) -> None:
        """Until stopped."""
        async with self._beside(self._listen), self._beside(self._beat), self._beside(self._reap):
            async with asyncio.TaskGroup() as lanes:
                lanes.create_task(self._take())
                lanes.create_task(self._answer())
            await self._end()

    async def _take(self) -> None:
        """Ask for jobs while there is room, and rest when there is none, or nothing to do."""
        while not self._stopping:
            if not await self._took():
                await self._rest()

    async def _answer(self) -> None:
        """Say what is done. What ends meanwhile is said together next time; new jobs do not wait for it."""
        while not self._stopping:
            await self._ends.wait()
            await asyncio.sleep(0)  # every job that can go on does so first: its answer goes along
            self._ends.clear()
            if self._done:
                await self._answered()

    async def _answered(self) -> None:
        done, self._done = self._done, []
        try:
            async with as_orchestrator_at_once(self.pool) as conn:
                finished = await jobs.finish(conn, self.name, done)
        except Contended as error:
            log.warning("not heard, said again: %s", error)
            self._done = done + self._done  # finishing twice changes nothing the second time
            self._ends.set()
            await asyncio.sleep(self.pace.poll_seconds)
        else:
            self._settle(done, finished)
            self._news.set()  # there is room

    async def _took(self) -> bool:
        """Take new jobs; whether there were any.

        A look walks over all that was claimed since the last vacuum. So jobs that came alone are taken by name, and
        looks follow each other only while they find as many as there is room for.
        """
        room = min(self.pace.batch, self.pace.slots - len(self._tasks), self.pace.held - len(self._held))
        named, self._named = self._named, set()
        self._news.clear()
        if len(named) > room:
            self._look_at = AT_ONCE
        looks = self._look_at <= time.monotonic() - (self.pace.slowest if named else 0)
        if room <= 0 or not (looks or named):
            return False
        if looks:
            self._look_at = time.monotonic() + self._pause  # news that comes from here on asks for another
        try:
            async with as_orchestrator_at_once(self.pool) as conn:
                taken = await jobs.take(
                    conn, worker=self.name, queues=list(self.handlers), limit=room, lease=self.pace.lease,
                    named=None if looks else named,
                )  # fmt: skip
        except Contended as error:
            log.warning("queue out of reach: %s", error)
            self._look_at = AT_ONCE
            await asyncio.sleep(self.pace.poll_seconds)
            return False
        if looks:
            self._looked(len(taken), room)
        for job in taken:
            self._held[job.id] = job
            self._tasks[job.id] = asyncio.create_task(self._try(job))
        return bool(taken)

    def _looked(self, found: int, room: int) -> None:
        """There is more where a look was filled; where it found nothing, the next one takes its time."""
        if found >= room:
            self._look_at = AT_ONCE
        elif found:
            self._look_at = min(self._look_at, time.monotonic() + self.pace.poll_seconds)
        slower = min(self._pause * 1.5, self.pace.slowest)
        self._pause = self.pace.poll_seconds if found else max(slower, self.pace.poll_seconds)

    def _settle(self, done: list[Job], finished: set[UUID]) -> None:
        for job in done:
            self._let_go(job)
            if job.id not in finished:
                self.refused += 1
                log.warning("job=%s attempt=%d was no longer ours to finish", job.id, job.attempt)

    def _let_go(self, job: Job) -> None:
        if self._held.get(job.id) is job:
            del self._held[job.id]

    async def _try(self, job: Job) -> None:
        """One attempt. A cancelled one says nothing: the job was taken from us, or is given back at the end."""
        limit = asyncio.timeout(job.timeout_seconds)
        try:
            async with limit:
                await self.handlers[job.queue](job)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a handler raises is how its attempt ended
            late = isinstance(error, TimeoutError) and limit.expired()
            await self._failed(job, TimeoutError(f"not done within {job.timeout_seconds} s") if late else error)
        else:
            self._done.append(job)
            self._ends.set()
        finally:
            if self._tasks.get(job.id) is asyncio.current_task():
                del self._tasks[job.id]
            self._news.set()

    async def _failed(self, job: Job, error: Exception) -> None:
        again = not isinstance(error, (Poison, Rejected, Unconfirmed))
        words = redactor.clean(str(error) if isinstance(error, Poison) else f"{type(error).__name__}: {error}")
        with suppress(Contended):  # the lease ends by itself, and the attempt counts
            until = time.monotonic() + self.pace.lease_seconds
            status = await self._said(lambda conn: jobs.fail(conn, self.name, job, words, retryable=again), until)
            self.refused += status is None
            log.warning("job=%s queue=%s attempt=%d %s: %s", job.id, job.queue, job.attempt, status or "refused", words)
        self._let_go(job)

    async def _rest(self) -> None:
        """Until there is news, or the next look is due."""
        with suppress(TimeoutError):
            seconds = max(self._look_at - time.monotonic(), self.pace.poll_seconds)
            await asyncio.wait_for(self._news.wait(), seconds)

    def _look_soon(self) -> None:
        self._look_at = AT_ONCE
        self._news.set()

    async def _end(self) -> None:
        """What ends in time is finished; the rest is given back, and due at once: all within the time to stop."""
        if self._tasks:
            patience = max(self._stop_by - LAST_WORDS_SECONDS - time.monotonic(), 0)
            await asyncio.wait(self._tasks.values(), timeout=patience)
        for task in (left := [*self._tasks.values()]):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await asyncio.gather(*self._last_words())
        except TimeoutError:
            log.warning("not all was heard within %d s: leases end by themselves", LAST_WORDS_SECONDS)

    def _last_words(self) -> Iterator[Awaitable[object]]:
        done = self._done
        ended = {job.id for job in done}
        undone = [job for job in self._held.values() if job.id not in ended]
        if done:
            yield self._finished(done)
        if undone:
            yield self._said(lambda conn: jobs.release(conn, self.name, undone), math.inf)

    async def _finished(self, done: list[Job]) -> None:
        self._settle(done, await self._said(lambda conn: jobs.finish(conn, self.name, done), math.inf))

    async def _said(self, word: Callable[[Connection], Awaitable[Said]], until: float) -> Said:
        """A last word on jobs, said again on a new connection until then; fencing decides."""
        while True:
            try:
                async with as_orchestrator(self.pool) as conn:
                    return await word(conn)
            except Contended as error:
                if time.monotonic() >= until:
                    raise
                log.warning("not heard, said again: %s", error)
                await asyncio.sleep(self.pace.poll_seconds)

    async def _beat(self) -> None:
        """Lengthen the leases; stop what was taken from us, and everything once a whole lease went by unheard."""
        heard = time.monotonic()
        while True:
            await asyncio.sleep(self.pace.lease_seconds / BEATS_PER_LEASE)
            held = list(self._held.values())
            asked = time.monotonic()
            try:
                async with as_orchestrator(self.pool) as conn:
                    ours = await jobs.heartbeat(conn, self.name, held, self.pace.lease) if held else set[UUID]()
                heard = asked
            except Contended as error:
                log.warning("no beat: %s", error)
                if time.monotonic() - heard < self.pace.lease_seconds:
                    continue
                ours = set[UUID]()
            self._drop([job for job in held if job.id not in ours])

    def _drop(self, lost: list[Job]) -> None:
        done = {job.id for job in self._done}
        for job in lost:
            if self._held.get(job.id) is job and job.id in self._tasks and job.id not in done:
                log.warning("job=%s attempt=%d was taken from us, or cancelled", job.id, job.attempt)
                self._let_go(job)
                self._tasks[job.id].cancel()

    async def _reap(self) -> None:
        while True:
            with suppress(Contended):
                async with as_orchestrator(self.pool) as conn:
                    if await jobs.reap(conn):
                        self._look_soon()
            await asyncio.sleep(self.pace.lease_seconds / BEATS_PER_LEASE)

    async def _listen(self) -> None:
        """Where notices do not come through, looking is all there is; that is slower, and nothing else."""
        while True:
            with suppress(Contended):
                async with job_news.wake_ups(self.listen_dsn) as notices:
                    self._look_soon()  # what came while nobody listened
                    while True:
                        self._heard(await notices.next(60))
            await asyncio.sleep(RECONNECT_SECONDS)

    def _heard(self, news: Collection[News]) -> None:
        for one in news:
            if one.queue in self.handlers and one.job is None:
                self._look_soon()
            elif one.queue in self.handlers and one.job is not None:
                self._named.add(one.job)
                self._news.set()

    @asynccontextmanager
    async def _beside(self, work: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
        """Something that goes on beside the claims; when it breaks by a mistake of ours, the worker ends."""

        async def guarded() -> None:
            try:
                await work()
            except Exception:
                log.exception("%s broke", work.__name__)
                self.stop()
                raise

        task = asyncio.create_task(guarded())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
