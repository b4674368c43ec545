"""A CSV of leads: good lines in, rubbish named, the suppressed and the known left out, nothing twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql.leads import DROP_ADDRESSES, DROP_DOMAINS, BadHeading, Reject, find_lead, import_leads, read_rows
from sql.session import as_orchestrator, as_tenant
from tests.support.postgres import TenantRow, add_tenant

HEADING = "Email,First Name,Last Name,Company,Position"


@pytest.fixture
def tenant(database: str) -> TenantRow:
    return add_tenant(database)


async def imported(pool, tenant: TenantRow, *lines: str, heading: str = HEADING):
    async with as_tenant(pool, tenant.uuid) as conn:
        return await import_leads(conn, tenant_id=tenant.pk, lines=[heading, *lines])


async def count(pool) -> int:
    async with as_orchestrator(pool) as conn:
        row = await (await conn.execute("SELECT count(*) FROM leads")).fetchone()
    assert row is not None
    return row[0]


async def test_good_lines_become_leads_and_unknown_columns_metadata(pool, tenant) -> None:
    line = 'Ada@Acme.example,Ada,Lovelace,"Engines, Analytical",Countess,blue'
    result = await imported(pool, tenant, line, heading=f"{HEADING},Colour")
    assert (result.read, result.added, result.known, result.suppressed, result.rejects) == (1, 1, 0, 0, [])
    async with as_tenant(pool, tenant.uuid) as conn:
        lead = await find_lead(conn, tenant_id=tenant.pk, email="ADA@acme.example")
    assert lead is not None
    assert (lead.first_name, lead.company, lead.metadata) == ("Ada", "Engines, Analytical", {"colour": "blue"})


async def test_the_same_file_twice_adds_nothing_and_changes_nothing(pool, tenant) -> None:
    await imported(pool, tenant, "ada@acme.example,Ada,,,")
    again = await imported(pool, tenant, "ada@acme.example,Eve,,,", "ADA@acme.example,,,,", "bob@acme.example,,,,")
    assert (again.added, again.known) == (1, 2)
    async with as_tenant(pool, tenant.uuid) as conn:
        lead = await find_lead(conn, tenant_id=tenant.pk, email="ada@acme.example")
    assert lead is not None
    assert lead.first_name == "Ada"


async def test_the_suppressed_are_left_out_by_address_and_by_domain(pool, tenant) -> None:
    async with as_tenant(pool, tenant.uuid) as conn:
        await conn.execute(
            """
            INSERT INTO suppressions (tenant_id, scope, value, reason, expires_at) VALUES
              (%(t)s, 'address', 'gone@acme.example', 'unsubscribe', NULL),
              (%(t)s, 'domain', 'beta.example', 'manual', NULL),
              (%(t)s, 'address', 'back@acme.example', 'mailbox_full', now() - interval '1 day')
            """,
            {"t": tenant.pk},
        )
    lines = [f"{who},,,," for who in ("gone@acme.example", "x@beta.example", "back@acme.example", "new@acme.example")]
    result = await imported(pool, tenant, *lines)
    assert (result.added, result.suppressed) == (2, 2)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not-an-address,,,,", "no address"),
        (",Ada,,,", "no address"),
        ("a@b@acme.example,,,,", "no address"),
        ("a..b@acme.example,,,,", "no address"),
        ("ada@localhost,,,,", "no address"),
        ("ada@-acme.example,,,,", "no address"),
        (f"{'a' * 65}@acme.example,,,,", "no address"),
        ("ada@acme.example", "wrong number of columns"),
        ("ada@acme.example,,,,,", "wrong number of columns"),
        ('ada@acme.example,"Ada,,,', "broken quotes"),
        ('ada@acme.example,"Ada"x,,,', "broken quotes"),
        ("ada@acme.example,A\0da,,,", "unreadable characters"),
        ("ada@acme.example,A\udce4da,,,", "unreadable characters"),
        (f"ada@acme.example,{'A' * 101},,,", "first_name too long"),
        (f"ada@acme.example,,,{'A' * 256},", "company too long"),
    ],
)
async def test_rubbish_is_named_with_its_line(pool, tenant, line: str, reason: str) -> None:
    result = await imported(pool, tenant, "good@acme.example,,,,", line, "also@acme.example,,,,")
    assert (result.read, result.added) == (3, 2)
    assert [(reject.line, reject.reason) for reject in result.rejects] == [(3, reason)]
    assert result.reasons == {reason: 1}


async def test_a_domain_in_another_script_is_kept_as_a_label(pool, tenant) -> None:
    await imported(pool, tenant, "ada@Bücher.example,Ada,,,")
    async with as_tenant(pool, tenant.uuid) as conn:
        assert await find_lead(conn, tenant_id=tenant.pk, email="ada@xn--bcher-kva.example") is not None


@pytest.mark.parametrize("heading", ["", "name,company", "email,email", "\n"])
async def test_a_file_without_an_email_column_is_refused(pool, tenant, heading: str) -> None:
    with pytest.raises(BadHeading):
        await imported(pool, tenant, "x", heading=heading)


async def test_a_byte_order_mark_blank_lines_and_windows_ends_do_no_harm(pool, tenant) -> None:
    lines = ["\ufeffemail\r\n", "\r\n", "ada@acme.example\r\n", "\n"]
    async with as_tenant(pool, tenant.uuid) as conn:
        result = await import_leads(conn, tenant_id=tenant.pk, lines=lines)
    assert (result.read, result.added) == (1, 1)


async def test_a_failure_at_the_end_takes_all_of_it_back(pool, tenant) -> None:
    with pytest.raises(RuntimeError):  # noqa: PT012 - the transaction is what raises
        async with as_tenant(pool, tenant.uuid) as conn:
            await import_leads(conn, tenant_id=tenant.pk, lines=[HEADING, "ada@acme.example,,,,"])
            raise RuntimeError
    assert await count(pool) == 0


async def test_two_files_in_one_transaction(pool, tenant) -> None:
    async with as_tenant(pool, tenant.uuid) as conn:
        for name in ("ada", "bob"):
            await import_leads(conn, tenant_id=tenant.pk, lines=["email", f"{name}@acme.example"])
    assert await count(pool) == 2


async def test_leads_cannot_be_put_into_another_tenants_list(pool, tenant, database) -> None:
    beta = add_tenant(database, "beta")
    with pytest.raises(Exception, match="row-level security"):
        async with as_tenant(pool, tenant.uuid) as conn:
            await import_leads(conn, tenant_id=beta.pk, lines=["email", "ada@acme.example"])


async def test_ten_thousand_lines_with_a_tenth_rubbish(pool, tenant) -> None:
    lines = [f"user{n}@acme.example,Ada,,," if n % 10 else f"rubbish {n}" for n in range(10_000)]
    result = await imported(pool, tenant, *lines)
    assert (result.added, len(result.rejects)) == (9_000, 1_000)
    assert await count(pool) == 9_000


async def test_what_copy_would_misread_arrives_as_it_stands(pool, tenant) -> None:
    awkward = ["back\\slash", "\\N", "\\.", "tab\there", "a\rb", "ü€𝄞"]
    await imported(pool, tenant, *(f"n{n}@acme.example,{text},,,{text}" for n, text in enumerate(awkward)),
                   heading="email,first_name,last_name,company,colour")  # fmt: skip
    async with as_tenant(pool, tenant.uuid) as conn:
        leads = [await find_lead(conn, tenant_id=tenant.pk, email=f"n{n}@acme.example") for n in range(len(awkward))]
    assert [(lead.first_name, lead.metadata["colour"], lead.last_name) for lead in leads if lead] == [
        (text, text, None) for text in awkward
    ]


async def test_chunks_add_up_and_a_lead_of_an_earlier_chunk_is_known(pool, tenant) -> None:
    lines = [f"n{n % 25_000}@acme.example,,,," if n % 100 else "rubbish" for n in range(50_000)]
    result = await imported(pool, tenant, *lines)
    assert (result.read, result.added, result.known, len(result.rejects)) == (50_000, 24_750, 24_750, 500)
    assert await count(pool) == 24_750
    assert result.rejects[-1].line == 49_902


async def test_many_suppressed_domains_cost_no_comparison_of_each_pair(pool, tenant) -> None:
    async with as_tenant(pool, tenant.uuid) as conn:
        await conn.execute(
            "INSERT INTO suppressions (tenant_id, scope, value, reason)"
            " SELECT %s, s, 'd' || n || '.example', 'manual' FROM generate_series(1, 2000) n,"
            " unnest(ARRAY['domain', 'address']) s",
            [tenant.pk],
        )
        await conn.execute("CREATE TEMPORARY TABLE incoming_leads (email text)")
        for statement in (DROP_ADDRESSES, DROP_DOMAINS):
            plan = await (await conn.execute("EXPLAIN " + statement, [tenant.pk])).fetchall()
            assert "Join Filter" not in "".join(str(row[0]) for row in plan), plan


@given(st.lists(st.text()))
def test_no_text_breaks_the_reader(texts: list[str]) -> None:
    for row in read_rows(["email,company", *texts]):
        assert isinstance(row, (tuple, Reject))
