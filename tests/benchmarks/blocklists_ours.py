"""Our own look over some addresses: `PORT ADDRESSES LISTS`, one JSON line with its cost."""

import asyncio
import gc
import json
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace

from flows.blocklists.lists import Known, findings
from flows.collector import seldom_collecting
from flows.policy.blocklists import Blocklist, Code, Finding, Kind, Probe, Trust, TrustState
from flows.policy.verdict import Truth
from providers.blocklists import Blocklists, ListZone
from providers.resolver import Resolver

CHUNK = 200  # what a sweep takes at once (blocklists.chunk)


def known(number: int) -> Known:
    now = datetime.now(UTC)
    blocklist = Blocklist(
        f"list{number}", f"list {number}", 2, {Kind.IPV4: Probe("127.0.0.2", "127.0.0.1")},
        (Code("127.0.0.2", "listed", tier=2), Code("127.0.0.10-11", "policy", tier=2)),
    )  # fmt: skip
    state = TrustState(Trust.TRUSTED, "ok", now, now)
    return Known(blocklist, ListZone(f"list{number}.bench.example"), {Kind.IPV4: state})


async def main() -> None:
    port, addresses, count = map(int, sys.argv[1:4])
    asked = Blocklists(Resolver(["127.0.0.1"], port=port), keys={}, public_mirrors_allowed=False)
    r = SimpleNamespace(blocklists=asked)  # all that a look needs of the resources
    lists = [known(number) for number in range(count)]
    names = [f"192.0.{n // 250}.{n % 250}" for n in range(addresses)]
    gc.freeze()  # what was imported, by us or by a peer, is no part of the work
    began, cpu = time.perf_counter(), time.process_time()
    found: list[list[Finding]] = []
    for start in range(0, addresses, CHUNK):
        with seldom_collecting():  # as a sweep does
            found += await asyncio.gather(*(findings(r, lists, name) for name in names[start : start + CHUNK]))
    cost = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    truths = [one.verdict.truth for of_address in found for one in of_address]
    print(json.dumps({**cost, "listed": truths.count(Truth.FAIL), "failed": truths.count(Truth.UNKNOWN)}))


asyncio.run(main())
