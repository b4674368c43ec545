"""The trail: written with the change, read by its tenant, never rewritten."""

import psycopg
import pytest

from sql.infrastructure_events import list_events, record_event
from sql.session import as_orchestrator, as_tenant
from tests.support.postgres import add_tenant


async def test_an_event_is_read_back_newest_first(pool, database) -> None:
    tenant = add_tenant(database)
    async with as_orchestrator(pool) as conn:
        for subject, to in ((7, "provisioning"), (7, "active"), (8, "active")):
            await record_event(
                conn,
                tenant_id=tenant.pk,
                subject_type="vps",
                subject_id=subject,
                event="status",
                from_status="requested",
                to_status=to,
                reason="accepted",
                actor="flow:onboard",
                details={"cost": 8},
            )
        mine = await list_events(conn, tenant.pk, subject_type="vps", subject_id=7)
        assert len(await list_events(conn, tenant.pk)) == 3
    assert [event.to_status for event in mine] == ["active", "provisioning"]
    assert (mine[0].actor, mine[0].details, mine[0].subject_id) == ("flow:onboard", {"cost": 8}, "7")


async def test_nobody_rewrites_an_event(pool, database) -> None:
    tenant = add_tenant(database)
    async with as_orchestrator(pool) as conn:
        await record_event(conn, tenant_id=tenant.pk, subject_type="run", subject_id="r", event="started", actor="test")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with as_orchestrator(pool) as conn:
            await conn.execute("UPDATE infrastructure_events SET actor = 'nobody'")
    async with as_tenant(pool, tenant.uuid) as conn:
        assert len(await list_events(conn, tenant.pk)) == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with as_tenant(pool, tenant.uuid) as conn:
            await conn.execute("DELETE FROM infrastructure_events")
