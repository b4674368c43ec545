"""What this stand-in sells, what it costs, and how long things take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

API_PATH = "/cloud/api.php"
CURRENCY = "USD"
PROVIDER_ZONE = "hostwindsdns.com"

# Dollars for each sort of charge.
PRICES: Mapping[str, float] = MappingProxyType(
    {"server": 9.99, "ip": 4.99, "ip_change": 3.0, "cleanup": 25.0, "upgrade": 10.0}
)


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds after an order was accepted; `task_clear_after` counts from ACTIVE.

    `ssh_after` None: the host boots at once and answers when it is ready.
    """

    visible_after: float = 0.0
    active_after: float = 0.0
    task_clear_after: float = 0.0
    ssh_after: float | None = 0.0
    ptr_delay: float = 0.0
    terminate_after: float = 0.0
    ip_visible_after: float = 0.0


# `realistic` is assumed throughout; only its 67 seconds were ever measured.
PROFILES: Mapping[str, Delays] = MappingProxyType(
    {
        "instant": Delays(),
        "demo": Delays(1, 3, 1, None, 2, 1, 2),
        "realistic": Delays(60, 300, 30, 600, 300, 60, 67),
    }
)


@dataclass(frozen=True, slots=True)
class EmulatorConfig:
    """One emulator: its catalogue, its pace and the refusal it answers a wrong key with."""

    api_key: str | None = field(default=None, repr=False)  # of our account; None makes one up
    delays: Delays = field(default_factory=Delays)
    templates: Mapping[str, str] = field(default_factory=lambda: {"debian-12": "bare", "debian-12-mail": "mail"})
    plans: tuple[str, ...] = ("1", "52")
    locations: tuple[str, ...] = ("1", "12")
    refusal: str = "auth_200"  # or auth_bare, auth_401, auth_403
    network: str = "198.51.100"  # addresses .50 to .249 are given out
    first_address: int = 50
    last_address: int = 249
    add_ip_action: str | None = None  # the vendor has none that is known
    seed: int = 7  # of the mixture of types in replies
