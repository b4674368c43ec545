"""One cause is one open alert."""

from uuid import UUID, uuid4

from sql import alerts
from sql.session import as_orchestrator, as_tenant

TENANT = UUID(int=7)


async def raised(pool, severity: str = "medium", *, key: str = "dns:7", tenant: UUID | None = TENANT) -> bool:
    async with as_orchestrator(pool) as conn:
        return await alerts.raise_alert(
            conn,
            dedupe_key=key,
            category="dns",
            title="SPF is gone",
            message=f"seen as {severity}",
            severity=severity,
            tenant_id=tenant,
            details={"domain": 7},
        )


async def test_the_same_cause_is_counted_and_takes_the_worse_severity(pool) -> None:
    assert await raised(pool, "medium")
    assert not await raised(pool, "high")
    assert not await raised(pool, "low")
    async with as_orchestrator(pool) as conn:
        (alert,) = await alerts.open_alerts(conn)
    assert (alert.occurrences, alert.severity, alert.message) == (3, "high", "seen as low")


async def test_a_resolved_alert_is_closed_and_opens_anew(pool) -> None:
    await raised(pool)
    async with as_orchestrator(pool) as conn:
        assert await alerts.acknowledge(conn, "dns:7", "ops")
        assert not await alerts.acknowledge(conn, "dns:7", "another")
        assert await alerts.resolve(conn, "dns:7", "verify_domain")
        assert not await alerts.resolve(conn, "dns:7", "verify_domain")
        assert await alerts.open_alerts(conn) == []
    assert await raised(pool)


async def test_the_worst_comes_first_and_a_tenant_sees_its_own_only(pool) -> None:
    await raised(pool, "low")
    await raised(pool, "critical", key="disk:1", tenant=None)
    await raised(pool, "high", key="dns:8", tenant=uuid4())
    async with as_orchestrator(pool) as conn:
        assert [alert.severity for alert in await alerts.open_alerts(conn)] == ["critical", "high", "low"]
        assert [alert.dedupe_key for alert in await alerts.open_alerts(conn, TENANT)] == ["dns:7"]
    async with as_tenant(pool, TENANT) as conn:
        assert [alert.dedupe_key for alert in await alerts.open_alerts(conn)] == ["dns:7"]
