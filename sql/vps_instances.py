"""Servers: ordered under our token, pinned at first contact, followed to their end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb


@dataclass(frozen=True, slots=True)
class Instance:
    """One row; `token` is the seed's instance_id, `provider_id` its hostwind_id."""

    id: int
    tenant_id: int
    token: str
    provider_id: str | None
    ip_address: IPv4Address | None
    status: str
    hostname: str | None
    ssh_port: int
    ssh_host_key: str | None
    ssh_key_secret_id: UUID | None
    key_login_at: datetime | None
    converged_at: datetime | None
    configuration: Mapping[str, Any]


COLUMNS = """id, tenant_id, instance_id AS token, hostwind_id AS provider_id, ip_address, status, hostname, ssh_port,
              ssh_host_key, ssh_key_secret_id, key_login_at, converged_at,
              coalesce(configuration, '{}') AS configuration"""


async def live_instance(conn: AsyncConnection, tenant_id: int) -> Instance | None:
    """The tenant's one server that is ordered, building or working."""
    cursor = conn.cursor(row_factory=class_row(Instance))
    await cursor.execute(
        f"SELECT {COLUMNS} FROM vps_instances WHERE tenant_id = %s"  # noqa: S608  a literal of this file
        " AND status NOT IN ('scheduled_decommission', 'decommissioned') ORDER BY id LIMIT 1",
        [tenant_id],
    )
    return await cursor.fetchone()


async def known_tokens(conn: AsyncConnection) -> set[str]:
    """The tokens of every server that ever had a row, whichever tenant's."""
    cursor = await conn.execute("SELECT instance_id FROM vps_instances WHERE instance_id IS NOT NULL")
    return {row[0] for row in await cursor.fetchall()}


async def get_instance(conn: AsyncConnection, instance_id: int) -> Instance:
    """One row that is known to exist."""
    cursor = conn.cursor(row_factory=class_row(Instance))
    await cursor.execute(f"SELECT {COLUMNS} FROM vps_instances WHERE id = %s", [instance_id])  # noqa: S608  literal
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"vps_instances has no row {instance_id}")
    return row


async def decide_alone(conn: AsyncConnection, tenant_id: int) -> None:
    """Until this transaction ends nobody else decides which server the tenant has: two actors note one order, not two.

    The run's lock keeps actors apart already; this holds when that lock was lost with its connection.
    """
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('penguin-servers:' || %s::text, 0))", [tenant_id])


async def request_instance(
    conn: AsyncConnection, *, tenant_id: int, token: str, region: str, monthly_cost: Decimal
) -> Instance:
    """Write down a server that is about to be ordered, in the transaction that notes the intent."""
    cursor = conn.cursor(row_factory=class_row(Instance))
    await cursor.execute(
        f"INSERT INTO vps_instances (tenant_id, instance_id, status, region, approximate_cost)"  # noqa: S608  literal
        f" VALUES (%s, %s, 'requested', %s, %s) RETURNING {COLUMNS}",
        [tenant_id, token, region, monthly_cost],
    )
    row = await cursor.fetchone()
    if row is None:
        raise LookupError("INSERT … RETURNING gave no row")
    return row


async def link_provider(conn: AsyncConnection, instance_id: int, provider_id: str) -> None:
    """Remember which server at the provider this is; AlreadyExists when another row holds it."""
    await conn.execute(
        "UPDATE vps_instances SET hostwind_id = %s, updated_at = now()"
        " WHERE id = %s AND hostwind_id IS DISTINCT FROM %s",
        [provider_id, instance_id, provider_id],
    )


async def note_address(conn: AsyncConnection, instance_id: int, ip_address: IPv4Address) -> None:
    """Keep the main address of a server that became ready."""
    await conn.execute(
        "UPDATE vps_instances SET ip_address = %s, updated_at = now() WHERE id = %s", [ip_address, instance_id]
    )


async def note_configuration(conn: AsyncConnection, instance_id: int, facts: Mapping[str, Any]) -> None:
    """Merge public facts into the configuration."""
    await conn.execute(
        "UPDATE vps_instances SET configuration = coalesce(configuration, '{}') || %s, updated_at = now()"
        " WHERE id = %s",
        [Jsonb(dict(facts)), instance_id],
    )


async def pin_host_key(conn: AsyncConnection, instance_id: int, host_key: str) -> bool:
    """Pin at first contact; False when another key is pinned already (it is never replaced here)."""
    cursor = await conn.execute(
        "UPDATE vps_instances SET ssh_host_key = %s, updated_at = now()"
        " WHERE id = %s AND (ssh_host_key IS NULL OR ssh_host_key = %s)",
        [host_key, instance_id, host_key],
    )
    return cursor.rowcount == 1


async def set_ssh_key(conn: AsyncConnection, instance_id: int, secret_id: UUID) -> None:
    """Link the sealed private key of this server."""
    await conn.execute(
        "UPDATE vps_instances SET ssh_key_secret_id = %s, updated_at = now() WHERE id = %s", [secret_id, instance_id]
    )


async def note_key_login(conn: AsyncConnection, instance_id: int) -> None:
    """Our key works and the password path was seen refused: it is closed for ever."""
    await conn.execute(
        "UPDATE vps_instances SET key_login_at = coalesce(key_login_at, now()), updated_at = now() WHERE id = %s",
        [instance_id],
    )


async def note_converged(conn: AsyncConnection, instance_id: int, hostname: str) -> None:
    """The last plan of this host was empty."""
    await conn.execute(
        "UPDATE vps_instances SET converged_at = now(), hostname = %s, updated_at = now() WHERE id = %s",
        [hostname, instance_id],
    )


async def move(conn: AsyncConnection, instance_id: int, *, to: str, allowed_from: Sequence[str]) -> str | None:
    """Change the status; the old word, or None when the row was in none of the allowed ones."""
    cursor = await conn.execute(
        """
        WITH old AS (SELECT id, status FROM vps_instances WHERE id = %(id)s FOR UPDATE)
        UPDATE vps_instances v
           SET status = %(to)s::text, updated_at = now(),
               provisioned_at = coalesce(v.provisioned_at, CASE WHEN %(to)s = 'active' THEN now() END)
          FROM old WHERE v.id = old.id AND old.status = ANY(%(from)s)
        RETURNING old.status
        """,
        {"id": instance_id, "to": to, "from": list(allowed_from)},
    )
    row = await cursor.fetchone()
    return row[0] if row else None
