"""The resolver that an installation has: its servers, its patience, and the way to all other servers."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from providers.resolver.asking import Asker
from providers.resolver.exchange import Exchange
from providers.resolver.inquiry import Inquiry
from providers.resolver.lane import all_of
from providers.resolver.naming import new_question, questions_under, rtype_of
from providers.resolver.nouns import RD, Answer, Outcome, Question
from providers.resolver.reading import Reply, judged, unheard


class Resolver(Asker):
    """Asks its recursive servers, or the authorities of a name, and opens inquiries that do so within bounds."""

    def __init__(self, servers: Sequence[str], *, timeout_seconds: float = 3, tries: int = 2, port: int = 53) -> None:
        """`servers` are addresses of recursive servers, asked in this order; `port` holds for every server."""
        if not servers or tries < 1:
            raise ValueError("a resolver needs at least one server and one try")
        ours = tuple(servers)
        super().__init__(Exchange(ours, port=port, timeout_seconds=timeout_seconds), ours, tries)

    def inquiry(self, most: int, *, seconds: float = 60) -> Inquiry:
        """Questions on behalf of one subject: at most so many, for so long, and none of them twice."""
        return Inquiry(self._exchange, self._servers, self._tries, most=most, seconds=seconds)

    async def ask_all(self, names: Sequence[str], rtype: str) -> list[Answer]:
        """Ask about many names at once, all waited for together; one Answer a name, in their order."""
        kind = rtype_of(rtype)
        return await self._ask_each([new_question(name, kind, RD) for name in names])

    async def ask_under(self, zones: Sequence[str], label: str, rtype: str) -> list[Answer]:
        """Ask about one label below many zones at once; one Answer a zone, in their order."""
        kind = rtype_of(rtype)
        return await self._ask_each(list(questions_under(zones, label, kind)))

    async def _ask_each(self, questions: Sequence[Question | None]) -> list[Answer]:
        server, asked_at = self._servers[0], datetime.now(UTC)
        waiters = [self._exchange.ask(asked, server) if asked else None for asked in questions]
        await all_of([waiter for waiter in waiters if waiter])
        answers: list[Answer] = []
        open_ones: list[tuple[int, Question, Reply]] = []
        for asked, waiter in zip(questions, waiters, strict=True):
            if asked is None or waiter is None:
                answers.append(unheard(Outcome.BROKEN, server, "BADNAME"))
                continue
            reply = judged(asked, waiter.result(), server, asked_at)
            if reply.follow or not reply.answer.outcome.settled:
                open_ones.append((len(answers), asked, reply))
            answers.append(reply.answer)
        if open_ones:
            ends = await asyncio.gather(*(self._finished(asked, reply) for _, asked, reply in open_ones))
            for (place, _, _), answer in zip(open_ones, ends, strict=True):
                answers[place] = answer
        return answers

    async def _finished(self, asked: Question, reply: Reply) -> Answer:
        """What is not settled by the first server's first word goes on as every question does."""
        if not reply.answer.outcome.settled:
            reply = await self._go_on(asked, self._servers, reply)
        return await self._followed(reply, asked, self._servers)
