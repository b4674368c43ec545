"""What one look at a domain makes of its picture: statuses that do not flap, what is told, when to look again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flows.policy.dns_status import (
    SHIPPED,
    Notice,
    RecordState,
    RecordStatus,
    Rules,
    after,
    domain_status,
    given_up,
    next_look,
)
from flows.policy.lifecycle import DomainStatus
from flows.policy.records.nouns import Need
from flows.policy.records.picture import Entry, as_json, line
from flows.policy.verdict import Truth, Verdict


@dataclass(frozen=True, slots=True)
class Looked:
    """The domain after a look. `next_at` None: not again until somebody asks."""

    picture: Mapping[str, Any]
    status: DomainStatus
    blocked: Verdict | None  # the first required record that does not pass
    notices: tuple[tuple[Verdict, Notice], ...]
    changed: tuple[int, ...]  # places of the records whose verdict is another than last time
    next_at: datetime | None

    @property
    def error(self) -> Mapping[str, str] | None:
        """What keeps the domain from passing, in one line."""
        return {"reason": self.blocked.reason, "fix": line(self.blocked)} if self.blocked else None


def looked(
    entries: Sequence[Entry], verdicts: Sequence[Verdict], at: datetime, *, before: str | None = None,
    jitter: float = 0.0, rules: Rules = SHIPPED,
) -> Looked:  # fmt: skip
    """Fold one verdict for each entry into the picture; optional records are shown and decide nothing.

    `before`: the domain's word until now.
    """
    rows: list[dict[str, Any]] = []
    states: list[RecordState] = []
    notices: list[tuple[Verdict, Notice]] = []
    nexts: list[datetime | None] = []
    for entry, verdict in zip(entries, verdicts, strict=True):
        state, told = after(entry.state, verdict, at, rules)
        again = next_look(state, verdict, at, jitter=jitter, rules=rules)
        state = given_up(state, at) if again is None else state
        rows.append(as_json(replace(entry, state=state), verdict, at))
        if entry.expected.need is Need.REQUIRED:
            states.append(state)
            notices += [(verdict, notice) for notice in told]
            nexts.append(again)
    return Looked(
        picture={"records": rows},
        status=domain_status(states, before),
        blocked=next((v for e, v in zip(entries, verdicts, strict=True) if blocks(e, v)), None),
        notices=tuple(notices),
        changed=tuple(place for place, (e, v) in enumerate(zip(entries, verdicts, strict=True)) if differs(e, v)),
        next_at=min((again for again in nexts if again is not None), default=None),
    )


def blocks(entry: Entry, verdict: Verdict) -> bool:
    """Whether this keeps the domain from passing."""
    return entry.expected.need is Need.REQUIRED and verdict.truth is not Truth.PASS


def differs(entry: Entry, verdict: Verdict) -> bool:
    """Whether the verdict is news; what else stands beside a right record is none."""
    if (entry.truth, entry.reason) != (verdict.truth, verdict.reason):
        return True
    return verdict.truth is not Truth.PASS and entry.found != verdict.found


def is_settled(entries: Sequence[Entry]) -> bool:
    """Whether a routine look is enough: everything that is required was right when it was last seen."""
    gates = [entry for entry in entries if entry.expected.need is Need.REQUIRED]
    return bool(gates) and all(
        entry.state.status is RecordStatus.VERIFIED and entry.truth == Truth.PASS for entry in gates
    )
