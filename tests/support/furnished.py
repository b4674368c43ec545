"""A tenant as it stands when its server is there: one address, dealt to its domains, and DKIM keys for each."""

from collections.abc import Sequence
from decimal import Decimal
from ipaddress import IPv4Address
from uuid import uuid4

from flows.onboarding.plans import estate_of
from flows.onboarding.records import with_keys
from flows.resources import resources
from sql import domain_ip_assignments, domains, provisioning, smtp_ip_addresses, vps_instances
from sql.provisioning import Run
from sql.session import as_orchestrator
from tests.support.product import Customer

ADDRESS = IPv4Address("198.51.100.7")


async def furnished(customer: Customer) -> Run:
    """A started run of the tenant."""
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            run = await provisioning.open_or_join_run(
                conn, tenant_id=customer.pk, kind="onboard", target="", idempotency_key="k", requested_by="test",
                input={},
            )  # fmt: skip
            started = await provisioning.start_run(conn, run.id, uuid4())
            assert started is not None
            server = await vps_instances.request_instance(
                conn, tenant_id=customer.pk, token="pm-test-1-01", region="12", monthly_cost=Decimal("9.99")
            )
            await vps_instances.note_address(conn, server.id, ADDRESS)
            await vps_instances.move(conn, server.id, to="provisioning", allowed_from=["requested"])
            await smtp_ip_addresses.take_over(
                conn, tenant_id=customer.pk, vps_instance_id=server.id, ip_address=ADDRESS, monthly_cost=Decimal(0)
            )
            (address,) = await smtp_ip_addresses.list_addresses(conn, server.id)
            owned: Sequence[domains.Domain] = await domains.list_domains(conn, customer.pk)
            for domain in owned:
                await domains.settle_identity(
                    conn, domain.id, name=domain.domain_name, token="0" * 32, label="abcdefghij"
                )
                await domain_ip_assignments.assign(
                    conn, tenant_id=customer.pk, domain_id=domain.id, smtp_ip_address_id=address.id
                )
        await with_keys(r, started, await estate_of(r, started))
    return started
