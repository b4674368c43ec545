"""Shipped presets are put in once, never edited, and one of a kind is its default."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from sql.policy_presets import Edited, default_preset, get_preset, sync_presets
from sql.session import as_orchestrator


@dataclass(frozen=True, slots=True)
class Preset:
    kind: str
    name: str
    version: int
    body: Mapping[str, Any]


BAND = Preset("warmup_ramp", "penguin-band-21", 1, {"cap": 100, "points": ((1, 5), (21, 100)), "factor": 1.35})
SLOW = Preset("warmup_ramp", "slow", 1, {"cap": 50})


async def sync(pool, *presets: Preset) -> int:
    async with as_orchestrator(pool) as conn:
        return await sync_presets(conn, presets)


async def test_missing_presets_are_put_in_once(pool) -> None:
    assert await sync(pool, BAND, SLOW) == 2
    assert await sync(pool, BAND, SLOW) == 0


async def test_the_first_of_a_kind_is_its_default_and_stays_it(pool) -> None:
    await sync(pool, BAND)
    await sync(pool, SLOW, replace(BAND, version=2))
    async with as_orchestrator(pool) as conn:
        chosen = await default_preset(conn, "warmup_ramp")
        newest = await get_preset(conn, "warmup_ramp", "penguin-band-21")
        assert await default_preset(conn, "thresholds") is None
    assert chosen is not None
    assert newest is not None
    assert (chosen.name, chosen.version, newest.version) == ("penguin-band-21", 1, 2)


async def test_another_body_under_a_known_version_is_refused(pool) -> None:
    await sync(pool, BAND)
    with pytest.raises(Edited, match="penguin-band-21 version 1"):
        await sync(pool, replace(BAND, body={"cap": 101}))


async def test_nobody_edits_a_body_in_the_database(pool) -> None:
    await sync(pool, BAND)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with as_orchestrator(pool) as conn:
            await conn.execute("UPDATE policy_presets SET body = '{}'")
    async with as_orchestrator(pool) as conn:
        await conn.execute("UPDATE policy_presets SET is_default = false")
