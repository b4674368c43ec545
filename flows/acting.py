"""Who acts, and whether they may.

Schedules and the product's back end act as the platform itself. A person acts as a member of the platform tenant's
staff and needs the verb that a command or flow names. An installation that has no staff yet has one operator: whoever
is logged in, called `bootstrap`. This is accountability between people who trust each other with the machine, not a
wall against one of them: whoever holds the database's password needs no command.
"""

import getpass
import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from flows.resources import core_dsn, settings
from sql.staff import Standing, standing_of

PLATFORM = "platform"
_acting: ContextVar[str] = ContextVar("acting", default=PLATFORM)
_claimed: ContextVar[str] = ContextVar("claimed_actor", default="")


class NotPermitted(Exception):
    """Nobody may do this who is not on the staff with a role that says so; the sentence names the verb."""


def actor() -> str:
    """Whoever acts in this process, as it stands in events and logs."""
    return _acting.get()


def requested_by(otherwise: str) -> str:
    """Who asked for a run: a person where one is named, else the flow run or process itself."""
    return otherwise if actor() == PLATFORM else actor()


@contextmanager
def claiming(email: str) -> Generator[None]:
    """Say who one is; the check comes with the deed."""
    token = _claimed.set(email)
    try:
        yield
    finally:
        _claimed.reset(token)


@contextmanager
def acting_as(name: str) -> Generator[None]:
    """Everything within is this actor's."""
    token = _acting.set(name)
    try:
        yield
    finally:
        _acting.reset(token)


async def who_may(verb: str, email: str | None = None) -> str:
    """The actor's name, when they may do this; raises NotPermitted with what is lacking."""
    platform = settings().staff.platform_tenant
    claimed = email or _claimed.get() or settings().staff.actor
    if platform is None:
        return bootstrap(claimed)
    standing = await standing_of(await core_dsn(), platform, claimed, verb)
    if standing in {"no schema", "no staff"}:
        return bootstrap(claimed)
    if standing == "may":
        return f"staff:{claimed.strip().lower()}"
    raise NotPermitted(refusal(standing, platform, claimed, verb))


def refusal(standing: Standing, platform: UUID, claimed: str, verb: str) -> str:
    """What is wrong, and what to do."""
    if standing == "no tenant":
        return f"staff.platform_tenant {platform} is no tenant: python -m flows staff platform NAME makes one"
    if not claimed:
        return f"this needs {verb} and somebody who has it: say --as EMAIL, or set PENGUINMAILS_STAFF__ACTOR"
    if standing == "unknown":
        return f"{claimed} is not on the staff: python -m flows staff list shows who is"
    return f"{claimed} may not {verb}: a role with this verb is missing (python -m flows staff list)"


def bootstrap(claimed: str) -> str:
    """The operator of an installation without staff."""
    return f"bootstrap:{claimed or login()}"


def login() -> str:
    """The user of this process; a container may have none by name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
