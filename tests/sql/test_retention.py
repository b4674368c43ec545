"""What is old goes, in chunks; the last of its kind and what is not counted yet stay."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from flows.policy.presets import RETENTION
from sql import analytics, retention
from sql.session import as_orchestrator
from tests.support.postgres import add_tenant

NOW = datetime.now(UTC)


def run(dsn: str, statement: str) -> list[tuple]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        cursor = conn.execute(statement)
        return cursor.fetchall() if cursor.description else []


async def purged(pool, target: str, **days: int) -> dict[str, int]:
    return {one.name: one.rows for one in await retention.purge(pool, target, days, NOW)}


def old_opens(dsn: str, count: int) -> None:
    run(
        dsn,
        "INSERT INTO email_opens (email_id, user_id, tenant_id, created_at) SELECT n, gen_random_uuid(),"
        f" gen_random_uuid(), now() - interval '91 days' FROM generate_series(1, {count}) n",
    )


async def test_old_rows_go_chunk_by_chunk_and_young_ones_stay(pool, database) -> None:
    old_opens(database, 2 * retention.CHUNK + 5)
    run(
        database,
        "INSERT INTO email_opens (email_id, user_id, tenant_id) VALUES ('y', gen_random_uuid(), gen_random_uuid())",
    )
    async with as_orchestrator(pool) as conn:
        await analytics.remember(conn, NOW)
    assert await purged(pool, "analytics", email_opens=90) == {"email_opens": 2 * retention.CHUNK + 5}
    assert run(database, "SELECT email_id FROM email_opens") == [("y",)]


async def test_what_no_rollup_has_counted_stays(pool, database) -> None:
    old_opens(database, 3)
    assert await purged(pool, "analytics", email_opens=90) == {"email_opens": 0}
    async with as_orchestrator(pool) as conn:
        await analytics.remember(conn, NOW - timedelta(days=92))
    assert await purged(pool, "analytics", email_opens=90) == {"email_opens": 0}


def test_the_shipped_preset_has_a_figure_for_every_rule_and_no_other() -> None:
    assert set(RETENTION.body) == {rule.name for rule in retention.RULES}


async def test_a_notification_goes_when_it_has_expired_or_is_a_year_old(pool, database) -> None:
    run(
        database,
        """
        INSERT INTO notifications (user_id, tenant_id, type, title, message, expires_at, created_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 'x', t, 'x', now() + e::interval, now() + c::interval
          FROM (VALUES ('expired', '-1 hour', '-2 days'), ('young', NULL, '-2 days'), ('old', NULL, '-366 days'),
                       ('not expired', '1 day', '-2 days')) v(t, e, c)
        """,
    )
    assert await purged(pool, "analytics", notifications=365) == {"notifications": 2}
    assert run(database, "SELECT title FROM notifications ORDER BY 1") == [("not expired",), ("young",)]


async def test_a_rule_without_a_figure_takes_nothing(pool, database) -> None:
    old_opens(database, 3)
    assert await purged(pool, "analytics") == {}


async def test_the_last_check_of_a_record_and_the_last_passing_proof_stay(pool, database) -> None:
    add_tenant(database)
    run(
        database,
        """
        INSERT INTO domains (tenant_id, domain_name) VALUES (1, 'acme.example');
        INSERT INTO smtp_ip_addresses (tenant_id, ip_address) VALUES (1, '198.51.100.7');
        INSERT INTO dns_checks (tenant_id, domain_id, record_key, record_type, record_name, verdict, checked_at)
          SELECT 1, 1, 'spf', 'SPF', 'acme.example', 'pass', now() - n * interval '100 days'
            FROM generate_series(1, 3) n;
        INSERT INTO delivery_proofs (tenant_id, domain_id, smtp_ip_address_id, receiver, nonce, message_id, verdict,
                                     raw_message, created_at)
          SELECT 1, 1, 1, 'bigmail.example', n, n, v, 'x', now() - n * interval '100 days'
            FROM (VALUES (1, 'fail'), (2, 'pass'), (3, 'pass')) t(n, v);
        """,
    )
    assert await purged(pool, "core", dns_checks=90, delivery_proofs=90) == {"dns_checks": 2, "delivery_proofs": 2}
    assert run(database, "SELECT nonce FROM delivery_proofs") == [("2",)]
    assert run(database, "SELECT count(*) FROM dns_checks WHERE checked_at > now() - interval '101 days'") == [(1,)]


@pytest.mark.parametrize("rule", retention.RULES, ids=lambda rule: rule.name)
async def test_every_rule_is_a_statement_that_runs(pool, rule) -> None:
    assert await purged(pool, rule.target, **{rule.name: 30}) == {rule.name: 0}


async def test_an_order_at_an_authority_goes_when_a_newer_one_says_the_same(pool, database) -> None:
    add_tenant(database)
    run(database, "INSERT INTO vps_instances (tenant_id, instance_id, status) VALUES (1, 'x', 'requested')")
    run(
        database,
        """
        INSERT INTO acme_orders (tenant_id, vps_instance_id, directory, names, zones, renews, state,
                                 created_at, ended_at)
        SELECT 1, 1, 'd', ARRAY[name], '{}', false, state, now() - interval '400 days', now() - days * interval '1 day'
          FROM (VALUES (1, 'a', 'issued', 400), (2, 'b', 'issued', 400), (3, 'a', 'failed', 400),
                       (4, 'a', 'issued', 400), (5, 'a', 'failed', 10), (6, 'a', 'failed', 400)
               ) o(n, name, state, days) ORDER BY n
        """,
    )
    assert await purged(pool, "core", acme_orders=365) == {"acme_orders": 2}
    assert run(database, "SELECT id FROM acme_orders ORDER BY id") == [(2,), (4,), (5,), (6,)]


async def test_what_we_left_in_a_zone_is_known_for_as_long_as_the_domain_is_there(pool, database) -> None:
    add_tenant(database)
    run(
        database,
        """
        INSERT INTO domains (tenant_id, domain_name, verification_status)
          VALUES (1, 'here.example', 'verified'), (1, 'gone.example', 'deleted');
        INSERT INTO infrastructure_events (tenant_id, subject_type, subject_id, event, actor, created_at)
        SELECT 1, 'domain', d, e, 'test', now() - interval '9 years'
          FROM unnest(ARRAY['here.example', 'gone.example']) d, unnest(ARRAY['dns_publishing', 'dns_failed']) e
        """,
    )
    assert await purged(pool, "core", infrastructure_events=730) == {"infrastructure_events": 3}
    assert run(database, "SELECT subject_id, event FROM infrastructure_events") == [("here.example", "dns_publishing")]
