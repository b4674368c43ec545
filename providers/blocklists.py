"""Questions to blocklists, through our own recursive resolver only.

A licence key is part of a zone's name. It leaves this module inside questions alone: what is handed back, shown or
stored says `<key>`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from pydantic import SecretStr

from providers.resolver import Answer, Outcome, Resolver

KEY_PLACE: Final = "<key>"
UNLICENSED: Final = "unlicensed"
POLITE: Final = 50  # names in hand at a time: no list has more questions of ours under way
TEXT_LENGTH: Final = 300  # a TXT record is somebody else's text


@dataclass(frozen=True, slots=True)
class ListZone:
    """Where a list answers. `<key>` in `zone` is the place of the licence key called `key_name`."""

    zone: str
    key_name: str = ""  # empty: no key is needed
    public_zone: str = ""  # a mirror that answers without a key, where mirrors are permitted


class ListAnswer(NamedTuple):
    """One list's word on one name; `question` may be shown. `outcome` is a resolver's, or `unlicensed`: never asked."""

    outcome: str
    codes: tuple[str, ...]
    texts: tuple[str, ...]
    question: str
    server: str
    asked_at: datetime
    ttl_seconds: int | None = None


class Blocklists:
    """Lists by DNS (RFC 5782): an A record is the code, a TXT record the reason."""

    def __init__(
        self, resolver: Resolver, *, keys: Mapping[str, SecretStr], public_mirrors_allowed: bool, polite: int = POLITE
    ) -> None:
        """`resolver` must be ours: lists refuse public ones. An empty key is no key."""
        self._resolver = resolver
        self._keys = {name: key.get_secret_value() for name, key in keys.items() if key.get_secret_value()}
        self._public_mirrors_allowed = public_mirrors_allowed
        self._room = asyncio.Semaphore(polite)

    async def ask(self, at: ListZone, label: str) -> ListAnswer:
        """Ask one list for one name."""
        return (await self.ask_all((at,), label))[0]

    async def ask_all(self, lists: Sequence[ListZone], label: str) -> list[ListAnswer]:
        """Ask for one name: its codes on each list, in the lists' order, and the reasons when there are any.

        Nothing is raised for what a list does.
        """
        zones = [self.shown_zone(at) for at in lists]
        licensed = [(at, zone) for at, zone in zip(lists, zones, strict=True) if zone]
        asked = [zone.replace(KEY_PLACE, self._keys.get(at.key_name, "")) for at, zone in licensed]
        async with self._room:
            answers = await self._resolver.ask_under(asked, label, "A")
            listed = [place for place, answer in enumerate(answers) if answer.outcome is Outcome.FOUND]
            reasons = await self._resolver.ask_under([asked[at] for at in listed], label, "TXT") if listed else ()
        texts = {
            place: self._shown_texts(said, licensed[place][0]) for place, said in zip(listed, reasons, strict=True)
        }
        heard = iter([
            _heard(answer, f"{label}.{zone}", texts.get(place, ()))
            for place, (answer, (_, zone)) in enumerate(zip(answers, licensed, strict=True))
        ])  # fmt: skip
        return [next(heard) if zone else _unlicensed(at, label) for at, zone in zip(lists, zones, strict=True)]

    def shown_zone(self, at: ListZone) -> str:
        """The zone that is asked, without its key; empty when we may ask none."""
        if not at.key_name or at.key_name in self._keys:
            return at.zone
        return at.public_zone if self._public_mirrors_allowed else ""

    def _shown_texts(self, said: Answer, at: ListZone) -> tuple[str, ...]:
        key = self._keys.get(at.key_name)
        values = said.values if said.outcome is Outcome.FOUND else ()
        return tuple((value.replace(key, KEY_PLACE) if key else value)[:TEXT_LENGTH] for value in values)


def _unlicensed(at: ListZone, label: str) -> ListAnswer:
    return ListAnswer(UNLICENSED, (), (), f"{label}.{at.zone}", "", datetime.now(UTC))


def _heard(answer: Answer, question: str, texts: tuple[str, ...]) -> ListAnswer:
    ttl = answer.ttl_seconds if answer.outcome is Outcome.FOUND else answer.negative_ttl_seconds
    return ListAnswer(answer.outcome.value, answer.values, texts, question, answer.server, answer.asked_at, ttl)
