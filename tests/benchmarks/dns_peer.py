"""checkdmarc's record checks over some domains, in its own environment: `PORT COUNT`, one JSON line with its cost."""

# Run with -P: the neighbour dns.py must not stand in front of dnspython.
import gc
import json
import sys
import time

import checkdmarc.dmarc
import checkdmarc.mta_sts
import checkdmarc.smtp
import checkdmarc.smtp_tls_reporting
import checkdmarc.spf
import checkdmarc.utils
import dns.resolver

ASKED = [0]
RESOLVE = dns.resolver.Resolver.resolve


def counted(self, *args, **options):
    ASKED[0] += 1
    return RESOLVE(self, *args, **options)


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    dns.resolver.Resolver.resolve = counted
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], port
    gc.freeze()  # what was imported, by us or by a peer, is no part of the work
    began, cpu, right = time.perf_counter(), time.process_time(), []
    for number in range(count):
        name, good = f"d{number}.bench.example", True
        for check in (
            checkdmarc.smtp.check_mx, checkdmarc.spf.check_spf, checkdmarc.dmarc.check_dmarc,
            checkdmarc.mta_sts.query_mta_sts_record, checkdmarc.smtp_tls_reporting.check_smtp_tls_reporting,
        ):  # fmt: skip
            options = {"skip_tls": True} if check is checkdmarc.smtp.check_mx else {}
            try:
                found = check(name, resolver=resolver, **options)
            except Exception:  # noqa: BLE001  whatever it says of a broken domain
                good = False
            else:
                good &= "error" not in found and found.get("valid", True)
        right += [name] * good
    print(json.dumps({
        "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "asked": ASKED[0], "right": right,
        "domains": count,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
