"""No tenant reaches another's rows: the trial over every table, and mutations that it must notice."""

import psycopg
import pytest
from psycopg import AsyncConnection

from sql import migrate
from sql.isolation import breaches


async def found(dsn: str, *tables: str) -> tuple[str, ...]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        return await breaches(conn, only=frozenset(tables) or None)


def change(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(statement)


async def test_no_table_leaks(each_database: str) -> None:
    assert await found(each_database) == ()


async def test_the_trial_covers_every_tenant_table_of_both_targets(each_database: str) -> None:
    with psycopg.connect(each_database) as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " WHERE a.attname = 'tenant_id' AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
        ).fetchone()
    assert row == (46,)


async def test_analytics_alone_is_isolated_too(empty_database: str) -> None:
    await migrate.up(empty_database, "analytics")
    assert await found(empty_database) == ()


async def test_the_trial_leaves_nothing_behind(each_database: str) -> None:
    await found(each_database)
    with psycopg.connect(each_database) as conn:
        assert conn.execute("SELECT count(*) FROM tenants").fetchone() == (0,)
        assert conn.execute("SELECT has_table_privilege('penguin_app', 'secrets', 'SELECT')").fetchone() == (False,)
        checks = "SELECT count(*) > 40 FROM pg_constraint WHERE contype = 'c'"
        assert conn.execute(checks).fetchone() == (True,)


MUTATIONS = {
    "row security switched off": ("ALTER TABLE domains DISABLE ROW LEVEL SECURITY", "domains: row security is off"),
    "owner not bound": ("ALTER TABLE leads NO FORCE ROW LEVEL SECURITY", "leads: row security does not bind the owner"),
    "policy open to all": (
        "ALTER POLICY tenant_isolation ON domains USING (true) WITH CHECK (true)",
        "domains: a tenant sees 1 of its own 1 row, 1 of another's, 2 in all",
    ),
    "policy open for writing": (
        "ALTER POLICY tenant_isolation ON domains WITH CHECK (true)",
        "domains: to insert a row for another: it was allowed",
    ),
    "a policy that believes what a tenant writes": (
        "GRANT INSERT ON tenant_users TO penguin_app",
        "users: policy user_membership believes tenant_users, which penguin_app may write",
    ),
    "a second policy beside the first": (
        "CREATE POLICY generous ON emails TO penguin_app USING (status IS NOT NULL)",
        "emails: 2 policies for penguin_app where one is wanted",
    ),
    "a policy for everybody": (
        "CREATE POLICY generous ON emails FOR SELECT USING (status IS NOT NULL)",
        "emails: a tenant sees 1 of its own 1 row, 1 of another's, 2 in all",
    ),
    "the tenant asked for once a row": (
        "ALTER POLICY tenant_isolation ON leads USING (tenant_id = current_tenant_pk())",
        "leads: policy tenant_isolation asks for the tenant once a row, not once a query",
    ),
    "the orchestrator shut out": (
        "DROP POLICY orchestrator_all ON payments",
        "payments: the orchestrator sees 0 of 2 rows",
    ),
    "a key without the tenant": (
        (
            "ALTER TABLE campaigns DROP CONSTRAINT campaigns_template_id_fkey,"
            " ADD CONSTRAINT campaigns_template_id_fkey FOREIGN KEY (template_id) REFERENCES templates (id)"
        ),
        "campaigns: campaigns_template_id_fkey may lead to another tenant's row of templates",
    ),
    "a key without an index": (
        "DROP INDEX idx_payments_subscription",
        "payments: payments_subscription_id_fkey has no index",
    ),
    "a table of nobody, undeclared": (
        "CREATE TABLE notes (id int)",
        "notes: it has no tenant_id and is not declared to belong to nobody",
    ),
    "a tenant table without policy": (
        "CREATE TABLE notes (id int PRIMARY KEY, tenant_id uuid NOT NULL)",
        "notes: to insert a row for another: it was allowed",
    ),
    "a tenant table with security and no policy": (
        "CREATE TABLE notes (id int PRIMARY KEY, tenant_id uuid NOT NULL); ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
        "notes: 0 policies for penguin_app where one is wanted",
    ),
    "a tenant that may be empty": (
        "ALTER TABLE leads ALTER COLUMN tenant_id DROP NOT NULL",
        "leads: tenant_id may be empty",
    ),
    "no index for the policy": (
        "DROP INDEX idx_campaigns_tenant; ALTER TABLE campaigns DROP CONSTRAINT campaigns_tenant_key CASCADE",
        "campaigns: no index is led by tenant_id",
    ),
    "secrets granted": ("GRANT SELECT ON secrets TO penguin_app", "secrets: penguin_app may SELECT"),
    "orders granted to everybody": (
        "GRANT SELECT ON provider_orders TO PUBLIC",
        "provider_orders: penguin_app may SELECT",
    ),
}


@pytest.mark.parametrize("name", sorted(MUTATIONS))
async def test_the_trial_notices(database: str, name: str) -> None:
    statement, expected = MUTATIONS[name]
    change(database, statement)
    assert expected in await found(database, expected.partition(":")[0])


async def test_any_other_error_of_a_probe_is_a_breach_too(database: str) -> None:
    change(
        database,
        "CREATE FUNCTION broken() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT (1 / 0)::bigint';"
        "GRANT EXECUTE ON FUNCTION broken() TO penguin_app;"
        "ALTER POLICY tenant_isolation ON leads WITH CHECK (tenant_id = (SELECT broken()))",
    )
    told = await found(database, "leads")
    assert any("22012 division by zero" in line for line in told)


async def test_a_tenants_query_asks_for_the_tenant_once(database: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("SELECT set_config('role', 'penguin_app', true)")
        plan = conn.execute("EXPLAIN SELECT * FROM leads").fetchall()
    assert any("InitPlan" in line for (line,) in plan)
