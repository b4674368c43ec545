"""Our survey over many domains in a process of its own: `PORT WAY COUNT ROUNDS`, one JSON line with its cost."""

import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from flows.collector import seldom_collecting
from flows.domains.surveying import survey
from flows.policy.verdict import Truth
from providers.resolver import Answer, Inquiry, Outcome, Resolver
from providers.resolver.library import HOLDS_NAMES
from tests.benchmarks.dns_world import SELECTORS, domain_names

AT_ONCE = 100


class Counting:
    """Ours, with the questions of one subject's inquiry counted."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver, self.last = resolver, resolver.inquiry(0)

    def inquiry(self, most: int, *, seconds: float = 60) -> Inquiry:
        self.last = self.resolver.inquiry(most, seconds=seconds)
        return self.last


class ByLibrary:
    """The same questions put through dnspython's own resolver, with the same memory for one domain."""

    def __init__(self, port: int) -> None:
        self.resolver = dns.asyncresolver.Resolver(configure=False)
        self.resolver.nameservers, self.resolver.port = ["127.0.0.1"], port

    def inquiry(self, most: int, *, seconds: float = 60) -> "ByLibraryOnce":  # noqa: ARG002  as a resolver has it
        return ByLibraryOnce(self)


class ByLibraryOnce:
    def __init__(self, of: ByLibrary) -> None:
        self.of, self.known, self.asked = of, dict[tuple[str, str], Answer](), 0

    async def learn_all(self, wanted: Iterable[tuple[str, str]]) -> None:
        await asyncio.gather(*(self.ask(*one) for one in wanted))

    async def ask(self, name: str, rtype: str) -> Answer:
        key = name.lower().rstrip("."), rtype
        if key not in self.known:
            self.asked += 1
            self.known[key] = await self.heard(*key)
        return self.known[key]

    async def heard(self, name: str, rtype: str) -> Answer:
        now = datetime.now(UTC)
        try:
            found = await self.of.resolver.resolve(f"{name}.", rtype, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return Answer(Outcome.ABSENT, (), None, "", now, "NXDOMAIN", nxdomain=True)
        except dns.exception.DNSException as error:
            return Answer(Outcome.SERVFAIL, (), None, "", now, type(error).__name__)
        if found.rrset is None:
            return Answer(Outcome.ABSENT, (), None, "", now, "NOERROR")
        values = [text(record, rtype) for record in found.rrset]
        return Answer(Outcome.FOUND, tuple(sorted(values)), found.rrset.ttl, "", now, "NOERROR")


def text(record: Any, rtype: str) -> str:
    if rtype == "TXT":
        return b"".join(record.strings).decode(errors="backslashreplace")
    return record.to_text().lower() if rtype in HOLDS_NAMES else record.to_text()


async def surveyed(resolver: Any, names: Sequence[str]) -> tuple[list[str], int]:
    """Names of which nothing is wrong, and how many questions that took."""
    right, waiting, asked = list[str](), iter(names), 0

    async def work() -> None:
        nonlocal asked
        counting = Counting(resolver)
        for name in waiting:
            verdicts = await survey(counting, name, selectors=SELECTORS)  # type: ignore[arg-type]  two kinds of resolver
            asked += counting.last.asked
            if all(verdict.truth is Truth.PASS for verdict in verdicts):
                right.append(name)

    with seldom_collecting():  # as a sweep does
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return right, asked


async def main() -> None:
    port, way, count, rounds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    resolver: Any = Resolver(["127.0.0.1"], port=port) if way == "ours" else ByLibrary(port)
    names = domain_names(count)
    gc.freeze()  # what was imported, by us or by a peer, is no part of the work
    began, cpu = time.perf_counter(), time.process_time()
    right, asked = list[str](), 0
    for _ in range(rounds):
        right, more = await surveyed(resolver, names)
        asked += more
    print(json.dumps({
        "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "asked": asked,
        "right": sorted(right), "domains": count * rounds,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
