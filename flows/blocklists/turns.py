"""Whose turn it is: one subject whose time has come, and the lists that are to be asked about it now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flows.blocklists.lists import Known, names_of
from flows.policy.blocklists import Kind, kind_of
from sql.blacklist_checks import Due, RunRow


@dataclass(frozen=True, slots=True)
class Turn:
    """What a subject is asked by, and of which lists."""

    due: Due
    kind: Kind
    names: tuple[str, ...]
    lists: tuple[Known, ...]
    enabled: frozenset[str]  # all that answer about its kind
    runs: Mapping[str, RunRow]


def turn_of(lists: Sequence[Known], due: Due, runs: Mapping[str, RunRow]) -> Turn:
    """The lists whose own interval is over for this subject."""
    now, kind = datetime.now(UTC), kind_of(due.subject)
    fitting = [one for one in lists if one.blocklist.answers(kind)]
    asked = [one for one in fitting if (run := runs.get(one.blocklist.name)) is None or run.next_check_at <= now]
    names = names_of(due.subject, due.hosts)
    return Turn(due, kind, names, tuple(asked), frozenset(one.blocklist.name for one in fitting), runs)
