"""Single-machine mode serves exactly what prefect.yaml declares; automations are installed once."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import EventTrigger, Posture

from flows import automations, resources, serving

ROOT = Path(__file__).parents[2]


def declared() -> list[dict[str, Any]]:
    return yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


async def test_what_is_served_is_what_is_declared() -> None:
    served = {(d.flow_name, d.name): d for d in await serving.deployments()}
    assert len(served) == len(declared())
    for entry in declared():
        flow = entry["entrypoint"].partition(":")[2]
        deployment = served[(flow, entry["name"])]
        assert deployment.description == entry["description"]
        assert set(entry["tags"]) <= set(deployment.tags)
        plans: list[Any] = [s.schedule for s in deployment.schedules or []]
        said = [plan.cron if hasattr(plan, "cron") else plan.interval.total_seconds() for plan in plans]
        assert said == [s.get("cron") or s["interval"] for s in entry.get("schedules", [])]


async def intervals(monkeypatch: pytest.MonkeyPatch, **waits: str) -> set[tuple[str, float]]:
    """Every interval that single-machine mode would serve with these settings."""
    for name, value in waits.items():
        monkeypatch.setenv(f"PENGUINMAILS_WAITS__{name}", value)
    resources.settings.cache_clear()
    try:
        served = await serving.deployments()
    finally:
        resources.settings.cache_clear()
    return {(d.flow_name, s.schedule.interval.total_seconds()) for d in served for s in d.schedules or []
            if hasattr(s.schedule, "interval")}  # fmt: skip


async def test_the_sweep_comes_as_often_as_the_settings_say_and_nothing_else_does(monkeypatch) -> None:
    found = await intervals(monkeypatch, SWEEP_SECONDS="7")
    assert [name for name, interval in found if interval == 7] == ["resume_waiting"]


async def test_everything_but_the_sweep_may_go_more_slowly(monkeypatch) -> None:
    usual = await intervals(monkeypatch)
    slow = await intervals(monkeypatch, SCHEDULES_SLOWER="60")
    sweep = {entry for entry in usual if entry[0] == "resume_waiting"}
    assert slow == sweep | {(name, interval * 60) for name, interval in usual - sweep}


def test_a_runner_keeps_its_files_apart_from_those_of_other_users(tmp_path: Path) -> None:
    (shared := tmp_path / "shared").mkdir()
    (shared / "runner_storage").write_text("somebody else's")
    usual = tempfile.gettempdir()
    tempfile.tempdir = str(shared)
    try:
        runner = serving.runner_in(str(tmp_path / "own"))
        assert tempfile.gettempdir() == str(shared)
    finally:
        tempfile.tempdir = usual
    kept_in: Path = vars(runner)["_tmp_dir"]
    assert kept_in.is_relative_to(tmp_path / "own")


def test_no_deployment_limits_its_own_concurrency_or_retries() -> None:
    assert all("concurrency_limit" not in entry and "retries" not in entry for entry in declared())


@pytest.fixture(scope="module")
async def applied(prefect_api: str) -> None:
    for deployment in await serving.deployments():
        await deployment.apply()


async def ours() -> dict[str, Any]:
    async with get_client() as client:
        return {a.name: a for a in await client.read_automations() if a.name.startswith(automations.PREFIX)}


async def test_automations_are_installed_once_and_strangers_of_ours_removed(applied: None) -> None:
    stale = Automation(
        name=f"{automations.PREFIX}of an older release",
        trigger=EventTrigger(expect={"x"}, posture=Posture.Reactive, threshold=1),
        actions=[DoNothing()],
    )
    await stale.acreate()
    first = await automations.install()
    assert any("of an older release: removed" in line for line in first)
    before = await ours()
    assert {name.removeprefix(automations.PREFIX) for name in before} == {
        "mark lost runs", "recover", "onboard who subscribed",
    }  # fmt: skip
    second = await automations.install()
    assert not any("created" in line or "removed" in line for line in second)
    assert {name: item.id for name, item in (await ours()).items()} == {name: item.id for name, item in before.items()}


async def test_the_lost_run_automation_stands_as_written(applied: None) -> None:
    await automations.install()
    stored = (await ours())[f"{automations.PREFIX}mark lost runs"]
    assert set(stored.trigger.expect) == {automations.HEARTBEAT, *automations.final_events()}
    assert stored.actions[0].force is False


async def test_the_server_answers_where_the_settings_say(prefect_api: str) -> None:
    assert await serving.answers()
