"""What the flows say about a mail host: its names, addresses, domains, mailboxes and caps."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address
from typing import Literal

from flows.policy import verp

# What may stand in a map or a table of a daemon without meaning something else there.
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
LOCAL_PART = re.compile(r"[a-z0-9][a-z0-9._'=&-]*")


@dataclass(frozen=True, slots=True)
class SendingAddress:
    """One address mail leaves by, the name it greets with, and its Postfix transport (smtp-ip1, smtp-ip2 …)."""

    ip: IPv4Address
    helo: str
    transport: str
    concurrency: int = 5  # connections to one receiver at a time; 2 while warming
    rate_delay_seconds: int = 1  # between two messages to one receiver; 5 while warming


@dataclass(frozen=True, slots=True)
class DkimSigner:
    """One signing key. It is laid on the host at once, and signs once its record has been seen (`signs`)."""

    selector: str
    algorithm: Literal["rsa", "ed25519"]
    private_pem: str = field(repr=False)
    signs: bool = True


@dataclass(frozen=True, slots=True)
class MailDomain:
    """One sending domain and the transport its mail leaves by; `bounce.<name>` belongs to it."""

    name: str
    transport: str
    dkim: tuple[DkimSigner, ...] = ()
    return_path_keys: tuple[str, ...] = field(default=(), repr=False)  # hex, the newest first; none: no return paths

    @property
    def bounce(self) -> str:
        """The domain of its return paths."""
        return f"{verp.BOUNCE}{self.name}"


@dataclass(frozen=True, slots=True)
class HostMailbox:
    """One mailbox with a login. `password_hash` carries its scheme ({SHA512-CRYPT}, {ARGON2ID})."""

    address: str
    password_hash: str = field(repr=False)
    quota_mb: int
    domain: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """How the host's own resolver finds answers: by itself from the roots, validating, or from forwarders."""

    forwarders: tuple[IPv4Address, ...] = ()


@dataclass(frozen=True, slots=True)
class DailyCaps:
    """The plan of the day: recipients a mailbox and an address may reach. It wears out after `valid_until`."""

    valid_until: datetime
    users: Mapping[str, int]
    addresses: Mapping[IPv4Address, int] = field(default_factory=dict[IPv4Address, int])


@dataclass(frozen=True, slots=True)
class MailHost:
    """A whole mail host. The first address is the one the server came with; null-sender mail leaves by it."""

    hostname: str
    addresses: tuple[SendingAddress, ...]
    domains: tuple[MailDomain, ...]
    mailboxes: tuple[HostMailbox, ...]
    first_day_cap: int  # recipients a mailbox may reach on a day without a plan
    canary_cap: int = 20  # of postmaster@<domain>, which sends the proofs
    caps: DailyCaps | None = None
    resolver: Upstream = Upstream()
    certificate_pem: str | None = None  # with its chain; None keeps what the host has, self-signed at first
    role_recipient: str = ""  # where postmaster@ and abuse@ go when they are no mailbox; feedback@<hostname> if empty

    def __post_init__(self) -> None:
        """Refuse a wish that contradicts itself."""
        if not self.addresses:
            raise ValueError("a mail host has at least the address it came with")
        transports = {address.transport for address in self.addresses}
        if len(transports) != len(self.addresses):
            raise ValueError("every address needs a transport of its own")
        for domain in self.domains:
            if domain.transport not in transports:
                raise ValueError(f"{domain.name} leaves by {domain.transport}, which no address has")
        for name in (*self.mail_domains, *(address.helo for address in self.addresses)):
            if not NAME.fullmatch(name):
                raise ValueError(f"not a host name in small letters: {name!r}")
        for mailbox in self.mailboxes:
            if not LOCAL_PART.fullmatch(mailbox.address.rpartition("@")[0]):
                raise ValueError(f"no mailbox of ours is called {mailbox.address!r}")
            if mailbox.address.rpartition("@")[2] != mailbox.domain or mailbox.domain not in self.mail_domains:
                raise ValueError(f"{mailbox.address} lies outside the domains of this host")

    @property
    def feedback(self) -> str:
        """The mailbox of whatever the world answers to nobody in particular."""
        return f"feedback@{self.hostname}"

    @property
    def mail_domains(self) -> tuple[str, ...]:
        """Every domain this host takes mail for."""
        own = [name for domain in self.domains for name in (domain.name, domain.bounce)]
        return tuple(dict.fromkeys((self.hostname, *own)))

    @property
    def main(self) -> SendingAddress:
        """The address the server came with."""
        return self.addresses[0]
