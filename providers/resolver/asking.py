"""Recursive servers, and the authorities of a name, asked until somebody settles the question.

Only FOUND and ABSENT are knowledge; everything else means that we could not find out. Nothing is raised for what a
name server does. All names are absolute: no search suffix is ever added.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import Final

from providers.resolver.exchange import Exchange
from providers.resolver.naming import parent, question, rtype_of
from providers.resolver.nouns import CD, ENDLESS, RD, Answer, Authorities, Outcome, Question
from providers.resolver.reading import Reply, behind, judged, unheard

MAX_SERVERS: Final = 8  # polite bounds on one question, like the next
MAX_ADDRESSES: Final = 2
NS: Final = rtype_of("NS")
CNAME: Final = rtype_of("CNAME")


class Asker:
    """Asks recursive servers, or the authorities of a name themselves."""

    def __init__(self, exchange: Exchange, servers: tuple[str, ...], tries: int) -> None:
        """`servers` are addresses of recursive servers, asked in this order; only silence is asked again."""
        self._exchange, self._servers, self._tries = exchange, servers, tries

    async def ask(self, name: str, rtype: str, *, at: str | None = None, checking_disabled: bool = False) -> Answer:
        """Ask the recursive servers, or the one at address `at`; follows at most 8 aliases.

        `checking_disabled` asks a validating server for what it would hold back (RFC 4035 3.2.2).
        """
        kind, flags = rtype_of(rtype), RD | CD if checking_disabled else RD
        servers = self._servers if at is None else (at,)
        if (asked := question(name, kind, flags)) is None:
            return unheard(Outcome.BROKEN, servers[0], "BADNAME")
        reply = await self._ask_any(asked, servers)
        return await self._followed(reply, asked, servers) if reply.follow else reply.answer

    async def _followed(self, reply: Reply, asked: Question, servers: tuple[str, ...]) -> Answer:
        """The answer at the end of the aliases that a server left open."""
        answer = reply.answer
        while reply.follow and answer.outcome is not Outcome.BROKEN:
            aliases, following = answer.cname, question(reply.follow, asked.rtype, asked.flags)
            if following is None:
                return behind(aliases, unheard(Outcome.BROKEN, servers[0], "BADNAME"))
            reply = await self._ask_any(following, servers)
            answer = behind(aliases, reply.answer)
        return answer

    async def authorities(self, name: str) -> Authorities:
        """Find the zone cut of the name itself, walking up from it, and the addresses of that zone's servers."""
        zone, names, outcome = await self._cut(name)
        return Authorities(zone, await self._addresses(names), outcome)

    async def ask_authorities(self, name: str, rtype: str) -> tuple[Answer, ...]:
        """Ask every authoritative server of the name; an alias is followed to the authorities of its target.

        One Answer for each address, and one for a name server without an address, so that a caller can count who is
        silent. When the authorities cannot be found, the one Answer says why.
        """
        return await self._ask_each_authority(name, rtype_of(rtype), ())

    async def _ask_each_authority(self, name: str, rtype: int, aliases: tuple[str, ...]) -> tuple[Answer, ...]:
        if (asked := question(name, rtype, 0)) is None:
            return (behind(aliases, unheard(Outcome.BROKEN, self._servers[0], "BADNAME")),)
        found = await self.authorities(asked.name)
        if found.outcome is not Outcome.FOUND or not found.servers:
            outcome = Outcome.BROKEN if found.outcome.settled else found.outcome
            return (behind(aliases, unheard(outcome, self._servers[0], "NO-AUTHORITIES")),)
        replies = await asyncio.gather(*(self._ask_authority(asked, *server) for server in found.servers))
        answers: list[Answer] = []
        followed: set[str] = set()
        for reply in replies:
            answer = behind(aliases, reply.answer)
            if not reply.follow or answer.outcome is Outcome.BROKEN:
                answers.append(answer)
            elif reply.follow not in followed:  # servers that name the same target lead to the same answers
                followed.add(reply.follow)
                answers += await self._ask_each_authority(reply.follow, rtype, answer.cname)
        return tuple(answers)

    async def _ask_authority(self, asked: Question, server_name: str, address: str) -> Reply:
        if not address:
            return Reply(unheard(Outcome.TIMEOUT, "", "NO-ADDRESS")._replace(server_name=server_name))
        reply = await self._ask_any(asked, (address,))
        return reply._replace(answer=reply.answer._replace(server_name=server_name))

    async def _cut(self, name: str) -> tuple[str, tuple[str, ...], Outcome]:
        """The zone that holds a name and the names of its servers."""
        at: str | None = name
        while at is not None and (asked := question(at, NS, RD)) is not None:
            at = asked.name
            reply = await self._ask_any(asked, self._servers)
            answer = reply.answer
            if not answer.outcome.settled and not await self._is_alias(at, answer):
                return "", (), answer.outcome
            if answer.outcome is Outcome.FOUND and not answer.cname:
                return at, answer.values, Outcome.FOUND
            # A negative answer names the zone: no need to climb label by label.
            at = reply.zone if reply.zone and reply.zone != at and not answer.cname else parent(at)
        return "", (), Outcome.BROKEN

    async def _is_alias(self, name: str, answer: Answer) -> bool:
        """Whether a name without an answer is an alias that leads nowhere: it heads no zone, but lies in one."""
        if answer.rcode == ENDLESS:
            return True
        asked = question(name, CNAME, RD)
        if answer.outcome is not Outcome.SERVFAIL or asked is None:
            return False
        return (await self._ask_any(asked, self._servers)).answer.outcome is Outcome.FOUND

    async def _addresses(self, server_names: Sequence[str]) -> tuple[tuple[str, str], ...]:
        names = server_names[:MAX_SERVERS]
        found = await asyncio.gather(*(self.ask(name, "A") for name in names))
        return tuple(
            (name, address)
            for name, answer in zip(names, found, strict=True)
            for address in answer.values[:MAX_ADDRESSES] or ("",)
        )

    def _ask_any(self, asked: Question, servers: tuple[str, ...]) -> Awaitable[Reply]:
        """Ask server after server until one settles it; only silence is asked again."""
        return self._settle(asked, servers)

    async def _settle(self, asked: Question, servers: tuple[str, ...]) -> Reply:
        first = await self._ask_once(asked, servers[0])
        return first if first.answer.outcome.settled else await self._go_on(asked, servers, first)

    async def _go_on(self, asked: Question, servers: tuple[str, ...], last: Reply) -> Reply:
        """After the first server's first try came to nothing."""
        silent = list(servers[0 if last.answer.outcome is Outcome.TIMEOUT else 1 :])
        rounds = [servers[1:], *([None] * (self._tries - 1))]
        for given in rounds:
            for server in given if given is not None else tuple(silent):
                reply = await self._ask_once(asked, server)
                if reply.answer.outcome.settled:
                    return reply
                if reply.answer.outcome is not Outcome.TIMEOUT:
                    silent.remove(server)
                if last.answer.outcome is Outcome.TIMEOUT:
                    last = reply  # what a server said tells more than another one's silence
        return last

    async def _ask_once(self, asked: Question, server: str) -> Reply:
        asked_at = datetime.now(UTC)
        return judged(asked, await self._exchange.ask(asked, server), server, asked_at)
