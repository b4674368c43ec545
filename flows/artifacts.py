"""What Prefect's own pages show of a journey: ids and public facts, no address book, no secret.

The tables are the truth and an artifact is a view of them: one that cannot be written is a line in the log and never
ends a run.
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from flows.redact import redactor
from flows.resources import Resources
from sql import delivery_proofs, provisioning, provisioning_steps, tenants
from sql.delivery_proofs import Proof
from sql.provisioning import Run
from sql.provisioning_steps import Step
from sql.session import as_orchestrator

log = logging.getLogger(__name__)

MARKS = {"succeeded": "done", "waiting": "waits", "running": "runs", "failed": "failed", "unconfirmed": "in doubt",
         "skipped": "skipped", "pending": ""}  # fmt: skip
MOST_ROWS = 200
SECONDS_BETWEEN_UPDATES = 1.0


@asynccontextmanager
async def never_in_the_way(what: str) -> AsyncGenerator[None]:
    """Whatever goes wrong within is told and forgotten."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  a view that fails must not cost a run
        log.warning("artifact=%s not written: %s", what, redactor.clean(f"{type(error).__name__}: {error}"))


class Progress:
    """The bar of one run: per cent of its steps, told at most once a second and at the end."""

    def __init__(self, key: str, steps: int) -> None:
        """Nothing is written until the first step has ended."""
        self._key, self._steps = key, steps
        self._artifact: UUID | None = None
        self._told_at = -SECONDS_BETWEEN_UPDATES

    async def reached(self, done: int, step_key: str) -> None:
        """So many steps are true; the last of them is `step_key`."""
        if done < self._steps and monotonic() - self._told_at < SECONDS_BETWEEN_UPDATES:
            return
        self._told_at = monotonic()
        async with never_in_the_way(self._key):
            share = 100.0 * done / self._steps
            if self._artifact is None:
                self._artifact = await acreate_progress_artifact(share, key=self._key, description=step_key)
            else:
                await aupdate_progress_artifact(self._artifact, share, description=step_key)


def key_of(tenant: UUID) -> str:
    """The key under which a tenant's onboarding has its history."""
    return f"onboard-{tenant}"


async def show_run(r: Resources, run_id: UUID) -> None:
    """Write how a run stands now: its steps, what it waits for and the line that ends the wait, its proofs."""
    async with never_in_the_way(f"run {run_id}"):
        async with as_orchestrator(r.pool) as conn:
            run = await provisioning.get_run(conn, run_id)
            if run is None:
                return
            tenant = await tenants.get_tenant_by_id(conn, run.tenant_id)
            steps = await provisioning_steps.list_steps(conn, run_id)
            proofs = await delivery_proofs.proofs_of(conn, run.tenant_id)
        if tenant is not None:
            text = redactor.clean(markdown(run, steps, proofs))
            await acreate_markdown_artifact(text, key=key_of(tenant.tenant_id), description=f"run {run_id}")


def markdown(run: Run, steps: Sequence[Step], proofs: Sequence[Proof]) -> str:
    """A run as a page: what an operator reads first stands first."""
    word = f"waiting for {run.wait_reason}" if run.status == "waiting" else run.status
    detail = run.wait_detail or run.last_error_message
    return "\n".join(
        [
            f"# {run.kind}: {word}",
            *(["", quoted(detail)] if detail else []),
            "",
            "| step | state | seconds |",
            "| --- | --- | ---: |",
            *(f"| {step.step_key} | {MARKS.get(step.status, step.status)} | {seconds(step)} |" for step in steps),
            *(["", "| proof at | verdict | received |", "| --- | --- | --- |"] if proofs else []),
            *(f"| {proof.receiver} | {proof.verdict} | {proof.received_at or ''} |" for proof in proofs),
        ]
    )


def quoted(text: str) -> str:
    """Somebody's words, as they are: neither markdown nor HTML of theirs takes effect."""
    return "\n".join("    " + line for line in text.splitlines())


def seconds(step: Step) -> str:
    """How long a step took; empty while it has no end."""
    if step.started_at is None or step.finished_at is None:
        return ""
    return f"{(step.finished_at - step.started_at).total_seconds():.1f}"


async def show_sweep(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """One table for a whole sweep, its worst rows first; what does not fit is counted in the description."""
    async with never_in_the_way(key):
        left_out = f"; {len(rows) - MOST_ROWS} more rows" if len(rows) > MOST_ROWS else ""
        table = [{name: redactor.clean(str(value)) for name, value in row.items()} for row in rows[:MOST_ROWS]]
        await acreate_table_artifact(table, key=key, description=redactor.clean(description) + left_out)
