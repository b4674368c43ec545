"""What one look at a subject brought: the stored runs of its lists, weighed against what the lists said now."""

from dataclasses import dataclass, replace
from datetime import datetime

from flows.policy.blocklists import Act, Finding, Run, after
from flows.policy.verdict import Truth
from sql.blacklist_checks import Due, RunRow

REASON_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Weighed:
    """One list's run before and after; `after.id` None: it is to be opened."""

    act: Act
    before: RunRow | None
    after: RunRow


@dataclass(frozen=True, slots=True)
class Looked:
    """One subject: whom it was claimed for, what was found, and its runs."""

    due: Due
    found: tuple[Finding, ...]
    steps: tuple[Weighed, ...]
    resting: tuple[RunRow, ...]  # lists whose turn it was not
    unasked: tuple[RunRow, ...]  # lists that are enabled no longer: their runs end

    @property
    def open_runs(self) -> tuple[RunRow, ...]:
        """All runs that stay open."""
        return (*(step.after for step in self.steps), *self.resting)


def run_of(row: RunRow | None) -> Run:
    """A stored run in the words of policy."""
    if row is None:
        return Run()
    answer = f"fail:{row.category}:{row.tier}" if row.verdict == Truth.FAIL else row.verdict
    return Run(answer, row.since, row.contrary or "", row.contrary_since, row.unknown_since, row.next_check_at)


def weighed(due: Due, before: RunRow | None, found: Finding, at: datetime, jitter: float) -> Weighed:
    """One finding against the open run of its list."""
    step = after(run_of(before), found, at, sending=due.is_sending, jitter=jitter)
    run = step.run
    unknown = found.verdict.truth is Truth.UNKNOWN
    row = before if before and step.act is not Act.TURN else blank(due.id, found.listname, at)
    row = replace(
        row, contrary=run.contrary or None, contrary_since=run.contrary_since, unknown_since=run.unknown_since,
        unknown_reason=found.verdict.reason if unknown else None, checked_at=at, next_check_at=run.next_at or at,
    )  # fmt: skip
    if unknown or run.contrary:
        return Weighed(step.act, before, row)
    return Weighed(step.act, before, told(row, found, run.since or row.since))


def told(row: RunRow, found: Finding, since: datetime) -> RunRow:
    """The run as its own answers describe it."""
    code = found.code
    return replace(
        row, verdict=found.verdict.truth.value, category=code.word if code else None,
        effect=code.effect.value if code else None, tier=code.tier if code else None, since=since, codes=found.codes,
        reason=" ".join(found.texts)[:REASON_LENGTH] or None,
    )  # fmt: skip


def blank(subject_id: int, list_name: str, at: datetime) -> RunRow:
    """A run of which nothing is known yet."""
    return RunRow(
        None, subject_id, list_name, Truth.UNKNOWN.value, None, None, None, at, (), None, None, None, None, None, at, at
    )


def ended(step: Weighed) -> bool:
    """Whether a listing ended with this."""
    return step.act is Act.TURN and step.before is not None and step.before.verdict == Truth.FAIL
