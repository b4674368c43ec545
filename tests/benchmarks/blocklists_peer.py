"""pydnsbl over some addresses, in its own environment: `PORT ADDRESSES LISTS`, one JSON line with its cost."""

# Run with -P: the neighbour dns.py must not stand in front of a library.
import asyncio
import gc
import json
import sys
import time

import aiodns
from pydnsbl import DNSBLIpChecker
from pydnsbl.providers import Provider


async def main():
    port, addresses, lists = map(int, sys.argv[1:4])
    providers = [Provider(f"list{n}.bench.example") for n in range(lists)]
    checker = DNSBLIpChecker(providers=providers, loop=asyncio.get_running_loop())
    checker._resolver = aiodns.DNSResolver(
        nameservers=["127.0.0.1"], udp_port=port, tcp_port=port, timeout=5, tries=2, loop=asyncio.get_running_loop()
    )
    names = [f"192.0.{n // 250}.{n % 250}" for n in range(addresses)]
    gc.freeze()  # what was imported, by us or by a peer, is no part of the work
    began, cpu = time.perf_counter(), time.process_time()
    results = await asyncio.gather(*(checker.check_async(name) for name in names))
    cost = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    found = sum(len(result.detected_by) for result in results)
    failed = sum(len(result.failed_providers) for result in results)
    print(json.dumps({**cost, "listed": found, "failed": failed}))


asyncio.run(main())
