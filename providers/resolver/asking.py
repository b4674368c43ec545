"""Recursive servers, and the authorities of a name, asked until somebody settles the question.

Only FOUND and ABSENT are knowledge; everything else means that we could not find out. Nothing is raised for what a
name server does. All names are absolute: no search suffix is ever added.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from providers.resolver.exchange import Exchange
from providers.resolver.nouns import Answer, Authorities, Outcome, Question, Silence
from providers.resolver.reading import Reply, behind, on_wire, parent, read, rtype_of, unheard

if TYPE_CHECKING:
    from providers.resolver.inquiry import Inquiry

MAX_SERVERS: Final = 8  # polite bounds on one question, like the next
MAX_ADDRESSES: Final = 2


class Resolver:
    """Asks recursive servers, or the authorities of a name themselves."""

    def __init__(self, servers: Sequence[str], *, timeout_seconds: float = 3, tries: int = 2, port: int = 53) -> None:
        """`servers` are addresses of recursive servers, asked in this order; `port` holds for every server."""
        if not servers or tries < 1:
            raise ValueError("a resolver needs at least one server and one try")
        self._servers = tuple(servers)
        self._tries = tries
        self._exchange = Exchange(self._servers, port=port, timeout_seconds=timeout_seconds)

    @property
    def means(self) -> tuple[tuple[str, ...], int, Exchange]:
        """Recursive servers, tries and the way to any server, for an inquiry."""
        return self._servers, self._tries, self._exchange

    def inquiry(self, most: int, *, seconds: float = 60) -> "Inquiry":
        """Questions on behalf of one subject: at most so many, for so long, and none of them twice."""
        from providers.resolver.inquiry import Inquiry  # noqa: PLC0415  it is a resolver itself

        return Inquiry(self, most, seconds=seconds)

    async def ask(self, name: str, rtype: str, *, at: str | None = None, checking_disabled: bool = False) -> Answer:
        """Ask the recursive servers, or the one at address `at`; follows at most 8 aliases.

        `checking_disabled` asks a validating server for what it would hold back (RFC 4035 3.2.2).
        """
        kind = rtype_of(rtype)
        servers = self._servers if at is None else (at,)
        aliases: tuple[str, ...] = ()
        while True:
            if (target := on_wire(name)) is None:
                return behind(aliases, unheard(Outcome.BROKEN, servers[0], "BADNAME"))
            reply = await self._ask_any(Question.about(*target, kind, checking_disabled=checking_disabled), servers)
            answer = behind(aliases, reply.answer) if aliases else reply.answer
            if not reply.follow or answer.outcome is Outcome.BROKEN:
                return answer
            aliases, name = answer.cname, reply.follow

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
        target = on_wire(name)
        if target is None:
            return (behind(aliases, unheard(Outcome.BROKEN, self._servers[0], "BADNAME")),)
        found = await self.authorities(target[0])
        if found.outcome is not Outcome.FOUND or not found.servers:
            outcome = Outcome.BROKEN if found.outcome.settled else found.outcome
            return (behind(aliases, unheard(outcome, self._servers[0], "NO-AUTHORITIES")),)
        question = Question.about(*target, rtype, recursive=False)
        replies = await asyncio.gather(*(self._ask_authority(question, *server) for server in found.servers))
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

    async def _ask_authority(self, question: Question, server_name: str, address: str) -> Reply:
        if not address:
            return Reply(replace(unheard(Outcome.TIMEOUT, "", "NO-ADDRESS"), server_name=server_name))
        reply = await self._ask_any(question, (address,))
        return replace(reply, answer=replace(reply.answer, server_name=server_name))

    async def _cut(self, name: str) -> tuple[str, tuple[str, ...], Outcome]:
        """The zone that holds a name and the names of its servers."""
        target = on_wire(name)
        at = target[0] if target else None
        while at is not None and (target := on_wire(at)) is not None:
            reply = await self._ask_any(Question.about(*target, rtype_of("NS")), self._servers)
            answer = reply.answer
            if not answer.outcome.settled:
                return "", (), answer.outcome
            if answer.outcome is Outcome.FOUND and not answer.cname:
                return at, answer.values, Outcome.FOUND
            # A negative answer names the zone: no need to climb label by label.
            at = reply.zone if reply.zone and reply.zone != at and not answer.cname else parent(at)
        return "", (), Outcome.BROKEN

    async def _addresses(self, server_names: Sequence[str]) -> tuple[tuple[str, str], ...]:
        names = server_names[:MAX_SERVERS]
        found = await asyncio.gather(*(self.ask(name, "A") for name in names))
        return tuple(
            (name, address)
            for name, answer in zip(names, found, strict=True)
            for address in answer.values[:MAX_ADDRESSES] or ("",)
        )

    async def _ask_any(self, question: Question, servers: tuple[str, ...]) -> Reply:
        """Ask server after server until one settles it; only silence is asked again."""
        first = await self._ask_once(question, servers[0])
        if first.answer.outcome.settled:
            return first
        return await self._ask_on(question, servers, first)

    async def _ask_on(self, question: Question, servers: tuple[str, ...], last: Reply) -> Reply:
        """Go on after the first server's first try came to nothing."""
        silent = list(servers[0 if last.answer.outcome is Outcome.TIMEOUT else 1 :])
        rounds = [servers[1:], *([None] * (self._tries - 1))]
        for given in rounds:
            for server in given if given is not None else tuple(silent):
                reply = await self._ask_once(question, server)
                if reply.answer.outcome.settled:
                    return reply
                if reply.answer.outcome is not Outcome.TIMEOUT:
                    silent.remove(server)
                if last.answer.outcome is Outcome.TIMEOUT:
                    last = reply  # what a server said tells more than another one's silence
        return last

    async def _ask_once(self, question: Question, server: str) -> Reply:
        asked_at = datetime.now(UTC)
        message = await self._exchange.ask(question, server)
        if isinstance(message, Silence):
            return Reply(unheard(message.outcome, server, message.word, asked_at))
        return read(question, message, server, asked_at)
