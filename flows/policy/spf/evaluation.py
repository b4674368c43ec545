"""check_host() of RFC 7208: evaluated over a one-method look-up, never guessed from the text."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple, Protocol

from flows.policy.names import is_under
from flows.policy.spf.macros import Message, expand, fitted
from flows.policy.spf.syntax import (
    COSTS_A_LOOKUP,
    Address,
    Directive,
    SpfRecord,
    SpfSyntax,
    is_macro_string,
    parse_spf,
    spf_texts,
)

MAX_LOOKUPS: Final = 10  # section 4.6.4
MAX_VOIDS: Final = 2
MAX_EXCHANGES: Final = 10
MAX_PTR_NAMES: Final = 10
MAX_PROBLEM: Final = 200  # characters of a text that somebody else wrote
LABELS: Final = re.compile(r"[^.]{1,63}(?:\.[^.]{1,63})*")
MAX_NAME: Final = 253


class LookupAnswer(Protocol):
    """What a look-up must tell: "found", "absent", or why nobody knows; TXT values with their strings joined."""

    @property
    def outcome(self) -> str: ...  # noqa: D102  explained above

    @property
    def values(self) -> tuple[str, ...]: ...  # noqa: D102  explained above


Lookup = Callable[[str, str], Awaitable[LookupAnswer]]


class SpfOutcome(StrEnum):
    """The seven results of section 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105  a result, not a password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


QUALIFIED: Final = {
    "+": SpfOutcome.PASS,
    "-": SpfOutcome.FAIL,
    "~": SpfOutcome.SOFTFAIL,
    "?": SpfOutcome.NEUTRAL,
}


class SpfResult(NamedTuple):
    """How one sending address fares at one domain, and what decided it."""

    outcome: SpfOutcome
    domain: str
    ip: Address
    term: str = ""  # the mechanism that matched
    problem: str = ""  # why it is an error
    lookups: int = 0
    voids: int = 0
    explanation: str = ""  # what the domain's owner tells a refused sender


class Inconclusive(Exception):
    """The DNS gave no answer: temperror."""


class Broken(Exception):
    """The record cannot be evaluated: permerror."""


@dataclass(slots=True)
class Walk:
    """One evaluation under way: the message, and what it has used of its limits."""

    message: Message
    lookup: Lookup
    lookups: int = 0
    voids: int = 0
    names: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    async def ask(self, name: str, rtype: str) -> tuple[str, ...]:
        """Values at a name; a name that no DNS message can carry has none."""
        if not is_askable(name):
            return ()
        answer = await self.lookup(name, rtype)
        if answer.outcome not in {"found", "absent"}:
            raise Inconclusive(f"{name} {rtype}: {answer.outcome}")
        return answer.values if answer.outcome == "found" else ()

    async def ask_for_term(self, name: str, rtype: str) -> tuple[str, ...]:
        """The same on behalf of a mechanism, where an empty answer counts as void."""
        values = await self.ask(name, rtype)
        if not values:
            self.voids += 1
            if self.voids > MAX_VOIDS:
                raise Broken(f"more than {MAX_VOIDS} look-ups found nothing, the last at {name} {rtype}")
        return values

    def count(self, term: str) -> None:
        """One look-up term more; the eleventh breaks the record."""
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            raise Broken(f"more than {MAX_LOOKUPS} look-ups, at {term}")

    @property
    def host_rtype(self) -> str:
        """The address type that the sender's own address is compared with."""
        return "A" if isinstance(self.message.ip, IPv4Address) else "AAAA"


class Found(NamedTuple):
    """Result of one record: the outcome, the term that decided and the record it stood in."""

    outcome: SpfOutcome
    term: str = ""
    domain: str = ""
    record: SpfRecord | None = None


async def check_host(
    ip: Address,
    domain: str,
    lookup: Lookup,
    *,
    sender: str = "",
    helo: str = "unknown",
    receiver: str = "unknown",
    at_epoch_seconds: int = 0,
) -> SpfResult:
    """SPF result for a message from `ip` that names `domain`; `sender` defaults to postmaster@domain.

    The look-up answers "timeout" once the caller's time is up (20 s by section 4.6.4); this code reads no clock.
    """
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    local, _, sender_domain = sender.rpartition("@")
    walk = Walk(Message(ip, local or "postmaster", sender_domain or domain, helo, receiver, at_epoch_seconds), lookup)
    found, problem = await settled(walk, domain)
    return SpfResult(
        found.outcome, domain, ip, found.term, problem, walk.lookups, walk.voids, await explanation(walk, found)
    )


async def settled(walk: Walk, domain: str) -> tuple[Found, str]:
    """The result with every error turned into its outcome and one sentence."""
    if not is_askable(domain) or "." not in domain.removesuffix("."):
        return Found(SpfOutcome.NONE), "not a full domain name"
    try:
        return await at_domain(walk, domain), ""
    except Inconclusive as error:
        return Found(SpfOutcome.TEMPERROR), str(error)[:MAX_PROBLEM]
    except (Broken, SpfSyntax) as error:
        return Found(SpfOutcome.PERMERROR), str(error)[:MAX_PROBLEM]


async def at_domain(walk: Walk, domain: str) -> Found:
    """Evaluate the record at `domain` (sections 4.4 to 4.7)."""
    texts = spf_texts(await walk.ask(domain, "TXT"))
    if not texts:
        return Found(SpfOutcome.NONE)
    if len(texts) != 1:
        raise Broken(f"{domain} has {len(texts)} SPF records")
    record = parse_spf(texts[0])
    for term in record.directives:
        if await matches(walk, term, domain):
            return Found(QUALIFIED[term.qualifier], term.text, domain, record)
    if record.redirect is None:
        return Found(SpfOutcome.NEUTRAL, "", domain, record)
    return await redirected(walk, record.redirect, domain)


