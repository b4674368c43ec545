"""As whom we run: root of the machine, root of a room of our own (a user namespace), or an ordinary user."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

WHOLE_RANGE = ["0", "0", "4294967295"]  # user_namespaces(7): the map of the machine's own namespace


@dataclass(frozen=True, slots=True)
class Owner:
    """An ordinary user who is root in here."""

    uid: int
    gid: int


def in_user_namespace() -> bool:
    """Tell whether root here is root of a user namespace only."""
    return _map("uid") != WHOLE_RANGE


def room_owner() -> Owner | None:
    """Return the user whose room this is; None outside of one, in a container that is no room of ours as well."""
    uids, gids = _map("uid"), _map("gid")
    if os.geteuid() or uids == WHOLE_RANGE or uids[0] != "0" or gids[0] != "0":
        return None
    owner = Owner(int(uids[1]), int(gids[1]))
    try:
        pwd.getpwuid(owner.uid)
    except KeyError:
        return None
    return owner


def as_owner() -> list[str]:
    """Words before a command that must not find itself root: in a room it runs as the user whom the room is for.

    The product behind it takes the very ways it takes on that user's machine: PostgreSQL refuses root, for one.
    """
    owner = room_owner()
    return ["unshare", "--user", f"--map-user={owner.uid}", f"--map-group={owner.gid}"] if owner else []


def ordinary() -> bool:
    """Tell whether we are root of nothing."""
    return os.geteuid() != 0


def _map(kind: str) -> list[str]:
    return Path(f"/proc/self/{kind}_map").read_text().split()
