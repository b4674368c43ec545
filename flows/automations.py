"""Automations of the Prefect server, as code: installed by name, removed when no longer here."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events import ResourceSpecification
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture

from flows.nudges import TENANT_SUBSCRIBED
from flows.states import OUR_NAMES

PREFIX = "penguin: "
HEARTBEAT = "prefect.flow-run.heartbeat"
PREFECT_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut", "Suspended", "Paused")
SILENCE = timedelta(seconds=90)  # three heartbeats of 30 s
RESUME = "resume_waiting/on-event"
ONBOARD = "onboard_tenant/on-signup"


def final_events() -> set[str]:
    """Every event that means a run has ended or rests on purpose: the event bears the state's name."""
    return {f"prefect.flow-run.{name}" for name in (*PREFECT_ENDS, *OUR_NAMES)}


def lost_runs() -> Automation:
    """A run that beat and then fell silent is Crashed. Never forced: a run that ended keeps its state."""
    return Automation(
        name=f"{PREFIX}mark lost runs",
        description="A flow run whose heartbeat stopped without an end lost its process.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *final_events()},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                force=False,
                state=StateType.CRASHED,
                name="Crashed",
                message="no heartbeat for 90 seconds: its process is gone",
            )
        ],
    )


def recover(resume_deployment_id: UUID) -> Automation:
    """A crashed run of ours makes the sweep look at once."""
    return Automation(
        name=f"{PREFIX}recover",
        description="Look for runs whose process died.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            RunDeployment(source="selected", deployment_id=resume_deployment_id, parameters={}, job_variables=None)
        ],
    )


def began(tenant_journey: UUID) -> Automation:
    """The back end says that a tenant has subscribed: its journey begins, once per event and joined if it runs."""
    return Automation(
        name=f"{PREFIX}onboard who subscribed",
        description="Start onboard_tenant for the tenant that the event names.",
        trigger=EventTrigger(
            expect={TENANT_SUBSCRIBED},
            match=ResourceSpecification({"prefect.resource.id": ["penguin.tenant.*"]}),
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=tenant_journey,
                parameters={"tenant_id": "{{ event.resource['penguin.tenant'] }}"},
                job_variables=None,
            )
        ],
    )


async def install() -> list[str]:
    """Make the automations; one line for each that now stands."""
    async with get_client() as client:
        deployment = await client.read_deployment_by_name(RESUME)
        journey = await client.read_deployment_by_name(ONBOARD)
        wanted = [lost_runs(), recover(deployment.id), began(journey.id)]
        lines = [await _ensure(automation) for automation in wanted]
        lines += await _remove_others(client, {automation.name for automation in wanted})
    return lines


async def _ensure(wanted: Automation) -> str:
    try:
        present: Any = await Automation.aread(name=wanted.name)
    except ValueError:
        await wanted.acreate()
        return f"automation {wanted.name}: created"
    wanted.id = present.id
    await wanted.aupdate()
    return f"automation {wanted.name}: up to date"


async def _remove_others(client: PrefectClient, names: set[str]) -> list[str]:
    strangers = [
        automation
        for automation in await client.read_automations()
        if automation.name.startswith(PREFIX) and automation.name not in names
    ]
    for automation in strangers:
        await client.delete_automation(automation.id)
    return [f"automation {automation.name}: removed" for automation in strangers]