async def redirected(walk: Walk, target: str, domain: str) -> Found:
    """The record of another domain takes over; without one it is an error (section 6.1)."""
    walk.count(f"redirect={target}")
    name = await target_name(walk, target, domain)
    found = await at_domain(walk, name)
    if found.outcome is SpfOutcome.NONE:
        raise Broken(f"redirect={target}: {name} has no SPF record")
    return found


async def matches(walk: Walk, term: Directive, domain: str) -> bool:
    """Whether the mechanism covers the sender (section 5)."""
    if term.name == "all":
        return True
    if term.network is not None:
        return walk.message.ip in term.network
    if term.name in COSTS_A_LOOKUP:
        walk.count(term.text)
    name = await target_name(walk, term.domain, domain) if term.domain else domain
    return await MECHANISMS[term.name](walk, term, name)


async def include(walk: Walk, term: Directive, name: str) -> bool:
    """Only a pass of the included record matches; a missing record is an error (section 5.2)."""
    found = await at_domain(walk, name)
    if found.outcome is SpfOutcome.NONE:
        raise Broken(f"{term.text}: {name} has no SPF record")
    return found.outcome is SpfOutcome.PASS


async def a(walk: Walk, term: Directive, name: str) -> bool:
    """The sender is one of the host's addresses, up to the prefix (section 5.3)."""
    return covered(walk, term, await walk.ask_for_term(name, walk.host_rtype))


async def mx(walk: Walk, term: Directive, name: str) -> bool:
    """The sender is an address of one of at most ten mail exchanges (section 5.4)."""
    hosts = [value.split()[-1] for value in await walk.ask_for_term(name, "MX") if value.split()]
    if len(hosts) > MAX_EXCHANGES:
        raise Broken(f"{term.text}: {name} has more than {MAX_EXCHANGES} mail exchanges")
    for host in hosts:
        if host != "." and covered(walk, term, await walk.ask(host, walk.host_rtype)):
            return True
    return False


async def ptr(walk: Walk, term: Directive, name: str) -> bool:  # noqa: ARG001  one signature for all mechanisms
    """A confirmed reverse name lies under the target (section 5.5)."""
    try:
        await walk.ask_for_term(walk.message.ip.reverse_pointer, "PTR")
        names = await confirmed_names(walk)
    except Inconclusive:
        return False
    return any(is_under(found, name) for found in names)


async def exists(walk: Walk, term: Directive, name: str) -> bool:  # noqa: ARG001  one signature for all mechanisms
    """Any A record at all, whatever the sender's address family (section 5.7)."""
    return bool(await walk.ask_for_term(name, "A"))


MECHANISMS: Final = {"include": include, "a": a, "mx": mx, "ptr": ptr, "exists": exists}


def covered(walk: Walk, term: Directive, values: tuple[str, ...]) -> bool:
    """Whether one of these addresses is the sender's within the mechanism's prefix."""
    ip = walk.message.ip
    prefix = term.prefix_4 if isinstance(ip, IPv4Address) else term.prefix_6
    shift = ip.max_prefixlen - prefix
    return any(
        address.version == ip.version and int(address) >> shift == int(ip) >> shift
        for address in map(address_of, values)
        if address
    )


async def confirmed_names(walk: Walk) -> tuple[str, ...]:
    """Reverse names of the sender whose own addresses contain it; the first ten are looked at (section 5.5)."""
    reverse = walk.message.ip.reverse_pointer
    if reverse not in walk.names:
        names = (await walk.ask(reverse, "PTR"))[:MAX_PTR_NAMES]
        walk.names[reverse] = tuple([name.removesuffix(".") for name in names if await is_confirmed(walk, name)])
    return walk.names[reverse]


async def is_confirmed(walk: Walk, name: str) -> bool:
    """Whether the name leads back to the sender; an error here only drops the name."""
    try:
        return walk.message.ip in map(address_of, await walk.ask(name, walk.host_rtype))
    except Inconclusive:
        return False


async def target_name(walk: Walk, spec: str, domain: str) -> str:
    """A domain-spec with its macros filled in."""
    if "%" in spec:
        spec = await expand(spec, walk.message, domain, lambda: validated_name(walk, domain))
    return fitted(spec)


async def validated_name(walk: Walk, domain: str) -> str:
    """The macro `p`: the sender's confirmed name, that of the domain itself or below it first (section 7.3)."""
    try:
        names = await confirmed_names(walk)
    except Inconclusive:
        names = ()
    near = sorted(names, key=lambda name: (name.lower() != domain.lower(), not is_under(name, domain)))
    return near[0] if near else "unknown"


async def explanation(walk: Walk, found: Found) -> str:
    """What the owner says to a refused sender; empty when anything about it is amiss (section 6.2)."""
    if found.outcome is not SpfOutcome.FAIL or found.record is None or found.record.explanation is None:
        return ""
    try:
        texts = await walk.ask(await target_name(walk, found.record.explanation, found.domain), "TXT")
        if len(texts) != 1 or not is_macro_string(texts[0].replace(" ", "")):
            return ""
        return await expand(texts[0], walk.message, found.domain, lambda: validated_name(walk, found.domain))
    except (Inconclusive, SpfSyntax):
        return ""


@lru_cache(maxsize=1024)  # the same hosts are named by many domains
def address_of(text: str) -> Address | None:
    """An address as DNS spells it, None for anything else."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_askable(name: str) -> bool:
    """Whether a DNS question can carry the name: ASCII, no empty or overlong label, 253 characters in all."""
    name = name.removesuffix(".")
    return len(name) <= MAX_NAME and name.isascii() and LABELS.fullmatch(name) is not None
