"""What the doctor lists: rows that nobody may guess about, logins that reach too far, tables left open."""

import re

import psycopg
import pytest

from sql import migrate
from sql.migration_doctor import WORDS


def change(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(statement)


async def test_a_healthy_database_has_no_findings(each_database: str) -> None:
    assert await migrate.doctor(each_database, "core") == ()
    assert await migrate.doctor(each_database, "analytics") == ()


async def test_an_empty_database_has_no_findings(empty_database: str) -> None:
    assert await migrate.doctor(empty_database, "core") == ()


@pytest.mark.parametrize(
    ("rows", "subject", "words"),
    [
        ("INSERT INTO leads (email) VALUES ('x@acme.example')", "leads", "1 rows without a tenant: 1"),
        (
            (
                "INSERT INTO tenants (name) VALUES ('a');"
                "INSERT INTO domains (tenant_id, domain_name) VALUES (1, 'Acme.example'), (1, 'acme.example')"
            ),
            "domains",
            "two spellings of one tenant: acme.example",
        ),
        (
            (
                "INSERT INTO tenants (name) VALUES ('a');"
                "INSERT INTO email_accounts (tenant_id, email_address)"
                " VALUES (1, 'A@acme.example'), (1, 'a@acme.example')"
            ),
            "email_accounts",
            "a@acme.example",
        ),
        (
            (
                "INSERT INTO tenants (name) VALUES ('a'), ('b');"
                "INSERT INTO templates (tenant_id, template_name, content) VALUES (1, 't', 'c');"
                "INSERT INTO campaigns (tenant_id, campaign_name, template_id) VALUES (2, 'c', 1)"
            ),
            "campaigns",
            "another tenant's template: 1",
        ),
        (
            (
                "INSERT INTO tenants (name) VALUES ('a'), ('b');"
                "INSERT INTO smtp_ip_addresses (tenant_id, ip_address) VALUES (1, '198.51.100.7'), (2, '198.51.100.7')"
            ),
            "smtp_ip_addresses",
            "two live rows hold: 198.51.100.7",
        ),
        (
            (
                "INSERT INTO tenants (name) VALUES ('a'), ('b');"
                "INSERT INTO email_accounts (tenant_id, email_address) VALUES (1, 'A@x.example'), (2, 'a@x.example')"
            ),
            "email_accounts",
            "two tenants hold: a@x.example",
        ),
        (
            (
                "INSERT INTO tenants (name) VALUES ('a');"
                "INSERT INTO templates (tenant_id, template_name, content) VALUES (1, 't', 'c'), (1, 't', 'd')"
            ),
            "templates",
            "a tenant has twice: t",
        ),
        (
            (
                "INSERT INTO tenants (name) VALUES ('a');"
                "INSERT INTO domains (tenant_id, domain_name, is_primary)"
                " VALUES (1, 'a.example', true), (1, 'b.example', true)"
            ),
            "domains",
            "two primary domains: 1",
        ),
    ],
)
async def test_rows_that_nobody_may_guess_about_are_listed(
    empty_database: str, rows: str, subject: str, words: str
) -> None:
    await migrate.up(empty_database, "core", to=2)
    change(empty_database, rows)
    findings = await migrate.doctor(empty_database, "core")
    assert [finding.subject for finding in findings] == [subject]
    assert words in findings[0].problem


UNKNOWN = {
    "core": (
        "INSERT INTO tenants (name) VALUES ('a');"
        "INSERT INTO vps_instances (tenant_id, instance_id, ip_address, status) VALUES (1, 'x', '198.51.100.7', 'odd');"
        "INSERT INTO email_accounts (tenant_id, email_address, status) VALUES (1, 'a@acme.example', NULL);"
        "INSERT INTO campaigns (tenant_id, campaign_name, status) VALUES (1, 'c', 'sleeping'), (1, 'd', 'sleeping');"
    ),
    "analytics": (
        "INSERT INTO job_queues (name) VALUES ('q');"
        "INSERT INTO jobs (queue_name, payload, status) VALUES ('q', '{}', 'stuck');"
    ),
}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (
            "core",
            {
                "vps_instances": "words in status that mean nothing to us: odd x 1",
                "email_accounts": "words in status that mean nothing to us: none at all x 1",
                "campaigns": "words in status that mean nothing to us: sleeping x 2",
            },
        ),
        ("analytics", {"jobs": "words in status that mean nothing to us: stuck x 1"}),
    ],
)
async def test_unknown_state_words_are_listed(empty_database: str, target: str, told: dict[str, str]) -> None:
    await migrate.up(empty_database, target, to=1)
    change(empty_database, UNKNOWN[target])
    found = {finding.subject: finding.problem for finding in await migrate.doctor(empty_database, target)}
    assert {subject: problem.split(" ", 1)[1] for subject, problem in found.items()} == told


