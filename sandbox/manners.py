"""Ways in which a receiver can be told to treat mail, as rules of its policy program (receiver_policy.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

GREYLIST_SECONDS = 60
THROTTLE_SECONDS = 60
# Of each manner: the action and the text that goes with it when none is given.
ACTIONS: Mapping[str, tuple[str, str]] = {
    "greylist": ("451", "4.7.1 greylisted, come back later"),
    "defer": ("451", "4.7.1 try again later"),
    "throttle": ("421", "4.7.0 too much mail from your address"),
    "reject": ("550", "5.7.1 this mail is not wanted here"),
    "junk": ("PREPEND", "X-Sandbox-Folder: Junk"),
}
MANNERS = ("accept", *ACTIONS)


def rules_for(
    manner: str,
    *,
    sender: str = "",
    text: str | None = None,
    times: int | None = None,
    seconds: float | None = None,
    above: int = 0,
) -> list[dict[str, Any]]:
    """Write a manner as rules; ValueError when there is none of that name.

    `sender` is how the envelope sender ends (all, when empty), `times` after how many recipients the manner is over,
    `seconds` how long greylisting lasts or over how long throttling counts, `above` how many it lets pass.
    """
    if manner == "accept":
        return []
    if manner not in ACTIONS:
        raise ValueError(f"no manner {manner!r}: it is one of {', '.join(MANNERS)}")
    action, words = ACTIONS[manner]
    rule: dict[str, Any] = {"match": {"sender": sender}, "action": f"{action} {words if text is None else text}"}
    if manner == "junk":
        rule["action"] = f"{action} {words}"
    if manner == "greylist":
        rule["greylist"] = GREYLIST_SECONDS if seconds is None else seconds
    if manner == "throttle":
        rule |= {"above": above, "seconds": THROTTLE_SECONDS if seconds is None else seconds}
    if times is not None:
        rule["left"] = times
    return [rule]
