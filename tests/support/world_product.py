"""Doors into the product that none of its commands opens; run as a module in the control room, answers in JSON.

`converge TENANT`: one converge of the mail host. `secret TENANT_ID:PATH …`: sealed secrets, opened;
without a tenant one of the platform's own.
"""

import asyncio
import json
import sys
from uuid import UUID

from pydantic import SecretStr

from flows import vault
from flows.hosts import converge, instance_of
from flows.onboarding.desired import desired_host
from flows.policy import mail_host
from flows.resources import resources
from sql import provisioning, tenants
from sql.session import as_orchestrator


async def converged(tenant_uuid: str) -> list[str]:
    """What one converge of the mail host changed."""
    async with resources() as r:
        async with as_orchestrator(r.pool) as conn:
            tenant = await tenants.get_tenant(conn, UUID(tenant_uuid))
            assert tenant is not None
            (run, *_) = await provisioning.list_runs(conn, tenant.id)
        return list(await converge(r, await instance_of(r, run), mail_host.desired(await desired_host(r, run))))


async def opened(*keys: str) -> dict[str, str]:
    """Secrets in the clear, by the keys they were asked for."""
    found: dict[str, SecretStr] = {}
    async with resources() as r:
        for key in keys:
            tenant, _, path = key.partition(":")
            found[key] = await vault.fetch_sure(r, tenant_id=int(tenant) if tenant else None, path=path)
    return {key: secret.get_secret_value() for key, secret in found.items()}


if __name__ == "__main__":
    door, *words = sys.argv[1:]
    answer = asyncio.run(converged(*words) if door == "converge" else opened(*words))
    sys.stdout.write(json.dumps(answer))
