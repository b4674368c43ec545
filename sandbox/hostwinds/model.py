"""What the provider knows: accounts, machines, charges, requests, and deeds that are still to be done."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Account:
    """One customer. Two exist, so that somebody else's server is real."""

    name: str
    api_key: str = field(repr=False)
    expires_at: float | None = None
    allow_list: list[str] | None = None  # IPv4 addresses or networks; None admits every IPv4


@dataclass(slots=True)
class Address:
    """A bought address and when the API begins to show it."""

    ip: str
    visible_at: float


@dataclass(slots=True)
class Machine:
    """One server as its owner's panel would show it, times in seconds of the clock."""

    serviceid: int
    account: str
    label: str
    number: int  # digits of the default host name, deliberately not the serviceid
    template: str
    rid: str
    location_id: str
    billingcycle: str
    password: str = field(repr=False)
    uuid: str
    main_ip: str
    created_at: float
    visible_at: float
    active_at: float
    settled_at: float  # from here on no task is shown
    building_ip: str = ""  # shown until `settled_at` where the address changes during the build
    extra: list[Address] = field(default_factory=list[Address])
    filters: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    quirks: dict[str, Any] = field(default_factory=dict[str, Any])  # life-cycle faults it was born with
    pointers: dict[str, str] = field(default_factory=dict[str, str])  # names asked for, by address
    firewall: str = "default"
    busy_until: float = 0.0
    locked: bool = False
    suspended: bool = False
    stopped: bool = False
    gone: bool = False
    failure: str = ""  # why its host could not be made

    @property
    def host(self) -> str:
        """Name of its host in the world."""
        return f"s{self.serviceid}"

    @property
    def hostname(self) -> str:
        """The name the provider gives it."""
        return f"hwsrv-{self.number}.hostwindsdns.com"


@dataclass(slots=True)
class Charge:
    """One line of the bill; lines are only ever added."""

    seq: int
    at: float
    kind: str  # server, ip, ip_change, cleanup, upgrade
    action: str
    serviceid: int | None
    label: str
    amount: float
    currency: str
    by_hook: bool  # a human in the panel did it


@dataclass(slots=True)
class Call:
    """One line of the panel's request log; the key is never in it."""

    seq: int
    at: float
    account: str
    action: str
    serviceid: str
    label: str
    result: str
    violation: bool = False  # an action our product must never use


@dataclass(slots=True)
class Deed:
    """Something that will be true in the world once `due_at` has come; kept until it is done."""

    seq: int
    due_at: float
    what: str
    serviceid: int | None
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    begun: bool = False


@dataclass(slots=True)
class Books:
    """Everything that outlives a restart of the emulator, except the request log."""

    accounts: dict[str, Account] = field(default_factory=dict[str, Account])
    machines: dict[int, Machine] = field(default_factory=dict[int, Machine])
    charges: list[Charge] = field(default_factory=list[Charge])
    deeds: list[Deed] = field(default_factory=list[Deed])
    clock_shift_seconds: float = 0.0
    next_serviceid: int = 900_001
    next_number: int = 512_345
    next_address: int = 0
    next_seq: int = 1

    def take_seq(self) -> int:
        """Return the next number of a list line."""
        self.next_seq += 1
        return self.next_seq - 1

    def as_document(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return asdict(self)


def books_of(document: dict[str, Any]) -> Books:
    """Rebuild the books from what `as_document` gave."""
    books = Books(**document)
    books.accounts = {name: Account(**row) for name, row in document["accounts"].items()}
    books.machines = {int(key): _machine(row) for key, row in document["machines"].items()}
    books.charges = [Charge(**row) for row in document["charges"]]
    books.deeds = [Deed(**row) for row in document["deeds"]]
    return books


def _machine(row: dict[str, Any]) -> Machine:
    machine = Machine(**row)
    machine.extra = [Address(**address) for address in row["extra"]]
    return machine