async def test_the_words_are_those_of_the_schema(database: str) -> None:
    rewritten = {"smtp_ip_addresses": {"active"}, "jobs": {"migrated_to_redis"}}
    with psycopg.connect(database) as conn:
        for table, column, *words in (*WORDS["core"], *WORDS["analytics"]):
            row = conn.execute(
                "SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_attribute a"
                " ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum] WHERE k.contype = 'c'"
                " AND k.conrelid = %s::regclass AND a.attname = %s AND pg_get_constraintdef(k.oid) LIKE '%% = ANY %%'",
                [table, column],
            ).fetchone()
            assert row is not None, (table, column)
            assert set(re.findall(r"'([a-z_]+)'", row[0])) == set(words) - rewritten.get(table, set())


async def test_a_table_left_open_is_named_with_its_cure(each_database: str) -> None:
    change(each_database, "CREATE TABLE notes (id int, tenant_id uuid)")
    (finding,) = await migrate.doctor(each_database, "core")
    assert (finding.subject, finding.fix) == ("notes", "SELECT isolate_tenant_table('notes')")


async def test_a_login_that_inherits_a_role_is_named(each_database: str) -> None:
    change(
        each_database,
        "DROP ROLE IF EXISTS doctor_login; CREATE ROLE doctor_login LOGIN INHERIT IN ROLE penguin_app",
    )
    login = each_database.replace("//postgres@", "//doctor_login@")
    try:
        findings = await migrate.doctor(login, "core")
    finally:
        change(each_database, "DROP ROLE doctor_login")
    told = {finding.problem: finding.fix for finding in findings}
    assert told["it inherits penguin_app outside any transaction of ours"] == "ALTER ROLE doctor_login NOINHERIT"
    assert told["it may not take the role penguin_orchestrator"] == "GRANT penguin_orchestrator TO doctor_login"


@pytest.mark.parametrize("target", ["core", "analytics"])
async def test_every_way_back_leads_back(each_database: str, target: str) -> None:
    seen = await migrate.verify(each_database, target)
    assert seen.differences == ()
    assert seen.versions > 1


async def test_a_way_back_that_forgets_something_is_seen(each_database: str, tmp_path) -> None:
    core = tmp_path / "core"
    core.mkdir()
    (core / "0001_one.sql").write_text("CREATE TABLE one (id int); CREATE TABLE two (id int);")
    (core / "0001_one.down.sql").write_text("DROP TABLE one;")
    with pytest.raises(migrate.Refused, match='relation "two" already exists'):
        await migrate.verify(each_database, "core", folder=tmp_path)
    (core / "0001_one.sql").write_text("CREATE TABLE one (id int); CREATE TABLE IF NOT EXISTS two (id int);")
    seen = await migrate.verify(each_database, "core", folder=tmp_path)
    assert "down to 0000: + column two.id integer not null f identity  generated  default " in seen.differences


async def test_verify_leaves_no_scratch_database(each_database: str) -> None:
    await migrate.verify(each_database, "analytics")
    with psycopg.connect(each_database) as conn:
        assert conn.execute("SELECT 1 FROM pg_database WHERE datname LIKE 'penguin_verify%'").fetchall() == []
