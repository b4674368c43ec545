"""Take a server that the provider has as the one that an order asked for."""

from uuid import UUID

from flows.policy.lifecycle import InstanceStatus, allowed_from
from sql import infrastructure_events, vps_instances
from sql.provider_orders import Order
from sql.session import Connection


async def take(
    conn: Connection, order: Order, provider_id: str, *, actor: str, flow_run_id: UUID | None = None
) -> None:
    """Link it, move it on and tell it, in the transaction that settles the order.

    Raises AlreadyExists when another row has that server.
    """
    await vps_instances.link_provider(conn, order.vps_instance_id, provider_id)
    before = await vps_instances.move(
        conn, order.vps_instance_id, to=InstanceStatus.PROVISIONING,
        allowed_from=allowed_from(InstanceStatus.PROVISIONING),
    )  # fmt: skip
    await infrastructure_events.record_event(
        conn, tenant_id=order.tenant_id, subject_type="vps", subject_id=order.token, event="server_ordered",
        from_status=before, to_status=InstanceStatus.PROVISIONING, reason=f"order {order.id}",
        actor=actor, flow_run_id=flow_run_id, details={"provider_id": provider_id},
    )  # fmt: skip
