"""What any VPS provider offers to the flows: a small interface and its nouns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any, Literal, Protocol

from pydantic import SecretStr


class ServerState(StrEnum):
    """A provider's own status word, reduced to what a flow can act on."""

    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    ERROR = "error"
    DELETED = "deleted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Server:
    """One server as the provider describes it, without secrets."""

    provider: str
    provider_id: str
    token: str
    state: ServerState
    busy: bool  # a task of the provider is still running on it
    locked: bool
    ipv4_main: IPv4Address | None
    plan: str | None = None
    image: str | None = None
    region: str | None = None
    created_at: str | None = None  # the provider's own words: no time zone is promised
    details: dict[str, Any] = field(default_factory=dict[str, Any])  # allow-listed fields only


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What to order, in the provider's own ids."""

    plan: str
    image: str
    region: str
    billing_cycle: str = "monthly"
    ssh_key_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider's word that an order was taken; accepted is not done."""

    complete: bool  # False: paid, but the reply does not say that a server is being made
    server: Server | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InitialAccess:
    """How to log in for the first time. The password never leaves the bootstrap step."""

    user: str
    password: SecretStr


@dataclass(frozen=True, slots=True)
class SmtpFilter:
    """An outgoing mail block that the provider placed on a server."""

    kind: str
    created: str
    invoice_id: str | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a flow may ask of a provider; a flow asks this, never the provider's name."""

    name_unique: bool
    create_returns_id: bool
    add_ip: bool
    ptr_clear: bool
    ptr_needs_forward: bool
    smtp_filter_read: bool
    rate_per_second: float


class VpsProvider(Protocol):
    """What flows ask of a provider; each is one call there."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, as far as is known."""
        ...

    @property
    def oddities(self) -> Mapping[str, int]:
        """Counts of replies that were not as expected, for an operator's eye."""
        ...

    async def find_by_token(self, token: str) -> list[Server]:
        """Servers that carry exactly this token; empty is a positive answer, a failure raises."""
        ...

    async def list_servers(self) -> list[Server]:
        """All servers of the account."""
        ...

    async def get_server(self, provider_id: str) -> Server:
        """One server; NotFound when it does not exist or is not ours."""
        ...

    async def create_server(self, spec: ServerSpec, token: str) -> Accepted:
        """Order one paid server. Called once; never repeated inside."""
        ...

    async def destroy_server(self, provider_id: str, token: str) -> None:
        """End a server for ever; Rejected when its token is another one."""
        ...

    async def power(self, provider_id: str, action: Literal["on", "off", "restart"]) -> None:
        """Switch a server; accepted only, the effect is read back by the caller."""
        ...

    async def list_ips(self, provider_id: str) -> list[IPv4Address]:
        """All addresses of a server, the main one included."""
        ...

    async def add_ip(self, provider_id: str) -> None:
        """Buy one more address; Rejected without the capability."""
        ...

    async def remove_ip(self, provider_id: str, address: IPv4Address) -> None:
        """Give an extra address back; never the main one."""
        ...

    async def set_ptr(self, provider_id: str, address: IPv4Address, name: str) -> None:
        """Ask for a PTR record; accepted only, DNS decides."""
        ...

    async def smtp_filters(self, provider_id: str) -> list[SmtpFilter]:
        """Outgoing mail blocks placed on this server; empty means none is known to the provider."""
        ...

    async def initial_access(self, provider_id: str) -> InitialAccess:
        """First login, for the bootstrap step alone."""
        ...

    async def catalogues(self) -> Mapping[str, str]:
        """What may be ordered, list by list as the provider prints it, secrets masked; for an operator's eye."""
        ...

    async def probe(self) -> Mapping[str, str]:
        """What each reading call answers for a server that does not exist. Nothing is changed or bought."""
        ...

    async def source_address(self) -> IPv4Address:
        """The address our packets to the provider leave with."""
        ...
