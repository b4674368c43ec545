"""Orders at an ACME authority: one open for each server, written before the authority is asked; its limits counted."""

# ruff: noqa: S608 - every statement is a LiteralString: the type checker refuses anything else
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

End = Literal["issued", "failed", "abandoned"]


@dataclass(frozen=True, slots=True)
class AcmeOrder:
    """One order; `problems` are the authority's words: kind, detail, name."""

    id: int
    tenant_id: int
    vps_instance_id: int
    directory: str
    names: list[str]
    zones: list[str]
    renews: bool
    state: str
    order_url: str | None
    problems: list[dict[str, Any]]
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Counted:
    """Instants that count against the authority's limits, of as long as each limit looks back."""

    orders: list[datetime]  # of the account
    first_certificates: Mapping[str, list[datetime]]  # by registered domain; renewals do not count
    same_names: list[datetime]  # certificates of exactly these names
    failures: Mapping[str, list[datetime]]  # failed validations by host name
    certified_before: bool  # exactly these names, at any time: one more is a renewal


ORDER: Final = """
    id, tenant_id, vps_instance_id, directory, names, zones, renews, state, order_url, problems, created_at, ended_at
"""


async def count_alone(conn: AsyncConnection, directory: str) -> None:
    """Until this transaction ends nobody else counts and orders at this authority."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('penguin-acme:' || %s::text, 0))", [directory])


async def open_order(conn: AsyncConnection, vps_instance_id: int) -> AcmeOrder | None:
    """The one order of a server that has not ended."""
    return await _one(
        conn,
        f"SELECT {ORDER} FROM acme_orders WHERE vps_instance_id = %(vps)s AND state IN ('intended', 'placed')",
        vps=vps_instance_id,
    )


async def last_order(conn: AsyncConnection, vps_instance_id: int) -> AcmeOrder | None:
    """The newest order of a server, however it ended."""
    return await _one(
        conn,
        f"SELECT {ORDER} FROM acme_orders WHERE vps_instance_id = %(vps)s ORDER BY id DESC LIMIT 1",
        vps=vps_instance_id,
    )


async def note_intent(
    conn: AsyncConnection,
    *,
    tenant_id: int,
    vps_instance_id: int,
    directory: str,
    names: Sequence[str],
    zones: Sequence[str],
) -> AcmeOrder:
    """Write an order down; commit, then ask the authority. AlreadyExists: the server has an open one."""
    order = await _one(
        conn,
        f"""
        INSERT INTO acme_orders (tenant_id, vps_instance_id, directory, names, zones, renews)
        VALUES (%(tenant_id)s, %(vps)s, %(directory)s, %(names)s, %(zones)s, EXISTS (
          SELECT FROM acme_orders WHERE directory = %(directory)s AND names = %(names)s AND state = 'issued'))
        RETURNING {ORDER}
        """,
        tenant_id=tenant_id,
        vps=vps_instance_id,
        directory=directory,
        names=sorted(names),
        zones=sorted(zones),
    )
    if order is None:
        raise LookupError("INSERT … RETURNING gave no row")
    return order


async def note_placed(conn: AsyncConnection, order_id: int, order_url: str) -> None:
    """Keep the authority's name for an order: whoever comes next goes on with it."""
    await conn.execute(
        "UPDATE acme_orders SET state = 'placed', order_url = %s WHERE id = %s AND state IN ('intended', 'placed')",
        [order_url, order_id],
    )


async def end(conn: AsyncConnection, order_id: int, *, state: End, problems: Sequence[Mapping[str, str]] = ()) -> bool:
    """Close an order; False when it was closed before."""
    cursor = await conn.execute(
        "UPDATE acme_orders SET state = %s, problems = %s, ended_at = clock_timestamp()"
        " WHERE id = %s AND state IN ('intended', 'placed')",
        [state, Jsonb([dict(problem) for problem in problems]), order_id],
    )
    return cursor.rowcount > 0


async def counted(
    conn: AsyncConnection,
    *,
    directory: str,
    names: Sequence[str],
    zones: Sequence[str],
    orders_within: timedelta,
    certificates_within: timedelta,
    failures_within: timedelta,
) -> Counted:
    """What the limits of an authority are to be held against before these names are ordered; open orders count."""
    values = {
        "directory": directory, "names": sorted(names), "orders": orders_within, "certificates": certificates_within,
        "failures": failures_within,
    }  # fmt: skip
    ours = "FROM acme_orders WHERE directory = %(directory)s AND"
    before = await conn.execute(f"SELECT EXISTS (SELECT {ours} names = %(names)s AND state = 'issued')", values)
    lately = f"{ours} state IN ('intended', 'placed', 'issued') AND created_at > clock_timestamp() - %(certificates)s"
    return Counted(
        orders=await _times(
            conn, f"SELECT created_at {ours} created_at > clock_timestamp() - %(orders)s ORDER BY 1", **values
        ),
        first_certificates={
            zone: await _times(
                conn, f"SELECT created_at {lately} AND NOT renews AND %(zone)s = ANY(zones) ORDER BY 1", **values,
                zone=zone,
            )
            for zone in zones
        },
        same_names=await _times(conn, f"SELECT created_at {lately} AND names = %(names)s ORDER BY 1", **values),
        failures={
            name: await _times(
                conn,
                f"""
                SELECT ended_at {ours} state = 'failed' AND ended_at > clock_timestamp() - %(failures)s
                   AND problems @> jsonb_build_array(jsonb_build_object('name', %(name)s::text)) ORDER BY 1
                """,
                **values,
                name=name,
            )
            for name in names
        },
        certified_before=bool((await before.fetchone() or [False])[0]),
    )  # fmt: skip


async def _one(conn: AsyncConnection, statement: LiteralString, **values: Any) -> AcmeOrder | None:
    cursor = conn.cursor(row_factory=class_row(AcmeOrder))
    await cursor.execute(statement, values)
    return await cursor.fetchone()


async def _times(conn: AsyncConnection, statement: LiteralString, **values: Any) -> list[datetime]:
    cursor = await conn.execute(statement, values)
    return [row[0] for row in await cursor.fetchall()]
