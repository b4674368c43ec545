"""Whether port 25 of a host is reached from outside: bounces and complaints come back that way."""

from ipaddress import IPv4Address

from flows.policy.verdict import Truth, Verdict

EXPECTED = "a greeting at port 25"


def judge(address: IPv4Address, *, greeted: bool, reaches_others: bool) -> Verdict:
    """FAIL only where the one who asked reaches others' port 25: many networks let nobody out to it."""
    if greeted:
        return Verdict("ingress", Truth.PASS, expected=EXPECTED)
    if reaches_others:
        fix = f"port 25 inwards is blocked at {address}, so no bounce would come back: ask the provider to open it"
        return Verdict("ingress", Truth.FAIL, "ingress_blocked", EXPECTED, ("silence",), fix)
    fix = f"whether port 25 of {address} is reached could not be asked: this network lets nobody out to it"
    return Verdict("ingress", Truth.UNKNOWN, "ingress_unasked", EXPECTED, ("silence",), fix)
