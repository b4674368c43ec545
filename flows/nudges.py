"""Events that make Prefect look at once. A nudge may be lost: each has a sweep that finds the same fact in the tables.

Names are `penguin.<noun>.<past>`; a resource holds ids and nothing else.
"""

from prefect.events import emit_event

from sql.provisioning import Run

TENANT_SUBSCRIBED = "penguin.tenant.subscribed"
"""Emitted by the back end: resource `penguin.tenant.<tenants.tenant_id>` with the id again as `penguin.tenant`."""
RUN_WAITING = "penguin.run.waiting"
RUN_FINISHED = "penguin.run.finished"


def run_rests(run: Run) -> None:
    """A run has ended, or its process has ended to wait: tell it after the commit."""
    event = RUN_WAITING if run.status == "waiting" else RUN_FINISHED
    emit_event(
        event,
        resource={
            "prefect.resource.id": f"penguin.run.{run.id}",
            "penguin.tenant": str(run.tenant_uuid),
            "penguin.run": str(run.id),
            "penguin.status": f"waiting_for_{run.wait_reason}" if run.status == "waiting" else run.status,
        },
    )
