"""Questions on behalf of one subject: each at most once, counted, and at an end however much the subject publishes."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from datetime import UTC, datetime
from time import monotonic

from providers.resolver.asking import MAX_ADDRESSES, Asker
from providers.resolver.exchange import Exchange
from providers.resolver.lane import Waiter, all_of
from providers.resolver.naming import is_under, question, rtype_of
from providers.resolver.nouns import RD, Answer, Outcome, Question
from providers.resolver.reading import Reply, behind, judged, unheard

Known = asyncio.Future[Reply]

SECOND_OPINIONS = 2  # servers that a routine question goes on to when one cannot say


class Inquiry(Asker):
    """A resolver with a memory and a budget. What was not asked any more is `Outcome.BUDGET`, never an absence."""

    def __init__(self, exchange: Exchange, servers: tuple[str, ...], tries: int, *, most: int, seconds: float) -> None:
        """`most` counts every question that leaves, repeated ones too."""
        super().__init__(exchange, servers, tries)
        self.most = most
        self.asked = 0
        self._until = monotonic() + seconds
        self._known: dict[tuple[bytes, tuple[str, ...]], Known] = {}
        self._silences: Counter[str] = Counter()
        self._zones: dict[str, tuple[str, ...]] = {}

    @property
    def is_spent(self) -> bool:
        """Whether nothing may be asked any more."""
        return self.asked >= self.most or monotonic() >= self._until

    async def ask_an_authority(self, name: str, rtype: str, *, turn: int = 0) -> Answer:
        """Ask one authoritative server of the name's zone, a different one for each `turn`; two more if it is mute.

        The zone is the nearest one that this inquiry knows: a server that answers as an authority proves it is one, and
        one that points below makes us find the cut of the name itself.
        """
        kind, aliases = rtype_of(rtype), ()
        while True:
            if (asked := question(name, kind, 0)) is None:
                return behind(aliases, unheard(Outcome.BROKEN, self._servers[0], "BADNAME"))
            reply = await self._ask_nearest(asked, turn)
            answer = behind(aliases, reply.answer) if aliases else reply.answer
            if not reply.follow or answer.outcome is Outcome.BROKEN:
                return answer
            aliases, name = answer.cname, reply.follow

    async def _ask_nearest(self, asked: Question, turn: int) -> Reply:
        near = max((zone for zone in self._zones if is_under(asked.name, zone)), key=len, default=None)
        if near is not None:
            reply = await self._ask_some(asked, self._zones[near], turn)
            if not reply.delegated:
                return reply
        zone, names, outcome = await self._cut(asked.name)
        if outcome is not Outcome.FOUND:
            lost = Outcome.BROKEN if outcome.settled else outcome
            return Reply(unheard(lost, self._servers[0], "NO-AUTHORITIES"))
        self._zones[zone] = names
        return await self._ask_some(asked, names, turn)

    async def _ask_some(self, asked: Question, names: Sequence[str], turn: int) -> Reply:
        """Go round the servers from the one whose turn it is, until one can say."""
        reply = Reply(unheard(Outcome.TIMEOUT, "", "NO-ADDRESS"))
        for step in range(min(len(names), 1 + SECOND_OPINIONS)):
            name = names[(turn + step) % len(names)]
            addresses = (await self.ask(name, "A")).values[:MAX_ADDRESSES]
            address = addresses[turn % len(addresses)] if addresses else ""
            reply = await self._ask_authority(asked, name, address)
            if reply.answer.outcome.settled or reply.delegated or self.is_spent:
                break
        return reply

    def _ask_any(self, asked: Question, servers: tuple[str, ...]) -> Awaitable[Reply]:
        known = self._known.get((asked.wire, servers))
        if known is None:
            return self._learn(asked, servers)
        return known if known.done() else self._share(known, asked, servers)

    async def _share(self, known: Known, asked: Question, servers: tuple[str, ...]) -> Reply:
        """Wait for what somebody else is learning, and ask anew if that one gives up: each is cancelled alone."""
        await asyncio.wait([known])
        return await self._ask_any(asked, servers) if known.cancelled() else known.result()

    async def learn_all(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Ask for these names and types at once, each as if it were asked for alone, to have the answers at hand.

        What the budget does not reach is not asked, and says so when it is asked for.
        """
        server, asked_at, under_way = self._servers[0], datetime.now(UTC), list[tuple[Question, Known, Waiter]]()
        for name, rtype in wanted:
            asked = question(name, rtype_of(rtype), RD)
            if asked is None or (asked.wire, self._servers) in self._known or self.is_spent:
                continue
            self.asked += 1
            known = self._known[asked.wire, self._servers] = asyncio.get_running_loop().create_future()
            under_way.append((asked, known, self._exchange.ask(asked, server)))
        try:
            await all_of([waiter for _, _, waiter in under_way])
            replies = [judged(asked, waiter.result(), server, asked_at) for asked, _, waiter in under_way]
            late = [
                self._settle_late(asked, known, reply)
                for (asked, known, _), reply in zip(under_way, replies, strict=True) if not _settled(known, reply)
            ]  # fmt: skip
            if late:
                await asyncio.gather(*late)
        finally:
            for asked, known, _ in under_way:
                self._give_up(asked, self._servers, known)

    async def _settle_late(self, asked: Question, known: Known, first: Reply) -> None:
        known.set_result(await self._go_on(asked, self._servers, first))

    async def _learn(self, asked: Question, servers: tuple[str, ...]) -> Reply:
        known = self._known[asked.wire, servers] = asyncio.get_running_loop().create_future()
        try:
            reply = await self._ask_once(asked, servers[0])
            if not _settled(known, reply):
                reply = await self._go_on(asked, servers, reply)
                known.set_result(reply)
            return reply
        finally:
            self._give_up(asked, servers, known)

    def _give_up(self, asked: Question, servers: tuple[str, ...], known: Known) -> None:
        """Forget what was not learnt, because whoever asked was cancelled."""
        if not known.done():
            known.cancel()
            del self._known[asked.wire, servers]

    async def _ask_once(self, asked: Question, server: str) -> Reply:
        if self._silences.get(server, 0) >= self._tries:
            return Reply(unheard(Outcome.TIMEOUT, server, "MUTE"))
        if self.is_spent:
            return Reply(unheard(Outcome.BUDGET, server, "BUDGET"))
        self.asked += 1
        asked_at = datetime.now(UTC)
        reply = judged(asked, await self._exchange.ask(asked, server), server, asked_at)
        # A silent authority is not waited for again in this inquiry; a resolver may be silent over one name alone.
        if not asked.is_recursive and reply.answer.outcome is Outcome.TIMEOUT:
            self._silences[server] += 1
        return reply


def _settled(known: Known, reply: Reply) -> bool:
    """Whether the reply settles the question; then it is known."""
    if reply.answer.outcome.settled:
        known.set_result(reply)
    return known.done()
