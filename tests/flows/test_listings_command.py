"""What an operator reads of lists: a listed, a clean, a refused and a dead answer, and which lists are asked."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from typer.testing import CliRunner, Result

from flows.__main__ import app
from tests.support.blocklists import DBL, KEY, PSBL, ZEN, Lists
from tests.support.nameserver import serving
from tests.support.product import Product

LABEL = "10.2.0.192"


@pytest.fixture
async def lists(product: Product) -> AsyncIterator[Lists]:
    server = Lists()
    async with serving({"127.0.0.1": server}) as port:
        product.configure(
            DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(port), DNS__TIMEOUT_SECONDS="0.5",
            BLOCKLISTS__SPAMHAUS_DQS_KEY=KEY,
        )  # fmt: skip
        yield server


async def flows(*words: str) -> Result:
    """The command in a thread of its own: the lists answer from this one."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


async def test_a_listed_address_says_by_whom_why_and_what_to_do(product: Product, lists: Lists) -> None:
    lists.put(ZEN, LABEL, "127.0.0.2", "127.0.0.10")
    told = await flows("listings", "192.0.2.10")
    assert told.exit_code == 1
    rows = {line.split("\t")[0]: line.split("\t") for line in told.stdout.splitlines()}
    assert rows["spamhaus-zen"][1:4] == ["1", "LISTED (listed)", "127.0.0.10 127.0.0.2 SBL see the page"]
    assert "ask for removal at https://check.spamhaus.org/" in rows["spamhaus-zen"][5]
    assert rows["psbl"][2:] == ["clean", "-", "-", "-"]
    assert "spamhaus-dbl" not in rows


async def test_a_clean_domain_is_clean_and_json_has_the_evidence_without_the_key(
    product: Product, lists: Lists
) -> None:
    told = await flows("listings", "acme.example", "--json")
    found = json.loads(told.stdout)
    assert (told.exit_code, found["verdict"], found["reason"]) == (0, "pass", "clean")
    assert {one["list"] for one in found["lists"]} == {"spamhaus-dbl", "spamhaus-zrd", "uribl", "surbl"}
    questions = [seen["question"] for one in found["lists"] for seen in one["evidence"]]
    assert "acme.example.<key>.dbl.dq.spamhaus.net" in questions
    assert KEY not in told.output


async def test_a_refused_list_is_unknown_and_says_so(product: Product, lists: Lists) -> None:
    lists.every[ZEN] = "127.255.255.254"
    told = await flows("listings", "192.0.2.10")
    assert told.exit_code == 7
    assert "unknown (public_resolver)" in told.stdout
    assert "ask through a recursive resolver of our own" in told.stdout


async def test_a_dead_list_is_unknown_and_what_is_on_record_is_shown(product: Product, lists: Lists) -> None:
    lists.dead.add(PSBL)
    product.sign_up()
    product.rows(
        "INSERT INTO smtp_ip_addresses (tenant_id, ip_address, provider_blacklist_status) SELECT id, '192.0.2.10', %s"
        " FROM tenants",
        json.dumps(
            {"psbl": {"verdict": "fail", "listed_since": "2026-11-20T10:00:00", "unknown_since": "2026-11-21T10:00:00"}}
        ),
    )
    told = await flows("listings", "192.0.2.10")
    assert told.exit_code == 7
    assert "unknown (list_dead)" in told.stdout
    assert "LISTED since 2026-11-20T10:00, not known since 2026-11-21T10:00" in told.stdout


async def test_what_is_neither_address_nor_domain_is_a_mistake_in_usage(product: Product, lists: Lists) -> None:
    told = await flows("listings", "not a name")
    assert (told.exit_code, lists.asked) == (2, [])


async def test_lists_are_shown_tested_waived_disabled_and_enabled(product: Product, lists: Lists) -> None:
    lists.dead.add(DBL)
    tested = (await flows("blocklists", "test")).stdout
    assert "spamhaus-dbl\tdomain\tdead\tempty" in tested
    assert "psbl\tipv4\ttrusted\tok" in tested
    assert (await flows("blocklists", "waive", "spamhaus-dbl")).exit_code == 0
    assert (await flows("blocklists", "disable", "psbl")).exit_code == 0
    shown = {
        line.split("\t")[0]: line.split("\t")[2] for line in (await flows("blocklists", "list")).stdout.splitlines()
    }
    assert (shown["spamhaus-dbl"], shown["psbl"], shown["spamcop"], shown["abusix"]) == (
        "on, waived",
        "off",
        "on",
        "off",
    )
    assert (await flows("blocklists", "enable", "spamhaus-dbl")).exit_code == 0
    shown = {
        line.split("\t")[0]: line.split("\t")[2] for line in (await flows("blocklists", "list")).stdout.splitlines()
    }
    assert shown["spamhaus-dbl"] == "on"
    assert (await flows("blocklists", "waive", "sorbs")).exit_code == 5
