"""PTR, forward confirmation and HELO of a sending address."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from flows.policy.names import same_form
from flows.policy.verdict import Truth, Verdict

PROVIDER_MARKS: Final = ("hwsrv-",)


def judge_ptr(subject: str, ip: IPv4Address, hostname: str, names: Sequence[str]) -> Verdict:
    """PASS when a PTR of the address is the host's name; one that the provider made up has its own reason."""
    found = tuple(same_form(name) for name in names)
    expected = same_form(hostname)
    if expected in found:
        others = len(found) - 1
        warnings = (f"{others} more PTR names: receivers may pick any of them",) if others else ()
        return Verdict(subject, Truth.PASS, expected=expected, found=found, warnings=warnings)
    if not found:
        return Verdict(subject, Truth.FAIL, "ptr_missing", expected, (), f"set the PTR of {ip} to {expected}")
    if any(is_provider_default(name, ip) for name in found):
        return Verdict(
            subject, Truth.FAIL, "ptr_default", expected, found, f"the provider's own name stands: set it to {expected}"
        )
    return Verdict(subject, Truth.FAIL, "ptr_mismatch", expected, found, f"set the PTR of {ip} to {expected}")


def judge_forward(subject: str, ip: IPv4Address, hostname: str, addresses: Sequence[str]) -> Verdict:
    """PASS when the host's name leads to the address; more addresses are allowed."""
    found = tuple(addresses)
    if str(ip) in found:
        return Verdict(subject, Truth.PASS, expected=str(ip), found=found)
    reason = "a_mismatch" if found else "a_missing"
    fix = f"publish {same_form(hostname)} A {ip}"
    return Verdict(subject, Truth.FAIL, reason, str(ip), found, fix)


def judge_greeting(subject: str, hostname: str, greeting: str) -> Verdict:
    """PASS when the name that the server gave, in HELO or in its banner, is the host's name."""
    expected, found = same_form(hostname), same_form(greeting)
    if found == expected:
        return Verdict(subject, Truth.PASS, expected=expected, found=(found,))
    return Verdict(
        subject, Truth.FAIL, "helo_mismatch", expected, (found,), f"the mail server must call itself {expected}"
    )


def is_provider_default(name: str, ip: IPv4Address) -> bool:
    """Whether the name is one that a provider gives by itself: it carries the address or a known mark."""
    name = same_form(name)
    octets = str(ip).split(".")
    spellings = {mark.join(order) for mark in (".", "-") for order in (octets, octets[::-1])}
    return any(mark in name for mark in PROVIDER_MARKS) or any(spelling in name for spelling in spellings)
