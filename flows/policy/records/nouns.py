"""What is said of DNS records: what should stand, what stands, and who said so."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final, Literal, Protocol

from flows.policy.dkim import DkimRecord
from flows.policy.dmarc import FIRST
from flows.policy.spf import SpfResult

Outcome = Literal["found", "absent", "servfail", "refused", "timeout", "broken", "budget"]
CONCLUSIVE: Final = frozenset({"found", "absent"})


class Need(StrEnum):
    """Required gates going live; conditional belongs to a consent or a feature; optional is convenience."""

    REQUIRED = "required"
    CONDITIONAL = "conditional"
    OPTIONAL = "optional"


class Merge(StrEnum):
    """How a record of ours meets what already stands at its name."""

    MERGE_SPF = "merge_spf"
    MERGE_DMARC = "merge_dmarc"
    EXACT = "exact"  # the whole set is ours, or it is a conflict
    ADD = "add"  # our values beside whatever else stands there


class Holder(StrEnum):
    """In whose hands the record lies."""

    TENANT = "tenant"
    PLATFORM = "platform"
    PROVIDER = "provider"  # the reverse zone of the server's provider


WHO_ACTS: Final[Mapping[Holder, Literal["dns", "provider"]]] = {
    Holder.TENANT: "dns", Holder.PLATFORM: "provider", Holder.PROVIDER: "provider",
}  # fmt: skip
"""What a run waits for that misses a record: a tenant's patience is counted by days and ends the run, that for whoever
else serves a zone by hours and ends with an operator."""


@dataclass(frozen=True, slots=True)
class HostAddress:
    """One address of a mail host under the one name it greets with."""

    name: str
    ip: IPv4Address


@dataclass(frozen=True, slots=True)
class DomainPlan:
    """Everything the records of one domain follow from. Every host the domain sends from is in `hosts`."""

    domain: str
    hosts: tuple[HostAddress, ...]
    sending_ip: IPv4Address
    standby_ips: tuple[IPv4Address, ...]
    dkim: tuple[DkimRecord, ...]
    dmarc_rua: str | None  # mailbox address without mailto:; the platform's own one when a platform zone is set
    platform_zone: str | None
    label: str | None  # the domain's opaque token below the platform zone
    manage_mx: bool
    verification_token: str
    dmarc_start: str = FIRST  # its DMARC record without report addresses
    ttl_seconds: int = 300  # while onboarding or rotating; 3600 once settled


@dataclass(frozen=True, slots=True)
class ExpectedRecord:
    """One record set that should stand. TXT values are whole, however they are split on the wire; `ttl` in seconds."""

    key: str
    name: str
    rtype: str
    values: tuple[str, ...]
    need: Need
    merge: Merge
    ttl: int
    holder: Holder = Holder.TENANT
    consent: bool = True  # False: what stands there is the tenant's own affair
    ips: tuple[IPv4Address, ...] = ()  # the addresses the record is about: SPF, A, PTR


class RecordSet(Protocol):
    """What stands at a name and type now; TXT values with their strings joined."""

    @property
    def values(self) -> tuple[str, ...]: ...  # noqa: D102  explained above

    @property
    def ttl(self) -> int: ...  # noqa: D102  explained above, in seconds


@dataclass(frozen=True, slots=True)
class ObservedAnswer:
    """What one server said to one question. Absent is NXDOMAIN or an empty answer, nothing else."""

    outcome: Outcome
    values: tuple[str, ...]
    ttl_seconds: int | None
    server: str
    asked_at: datetime
    soa_serial: int | None = None
    endless: tuple[str, ...] = ()  # aliases that were followed and came to no end


@dataclass(frozen=True, slots=True)
class Stray:
    """What stands at a name where the record does not belong, asked for after a FAIL."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Observations:
    """All that was seen of one expected record. `authority` has one entry for each server asked, silent ones too."""

    authority: tuple[ObservedAnswer, ...]
    recursive: tuple[ObservedAnswer, ...]
    spf: tuple[SpfResult, ...] = ()  # one for each address that must pass
    unvalidated: tuple[ObservedAnswer, ...] = ()  # the recursive questions again with checking disabled
    elsewhere: tuple[Stray, ...] = ()  # answers at the names of `suspects`
    disagreeing_since: datetime | None = None  # first time the authorities were seen to differ
