"""Failures on demand: armed over the admin socket, used up by the requests they are meant for."""

import threading
from dataclasses import dataclass, field
from typing import Any

REPLY_LOST = frozenset({"lost_reply", "hang_reply", "late_effect", "drop_before", "refuse_connect"})
BAD_REPLY = frozenset(
    {
        "html_520",
        "http_502",
        "http_503",
        "http_429",
        "redirect_302",
        "truncated_json",
        "empty_body",
        "unknown_shape",
        "empty_list",
    }
)
MONEY = frozenset({"partial_paid", "paid_only", "payment_declined", "double_create", "hourly_disabled"})
LABEL = frozenset({"label_dropped", "label_truncated", "label_changed_case", "duplicate_label"})
AUTH_SHAPES = ("auth_200", "auth_bare", "auth_401", "auth_403", "edge_403_html")
AUTH = frozenset({*AUTH_SHAPES, "key_expired", "peer_not_listed"})
SHAPES = frozenset(
    {
        "list_as_object",
        "object_as_empty_list",
        "no_success_wrapper",
        "numbers_as_strings",
        "null_bandwidth",
        "ips_null",
        "ips_string",
        "missing_task_state",
        "lower_case_status",
        "unknown_status",
        "row_without_serviceid",
    }
)
READS = frozenset({"slow_read", "stale_list", "missing_from_list_once"})
LIFE = frozenset(
    {
        "stuck_build",
        "build_error",
        "suspend",
        "ip_changes_during_build",
        "ssh_never",
        "ssh_flap",
        "boot_slow",
        "boot_degraded",
    }
)
NO_EFFECT = frozenset({"accept_without_effect", "ptr_never", "ip_cooldown"})
LOCK = frozenset({"locked_refuses"})
NETWORK = frozenset({"port25_blocked", "port25_in_blocked", "smtp_filter", "ip_prelisted", "ip_not_routed"})
DRIFT = frozenset({"action_gone"})

GROUPS = {
    "reply lost": REPLY_LOST,
    "bad reply": BAD_REPLY,
    "money": MONEY,
    "label": LABEL,
    "auth": AUTH,
    "shapes": SHAPES,
    "reads": READS,
    "life cycle": LIFE,
    "no effect": NO_EFFECT,
    "lock": LOCK,
    "network": NETWORK,
    "drift": DRIFT,
}
NAMES = frozenset(name for names in GROUPS.values() for name in names)

# Options a fault may carry beside `action`, `label`, `times` and `after`.
OPTIONS = frozenset({"effect", "seconds", "retry_after", "length", "word", "scope", "zone", "code", "type", "changes"})


@dataclass(slots=True)
class Fault:
    """One armed switch. Without an action or label it meets every request; `times` None is for ever."""

    name: str
    action: str | None = None
    label: str | None = None
    times: int | None = 1
    after: int = 0  # matching requests it lets pass first
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def meets(self, action: str, label: str) -> bool:
        """Tell whether it is meant for such a request."""
        return self.action in {None, action} and self.label in {None, label}

    @property
    def effect(self) -> bool:
        """Whether the request is carried out although its answer is spoilt."""
        return bool(self.options.get("effect", True))

    def number(self, option: str, default: float) -> float:
        """Return a numeric option."""
        return float(self.options.get(option, default))


class Faults:
    """All armed switches of one emulator; safe between threads."""

    def __init__(self) -> None:
        """Start without a failure."""
        self._armed: list[Fault] = []
        self._lock = threading.Lock()

    def arm(self, fault: Fault) -> None:
        """Arm a switch; ValueError for a name or an option that does not exist, so that no test passes by a typo."""
        if fault.name not in NAMES:
            raise ValueError(f"no fault is called {fault.name!r}")
        if unknown := set(fault.options) - OPTIONS:
            raise ValueError(f"no fault has the option {', '.join(sorted(unknown))}")
        with self._lock:
            self._armed.append(fault)

    def clear(self) -> None:
        """Disarm everything."""
        with self._lock:
            self._armed.clear()

    def armed(self) -> list[Fault]:
        """Return what is still armed."""
        with self._lock:
            return list(self._armed)

    def take(self, name: str, action: str, label: str = "") -> Fault | None:
        """Use a switch up once for this request; None when none is meant for it."""
        with self._lock:
            for fault in self._armed:
                if fault.name == name and fault.meets(action, label):
                    return self._use(fault)
        return None

    def take_first(self, names: frozenset[str], action: str, label: str = "") -> Fault | None:
        """Use up the first armed of several switches."""
        for fault in self.armed():
            if fault.name in names and (taken := self.take(fault.name, action, label)):
                return taken
        return None

    def _use(self, fault: Fault) -> Fault | None:
        if fault.after > 0:
            fault.after -= 1
            return None
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self._armed.remove(fault)
        return fault
