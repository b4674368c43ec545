"""The words for how a run ended stand in one place, and everyone who must know them knows them all."""

import inspect
import re
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State

from flows import automations, states
from flows.onboard import JOURNEY, onboard_tenant
from flows.recover import resume_waiting, retry_failed_provisioning
from flows.states import ONBOARDING_STEPS, OUR_NAMES, WAITING_FOR

FLOWS = Path(__file__).parents[2] / "flows"


@pytest.mark.parametrize(
    ("state", "name", "kind"),
    [
        (states.waiting_for("dns", "why"), "Waiting for DNS", "COMPLETED"),
        (states.waiting_for("provider", "why"), "Waiting for provider", "COMPLETED"),
        (states.waiting_for("operator", "why"), "Waiting for operator", "FAILED"),
        (states.rejected("why"), "Rejected", "FAILED"),
        (states.already_running("why"), "Already running", "COMPLETED"),
        (states.already_ended("why"), "Already ended", "COMPLETED"),
        (states.cancelled("why"), "Cancelled by request", "FAILED"),
        (states.succeeded("why"), "Completed", "COMPLETED"),
        (states.failed("why"), "Failed", "FAILED"),
    ],
)
def test_a_state_is_red_when_a_person_is_needed(state: State[None], name: str, kind: str) -> None:
    assert (state.name, state.type, state.message) == (name, kind, "why")


def test_every_named_state_is_among_our_names() -> None:
    words = {value for name, value in vars(states).items() if name.isupper() and isinstance(value, str)}
    assert words | set(WAITING_FOR.values()) == set(OUR_NAMES)


def test_the_words_stand_nowhere_else() -> None:
    elsewhere = [
        f"{path.relative_to(FLOWS)}: {name}"
        for path in FLOWS.rglob("*.py")
        if path.name != "states.py"
        for name in OUR_NAMES
        if re.search(rf"[\"']{re.escape(name)}[\"']", path.read_text())
    ]
    assert not elsewhere


def test_the_journey_is_the_steps_in_their_order() -> None:
    assert tuple(ensure.name for ensure in JOURNEY) == ONBOARDING_STEPS


def test_steps_and_flows_are_coroutines_that_keep_nothing_in_prefect() -> None:
    for ensure in JOURNEY:
        assert inspect.iscoroutinefunction(ensure.fn)
        assert not ensure.persist_result
        assert list(inspect.signature(ensure.fn).parameters) == ["run_id"]
    for journey in (onboard_tenant, resume_waiting, retry_failed_provisioning):
        assert inspect.iscoroutinefunction(journey.fn)
        assert journey.retries == 0


def test_what_buys_is_never_repeated_by_prefect() -> None:
    assert {ensure.name for ensure in JOURNEY if ensure.retries == 0} == {"order_server", "claim_addresses"}


def test_hooks_name_their_arguments_as_the_runner_calls_them() -> None:
    for journey in (onboard_tenant, resume_waiting, retry_failed_provisioning):
        hooks = (*journey.on_failure_hooks, *journey.on_crashed_hooks, *journey.on_completion_hooks)
        for hook in (*hooks, *journey.on_cancellation_hooks, *journey.on_running_hooks):
            assert list(inspect.signature(hook).parameters) == ["flow", "flow_run", "state"]


def test_the_lost_run_automation_lists_every_way_to_end_and_forces_nothing() -> None:
    automation = automations.lost_runs()
    expected = automation.trigger.expect  # pyright: ignore[reportAttributeAccessIssue] - an EventTrigger
    assert {f"prefect.flow-run.{name}" for name in OUR_NAMES} <= expected
    assert {
        f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Crashed", "Suspended", "Paused")
    } <= expected
    (action,) = automation.actions
    assert action.force is False  # pyright: ignore[reportAttributeAccessIssue] - a ChangeFlowRunState
