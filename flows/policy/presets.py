"""Policy numbers as we ship them: rows named by kind, name and version, never edited once released.

A changed number is a new version.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Preset:
    """One row of `policy_presets`; `body` is JSON."""

    kind: str
    name: str
    version: int
    body: Mapping[str, Any]


def ramp_of(name: str, subject: str, **body: Any) -> Preset:
    """A warm-up ramp: `shape` says how the target of a sending day follows from the figures; volumes are messages."""
    return Preset("warmup_ramp", name, 1, {"subject": subject, **body})


RAMPS: Final = (
    ramp_of(
        "penguin-careful-40", "mailbox", shape="points", cap=40, points=[[1, 5], [4, 8], [8, 14], [14, 24], [21, 40]]
    ),
    ramp_of(
        "penguin-band-21",
        "mailbox",
        shape="points",
        cap=100,
        points=[[1, 5], [3, 10], [4, 10], [7, 25], [8, 25], [14, 50], [15, 50], [21, 100]],
    ),
    ramp_of("gentle-plus1", "mailbox", shape="increment", cap=40, first=10, per_day=1),
    ramp_of("slow-plus2", "mailbox", shape="increment", cap=50, first=5, per_day=2),
    ramp_of("background", "mailbox", shape="increment", cap=5, first=5, per_day=0),
    ramp_of("ip-standard-30", "ip", shape="geometric", cap=1200, first=50, days=30),
    ramp_of("ip-slow", "ip", shape="factor", cap=1200, first=50, factor=1.3, every_days=3),
    ramp_of("ip-fast", "ip", shape="factor", cap=1200, first=200, factor=1.25, every_days=1),
    # Totals of a domain, not of each mailbox (DL-A4).
    ramp_of("domain-42", "domain", shape="linear", cap=500, first=10, days=42),
    ramp_of("domain-28", "domain", shape="linear", cap=1000, first=20, days=28),
    ramp_of("domain-56", "domain", shape="linear", cap=300, first=5, days=56),
)

DNS_STATUS: Final = Preset(
    "thresholds",
    "dns-status",
    1,
    {
        "fails_to_failed": 3,
        "fail_span_seconds": 3600,
        "passes_to_verified": 1,
        "passes_when_flapping": 2,
        "flaps_in_24_hours": 3,
        "unknowns_to_alert": 10,
        "disagreement_fails_after_seconds": 86400,
        "pending_steps_seconds": [60, 120, 300, 900, 1800],
        "jitter": 0.1,
    },
)
CANARY: Final = Preset("thresholds", "canary", 1, {"cap_per_day": 20})
BLOCKLISTS: Final = Preset(
    "thresholds",
    "blocklists",
    1,
    {
        "self_test": {"good_for_seconds": 21600, "every_seconds": 18000, "retry_seconds": 600, "passes_to_return": 2},
        "tiers": {
            "1": {"confirm_seconds": 300, "listed_seconds": 1800, "sending_seconds": 3600, "idle_seconds": 43200},
            "2": {"confirm_seconds": 3600, "listed_seconds": 7200, "sending_seconds": 21600, "idle_seconds": 86400},
            "3": {"confirm_seconds": 0, "listed_seconds": 86400, "sending_seconds": 86400, "idle_seconds": 86400},
        },
        "delist_seconds": 3600,
        "retry_unknown_seconds": 900,
        "jitter": 0.1,
    },
)
RETENTION: Final = Preset(
    "retention",
    "standard",
    2,
    {  # days, by the name of a rule in sql/retention.py
        "email_opens": 90,
        "email_clicks": 90,
        "email_bounces": 180,
        "email_replies": 180,
        "email_complaints": 180,
        "warmup_interactions": 180,
        "jobs_completed": 7,
        "jobs_failed": 365,
        "job_logs": 30,
        "notifications": 365,
        "system_notifications": 365,
        "dns_checks": 90,
        "delivery_proofs": 90,
        "blacklist_checks": 730,
        "infrastructure_events": 730,
        "reputation_history": 730,
        "acme_orders": 365,  # the authorities' limits look back a week at most
    },
)

SHIPPED: Final = (*RAMPS, DNS_STATUS, CANARY, BLOCKLISTS, RETENTION)
DEFAULT_RAMP: Final[Mapping[str, str]] = {
    "mailbox": "penguin-careful-40",
    "ip": "ip-standard-30",
    "domain": "domain-42",
}


def preset(kind: str, name: str) -> Preset:
    """The newest shipped version of a preset; KeyError when there is none of that name."""
    found = [row for row in SHIPPED if (row.kind, row.name) == (kind, name)]
    if not found:
        raise KeyError(f"no shipped {kind} is called {name}")
    return max(found, key=lambda row: row.version)


def default_ramp(subject: str) -> Preset:
    """The ramp that a mailbox, IP or domain gets when nobody chose one."""
    return preset("warmup_ramp", DEFAULT_RAMP[subject])


def first_day(ramp: Preset) -> int:
    """Messages allowed on the first sending day; the host refuses more than this until a plan exists."""
    body = body_of_ramp(ramp)
    return int(body["points"][0][1] if body["shape"] == "points" else body["first"])


def last_step(ramp: Preset) -> int:
    """The sending day on which the ramp reaches its cap; day 1 when it is flat."""
    body = body_of_ramp(ramp)
    match body["shape"]:
        case "points":
            return int(body["points"][-1][0])
        case "geometric" | "linear":
            return int(body["days"])
        case "increment":
            return 1 + ceil((body["cap"] - body["first"]) / body["per_day"]) if body["per_day"] else 1
        case _:
            steps = ceil(log(body["cap"] / body["first"]) / log(body["factor"]))
            return 1 + steps * int(body["every_days"])


def body_of_ramp(ramp: Preset) -> Mapping[str, Any]:
    """The figures of a warm-up ramp; ValueError for a preset of another kind."""
    if ramp.kind != "warmup_ramp":
        raise ValueError(f"{ramp.name} is no ramp")
    return ramp.body
