"""The life of a DKIM key beside its predecessor and successor: what is due next, and not before it is safe."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from flows.policy.lifecycle import DkimKeyStatus

ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256")
LIVE: Final = frozenset(
    {DkimKeyStatus.GENERATED, DkimKeyStatus.PUBLISHED, DkimKeyStatus.VERIFIED, DkimKeyStatus.ACTIVE}
)


@dataclass(frozen=True, slots=True)
class LifeRules:
    """The figures. The tenant publishes by hand or we do at its DNS host: either way selectors are dated."""

    rotate_after: timedelta = timedelta(days=365)
    settle: timedelta = timedelta(hours=1)  # the longest that "nothing stands there" may be held in a cache
    retiring: timedelta = timedelta(days=7)  # a message may be five days in a queue; its key stays one more, and one
    revoked: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class KeyLife:
    """One key and when it became what it is."""

    id: int
    selector: str
    algorithm: str
    status: str
    created_at: datetime
    published_at: datetime | None = None
    activated_at: datetime | None = None
    retiring_at: datetime | None = None
    revoked_at: datetime | None = None


class Act(StrEnum):
    """The one next thing to do."""

    GENERATE = "generate"
    PUBLISH = "publish"
    VERIFY = "verify"
    ACTIVATE = "activate"
    REVOKE = "revoke"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Due:
    """An act; `key` None for a key that is yet to be made."""

    act: Act
    algorithm: str
    key: KeyLife | None = None


SHIPPED: Final = LifeRules()


def due(keys: Sequence[KeyLife], now: datetime, *, force: bool = False, rules: LifeRules = SHIPPED) -> tuple[Due, ...]:
    """Everything that may be done now; nothing for an algorithm that has no active key: onboarding is at it.

    `force` begins a rotation before its time: a leak, an operator's word. It hurries nothing else.
    """
    acts: list[Due] = []
    for algorithm in ALGORITHMS:
        own = sorted((key for key in keys if key.algorithm == algorithm), key=lambda key: key.id)
        active = next((key for key in own if key.status == DkimKeyStatus.ACTIVE), None)
        if active is not None:
            acts += successor(own, active, now, force=force, rules=rules)
        acts += [act for key in own if (act := farewell(key, now, rules))]
    return tuple(acts)


def successor(own: Sequence[KeyLife], active: KeyLife, now: datetime, *, force: bool, rules: LifeRules) -> list[Due]:
    """The next act of the newest key that is to follow the active one, or its making."""
    coming = [key for key in own if key.id > active.id and key.status in LIVE]
    if not coming:
        age = now - (active.activated_at or active.created_at)
        return [Due(Act.GENERATE, active.algorithm)] if force or age >= rules.rotate_after else []
    key = coming[-1]
    if key.status == DkimKeyStatus.GENERATED:
        return [Due(Act.PUBLISH, key.algorithm, key)]
    if key.status == DkimKeyStatus.PUBLISHED:
        return [Due(Act.VERIFY, key.algorithm, key)]
    is_settled = now - (key.published_at or key.created_at) >= rules.settle
    return [Due(Act.ACTIVATE, key.algorithm, key)] if is_settled else []


def farewell(key: KeyLife, now: datetime, rules: LifeRules) -> Due | None:
    """The end of a key that signs no more, when no message that it signed can still be under way."""
    if key.status == DkimKeyStatus.RETIRING and key.retiring_at and now - key.retiring_at >= rules.retiring:
        return Due(Act.REVOKE, key.algorithm, key)
    if key.status == DkimKeyStatus.REVOKED and key.revoked_at and now - key.revoked_at >= rules.revoked:
        return Due(Act.DELETE, key.algorithm, key)
    return None


def gates(key_status: str, *, has_active: bool) -> bool:
    """Whether the key's record decides over the domain: the one that signs does, one that comes or goes does not."""
    return key_status == DkimKeyStatus.ACTIVE or not has_active


def signs(key_status: str, *, has_active: bool) -> bool:
    """Whether a key signs: the active one; a verified one where none is active yet. A successor waits for its hour."""
    return key_status == DkimKeyStatus.ACTIVE or (key_status == DkimKeyStatus.VERIFIED and not has_active)


def revoked_text(algorithm: str) -> str:
    """What stands at a selector whose key is withdrawn (RFC 6376 section 3.6.1)."""
    return f"v=DKIM1; k={'rsa' if algorithm == 'rsa-sha256' else 'ed25519'}; p="
