"""Names to ask a list for: reversed octets, reversed nibbles, or the domain as it is (RFC 5782, 2.1, 2.4, 3)."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from flows.policy.blocklists.nouns import Kind
from flows.policy.names import host_name

REGISTRABLE_LABELS: Final = 2  # nothing above `name.tld` is anybody's own domain


def kind_of(subject: str) -> Kind:
    """Address or domain; ValueError with one sentence for what is neither."""
    address = _address(subject)
    if address is None:
        host_name(subject)
        return Kind.DOMAIN
    return Kind.IPV4 if address.version == 4 else Kind.IPV6  # noqa: PLR2004  that is its name


def label_of(subject: str) -> str:
    """What stands before the list's zone in a question, without the final dot."""
    address = _address(subject)
    if isinstance(address, IPv4Address):
        return ".".join(reversed(str(address).split(".")))
    if isinstance(address, IPv6Address):
        return ".".join(reversed(address.exploded.replace(":", "")))
    return subject.lower().rstrip(".")


def lookups(subject: str) -> tuple[str, ...]:
    """The subjects to ask for one: an address alone; a domain and its parents, for lists that hold registered names."""
    if kind_of(subject) is not Kind.DOMAIN:
        return (subject,)
    labels = host_name(subject).split(".")
    return tuple(".".join(labels[start:]) for start in range(max(1, len(labels) - REGISTRABLE_LABELS + 1)))


def _address(subject: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(subject)
    except ValueError:
        return None
