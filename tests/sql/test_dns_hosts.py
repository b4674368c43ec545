"""Who publishes a domain, and what its tenant consented to."""

import psycopg
import pytest

from sql import dns_hosts, domains
from sql.session import as_orchestrator
from tests.support.postgres import add_tenant


@pytest.fixture
def domain(database: str) -> int:
    """A domain that we publish."""
    tenant = add_tenant(database)
    with psycopg.connect(database) as conn:
        row = conn.execute(
            "INSERT INTO domains (tenant_id, domain_name, dns_host, dns_host_settings)"
            " VALUES (%s, 'acme.example', 'rfc2136', '{\"server\": \"192.0.2.1\"}') RETURNING id",
            [tenant.pk],
        ).fetchone()
    assert row is not None
    return row[0]


async def read(pool, domain: int) -> domains.Domain:
    async with as_orchestrator(pool) as conn:
        cursor = await conn.execute("SELECT tenant_id FROM domains WHERE id = %s", [domain])
        row = await cursor.fetchone()
        (found,) = await domains.list_domains(conn, row[0])
    return found


async def test_a_domain_left_to_its_tenant_keeps_the_settings_of_its_host(pool, domain: int) -> None:
    async with as_orchestrator(pool) as conn:
        assert await dns_hosts.leave_to_tenant(conn, domain)
        assert not await dns_hosts.leave_to_tenant(conn, domain)
    found = await read(pool, domain)
    assert (found.dns_host, found.dns_host_settings) == (None, {"server": "192.0.2.1"})


async def test_consent_is_given_once_and_withdrawn_once(pool, domain: int) -> None:
    assert not (await read(pool, domain)).manage_mx
    for given in (True, False):
        async with as_orchestrator(pool) as conn:
            assert await dns_hosts.set_mx_consent(conn, domain, given=given)
            assert not await dns_hosts.set_mx_consent(conn, domain, given=given)
        assert (await read(pool, domain)).manage_mx is given
