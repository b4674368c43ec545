"""The sweep over due addresses and domains: what is asked, what is believed, what is written and what is told."""

from collections.abc import AsyncIterator
from typing import Any, get_args

import psycopg
import pytest

from flows.blocklists.listing import check_blocklists, checked, is_due, tell
from flows.blocklists.lists import findings, proven_lists, screened
from flows.policy.blocklists import Kind
from flows.policy.verdict import Truth
from flows.resources import resources
from sql.blacklist_checks import CheckType
from tests.support.blocklists import DBL, KEY, PSBL, UCE3, URIBL, ZEN, Lists
from tests.support.nameserver import serving
from tests.support.product import Customer, Product

ADDRESS, LABEL = "192.0.2.10", "10.2.0.192"


@pytest.fixture
async def lists(product: Product) -> AsyncIterator[Lists]:
    server = Lists()
    async with serving({"127.0.0.1": server}) as port:
        product.configure(
            DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(port), DNS__TIMEOUT_SECONDS="0.3",
            BLOCKLISTS__SPAMHAUS_DQS_KEY=KEY,
        )  # fmt: skip
        yield server


@pytest.fixture
def acme(product: Product) -> Customer:
    """A tenant that sends from one address with one domain."""
    customer = product.sign_up()
    own(product, customer, ADDRESS)
    return customer


def own(product: Product, customer: Customer, address: str) -> None:
    product.rows(
        "WITH i AS (INSERT INTO smtp_ip_addresses (tenant_id, ip_address, status, rdns_hostname)"
        " VALUES (%s, %s, 'assigned', 'mail.acme.example') RETURNING id, tenant_id)"
        " INSERT INTO domain_ip_assignments (tenant_id, domain_id, smtp_ip_address_id)"
        " SELECT i.tenant_id, d.id, i.id FROM i JOIN domains d ON d.tenant_id = i.tenant_id",
        customer.pk,
        address,
    )


async def sweep() -> None:
    """What the flow does, without its page in Prefect."""
    async with resources() as r:
        for check_type in get_args(CheckType):
            while await is_due(r, check_type):
                await checked(r, check_type)
        await tell(r)


def later(product: Product, minutes: int) -> None:
    """Let time pass: everything that is written moves into the past, and what is due then is due now."""
    with psycopg.connect(product.dsn, autocommit=True) as conn:
        for table, columns in (
            ("blacklist_checks", ("listed_since", "contrary_since", "unknown_since", "next_check_at", "checked_at")),
            ("smtp_ip_addresses", ("blacklist_next_check_at",)),
            ("domains", ("blacklist_next_check_at",)),
            ("blocklist_self_tests", ("tested_at", "tried_at", "passed_at")),
        ):
            moves = ", ".join(f"{column} = {column} - interval '{minutes} minutes'" for column in columns)
            conn.execute(f"UPDATE {table} SET {moves}")


def run_on(product: Product, name: str, subject: str = ADDRESS) -> dict[str, Any]:
    (row,) = product.rows(
        "SELECT * FROM blacklist_checks WHERE blacklist_name = %s AND check_value = %s AND ended_at IS NULL",
        name,
        subject,
    )
    return row


def open_alerts(product: Product) -> dict[str, str]:
    found = product.rows("SELECT title, severity FROM system_notifications WHERE NOT is_resolved ORDER BY title")
    return {row["title"]: row["severity"] for row in found}


async def listed(product: Product, lists: Lists) -> None:
    """The address is on ZEN, and that is confirmed."""
    lists.put(ZEN, LABEL, "127.0.0.2")
    await sweep()
    later(product, 7)
    await sweep()
    assert run_on(product, "spamhaus-zen")["verdict"] == "fail"


async def test_a_clean_address_and_domain_get_a_run_on_every_list_of_their_kind(
    product: Product, lists: Lists, acme: Customer
) -> None:
    assert (await check_blocklists(return_state=True)).is_completed()
    rows = product.rows("SELECT check_type, verdict, count(*) AS n FROM blacklist_checks GROUP BY 1, 2 ORDER BY 1")
    assert rows == [
        {"check_type": "domain", "verdict": "pass", "n": 4},
        {"check_type": "ip", "verdict": "pass", "n": 9},
    ]
    (row,) = product.rows("SELECT provider_blacklist_status AS s FROM smtp_ip_addresses")
    assert {one["verdict"] for one in row["s"].values()} == {"pass"}
    assert len(row["s"]) == 9


async def test_addresses_are_never_asked_of_domain_lists_nor_domains_of_address_lists(
    product: Product, lists: Lists, acme: Customer
) -> None:
    await sweep()
    assert not [name for name in lists.questions(DBL) if name.startswith(LABEL)]
    assert not [name for name in lists.questions(ZEN) if "acme" in name]
    assert f"mail.acme.example.{DBL}." in lists.questions(DBL)


async def test_nothing_is_asked_again_before_its_time(product: Product, lists: Lists, acme: Customer) -> None:
    await sweep()
    asked = len(lists.asked)
    await sweep()
    assert len(lists.asked) == asked
    later(product, 70)
    await sweep()
    assert [name for name in lists.questions(ZEN) if LABEL in name] == [f"{LABEL}.{ZEN}."] * 2
    assert [name for name in lists.questions(PSBL) if LABEL in name] == [f"{LABEL}.{PSBL}."]


async def test_a_listing_is_told_when_a_second_answer_confirms_it_and_only_once(
    product: Product, lists: Lists, acme: Customer
) -> None:
    lists.put(ZEN, LABEL, "127.0.0.2", "127.0.0.9")
    await sweep()
    assert (run_on(product, "spamhaus-zen")["verdict"], open_alerts(product)) == ("unknown", {})
    later(product, 7)
    await sweep()
    run = run_on(product, "spamhaus-zen")
    assert (run["verdict"], run["blacklist_category"], run["tier"]) == ("fail", "SBL", 1)
    assert run["return_codes"] == ["127.0.0.2", "127.0.0.9"]
    assert run["listing_reason"] == "see the page"
    assert open_alerts(product) == {f"{ADDRESS} is on spamhaus-zen (SBL)": "critical"}
    later(product, 40)
    await sweep()
    (alert,) = product.rows("SELECT occurrences, tenant_id FROM system_notifications")
    assert (alert["occurrences"], alert["tenant_id"]) == (1, acme.uuid)
    events = product.rows("SELECT event, reason FROM infrastructure_events")
    assert events == [{"event": "listed", "reason": "spamhaus-zen"}]


async def test_a_listing_ends_with_two_clean_answers_and_its_alert_with_it(
    product: Product, lists: Lists, acme: Customer
) -> None:
    await listed(product, lists)
    lists.take_off(ZEN, LABEL)
    later(product, 40)
    await sweep()
    assert run_on(product, "spamhaus-zen")["verdict"] == "fail"
    later(product, 90)
    await sweep()
    assert run_on(product, "spamhaus-zen")["verdict"] == "pass"
    (ended,) = product.rows("SELECT * FROM blacklist_checks WHERE ended_at IS NOT NULL")
    assert ended["delisted_at"] == ended["ended_at"]
    assert open_alerts(product) == {}
    events = [row["event"] for row in product.rows("SELECT event FROM infrastructure_events ORDER BY id")]
    assert events == ["listed", "delisted"]


async def test_a_list_that_dies_while_we_hold_a_listing_holds_it_and_calls_an_operator(
    product: Product, lists: Lists, acme: Customer
) -> None:
    await listed(product, lists)
    lists.dead.add(ZEN)
    lists.take_off(ZEN, LABEL)
    for _ in range(3):
        later(product, 400)
        await sweep()
    run = run_on(product, "spamhaus-zen")
    assert (run["verdict"], run["unknown_reason"], run["delisted_at"]) == ("fail", "list_dead", None)
    assert run["unknown_since"] is not None
    alerts = open_alerts(product)
    assert alerts["Spamhaus ZEN is dead (ipv4)"] == "high"
    assert f"{ADDRESS} is on spamhaus-zen (SBL)" in alerts
    asked = len([name for name in lists.questions(ZEN) if LABEL in name])
    later(product, 100)
    await sweep()
    assert len([name for name in lists.questions(ZEN) if LABEL in name]) == asked


async def test_a_dead_list_comes_back_after_two_self_tests_and_its_word_counts_again(
    product: Product, lists: Lists, acme: Customer
) -> None:
    await sweep()
    lists.dead.add(ZEN)
    later(product, 400)
    await sweep()
    lists.dead.clear()
    later(product, 370)
    await sweep()
    assert run_on(product, "spamhaus-zen")["unknown_reason"] == "list_dead"
    later(product, 370)
    await sweep()
    assert run_on(product, "spamhaus-zen")["unknown_reason"] is None
    assert open_alerts(product) == {}


async def test_a_list_that_lists_the_world_lists_none_of_ours(product: Product, lists: Lists, acme: Customer) -> None:
    lists.every[PSBL] = "127.0.0.2"
    for _ in range(3):
        await sweep()
        later(product, 400)
    assert (run_on(product, "psbl")["verdict"], run_on(product, "psbl")["unknown_reason"]) == ("unknown", "list_dead")
    assert open_alerts(product) == {"PSBL is dead (ipv4)": "high"}


async def test_a_refused_resolver_is_no_listing_and_an_operator_hears_of_it(
    product: Product, lists: Lists, acme: Customer
) -> None:
    lists.every[ZEN] = "127.255.255.254"
    lists.every[URIBL] = "127.0.0.1"
    await sweep()
    later(product, 70)
    await sweep()
    assert run_on(product, "spamhaus-zen")["unknown_reason"] == "public_resolver"
    assert run_on(product, "uribl", "acme.example")["verdict"] == "unknown"
    assert {"Spamhaus ZEN does not answer us (ipv4)", "URIBL does not answer us (domain)"} <= open_alerts(
        product
    ).keys()


async def test_a_list_that_begins_to_refuse_between_two_tests_is_told_at_once(
    product: Product, lists: Lists, acme: Customer
) -> None:
    await sweep()
    lists.put(ZEN, LABEL, "127.255.255.255")
    later(product, 70)
    await sweep()
    run = run_on(product, "spamhaus-zen")
    assert (run["verdict"], run["unknown_reason"]) == ("pass", "too_many_questions")
    assert "spamhaus-zen refuses our questions (too_many_questions)" in open_alerts(product)


async def test_an_unknown_code_is_told_once_and_means_nothing(product: Product, lists: Lists, acme: Customer) -> None:
    lists.put(ZEN, LABEL, "127.0.0.99")
    await sweep()
    later(product, 70)
    await sweep()
    assert run_on(product, "spamhaus-zen")["unknown_reason"] == "unknown_code"
    (alert,) = product.rows("SELECT title, occurrences FROM system_notifications")
    assert alert == {"title": "spamhaus-zen answers 127.0.0.99, which is not in our table", "occurrences": 2}


async def test_a_silent_list_is_unknown_and_asked_again_soon(product: Product, lists: Lists, acme: Customer) -> None:
    await sweep()
    lists.silent.add(PSBL)
    later(product, 400)
    await sweep()
    run = run_on(product, "psbl")
    assert (run["verdict"], run["unknown_reason"]) == ("pass", "self_test_stale")
    lists.silent.clear()
    later(product, 20)
    later(product, 400)
    await sweep()
    assert run_on(product, "psbl")["unknown_reason"] is None


async def test_a_list_without_its_key_is_not_asked_and_not_clean(
    product: Product, lists: Lists, acme: Customer
) -> None:
    product.configure(BLOCKLISTS__SPAMHAUS_DQS_KEY="")
    await sweep()
    assert run_on(product, "spamhaus-zen")["unknown_reason"] == "not_licensed"
    assert not [asked for asked in lists.asked if "spamhaus" in asked.name]
    assert open_alerts(product) == {}


async def test_a_note_is_recorded_and_told_to_nobody(product: Product, lists: Lists, acme: Customer) -> None:
    lists.put(UCE3, LABEL, "127.0.0.2")
    await sweep()
    assert (run_on(product, "uceprotect-3")["verdict"], open_alerts(product)) == ("fail", {})


async def test_an_alert_that_a_crash_kept_back_is_told_by_the_next_sweep(
    product: Product, lists: Lists, acme: Customer
) -> None:
    await listed(product, lists)
    product.rows("DELETE FROM system_notifications")
    product.rows("UPDATE blacklist_checks SET announced = '' WHERE verdict = 'fail'")
    await sweep()
    assert f"{ADDRESS} is on spamhaus-zen (SBL)" in open_alerts(product)
    async with resources() as r:
        assert await tell(r) == 0


async def test_a_graver_listing_takes_the_place_of_a_lighter_one_and_the_alert_stays_open(
    product: Product, lists: Lists, acme: Customer
) -> None:
    lists.put(ZEN, LABEL, "127.0.0.10")
    await sweep()
    later(product, 80)
    await sweep()
    assert run_on(product, "spamhaus-zen")["blacklist_category"] == "PBL"
    lists.put(ZEN, LABEL, "127.0.0.4", "127.0.0.10")
    for _ in range(2):
        later(product, 140)
        await sweep()
    run = run_on(product, "spamhaus-zen")
    assert (run["blacklist_category"], run["tier"]) == ("XBL", 1)
    (before,) = product.rows("SELECT * FROM blacklist_checks WHERE ended_at IS NOT NULL")
    assert (before["blacklist_category"], before["delisted_at"]) == ("PBL", None)
    assert open_alerts(product) == {f"{ADDRESS} is on spamhaus-zen (XBL)": "critical"}


async def test_a_list_that_is_switched_off_ends_its_runs_without_a_word_of_delisting(
    product: Product, lists: Lists, acme: Customer
) -> None:
    await listed(product, lists)
    product.rows("UPDATE blocklist_zones SET is_enabled = false WHERE name = 'spamhaus-zen'")
    later(product, 40)
    await sweep()
    (ended,) = product.rows("SELECT * FROM blacklist_checks WHERE blacklist_name = 'spamhaus-zen'")
    assert (ended["verdict"], ended["delisted_at"]) == ("fail", None)
    assert ended["ended_at"] is not None
    (row,) = product.rows("SELECT provider_blacklist_status AS s FROM smtp_ip_addresses")
    assert "spamhaus-zen" not in row["s"]


async def test_rows_that_nobody_can_read_keep_no_other_from_being_looked_at(
    product: Product, lists: Lists, acme: Customer
) -> None:
    product.rows("INSERT INTO domains (tenant_id, domain_name) VALUES (%s, 'localhost')", acme.pk)
    product.rows("UPDATE smtp_ip_addresses SET rdns_hostname = 'no..name'")
    product.rows("INSERT INTO blocklist_codes VALUES ('psbl', '127.0.0.9-4', 'backwards', 'listed', 2)")
    lists.put(PSBL, LABEL, "127.0.0.2")
    await sweep()
    assert run_on(product, "spamhaus-dbl", "acme.example")["verdict"] == "pass"
    assert run_on(product, "psbl")["contrary"] == "fail:listed:2"
    (due,) = product.rows("SELECT count(*) AS n FROM domains WHERE blacklist_next_check_at <= now()")
    assert due["n"] == 0


async def test_a_subject_can_be_looked_at_at_once_and_an_unknown_one_is_refused(
    product: Product, lists: Lists, acme: Customer
) -> None:
    await sweep()
    asked = len(lists.questions(PSBL))
    await check_blocklists(ADDRESS)
    assert len(lists.questions(PSBL)) == asked + 1
    assert (await check_blocklists("192.0.2.99", return_state=True)).name == "Rejected"


async def test_a_new_address_is_screened_by_lists_that_proved_themselves(product: Product, lists: Lists) -> None:
    lists.put(PSBL, "11.2.0.192", "127.0.0.2")
    lists.silent.add(UCE3)
    async with resources() as r:
        verdicts = await screened(r, [ADDRESS, "192.0.2.11"])
    assert (verdicts[ADDRESS].truth, verdicts["192.0.2.11"].truth) == (Truth.PASS, Truth.FAIL)
    assert verdicts["192.0.2.11"].found == ("psbl listed",)
    lists.silent = {PSBL}
    async with resources() as r:
        unknown = (await screened(r, [ADDRESS]))[ADDRESS]
    assert (unknown.truth, unknown.reason) == (Truth.UNKNOWN, "timeout")
    assert "python -m flows blocklists waive psbl" in unknown.fix


async def test_lists_are_tested_once_in_five_hours_by_whoever_asks_first(product: Product, lists: Lists) -> None:
    async with resources() as r:
        await proven_lists(r, [Kind.IPV4])
        tested = len(lists.asked)
        await proven_lists(r, [Kind.IPV4])
        assert len(lists.asked) == tested
        assert not lists.questions(DBL)
        later(product, 310)
        await proven_lists(r, [Kind.IPV4])
        assert len(lists.asked) == 2 * tested


async def test_a_list_is_asked_no_more_than_its_daily_limit_permits(
    product: Product, lists: Lists, acme: Customer
) -> None:
    product.rows("UPDATE blocklist_zones SET daily_limit = 5 WHERE name = 'psbl' RETURNING name")
    async with resources() as r:
        await proven_lists(r)
    of_test = len(lists.questions(PSBL))
    async with resources() as r:
        lists_now = await proven_lists(r)
        first = await findings(r, lists_now, ADDRESS)
        second = await findings(r, lists_now, "192.0.2.11")
        third = await findings(r, lists_now, "192.0.2.12")
    (spent,) = [one for one in third if one.listname == "psbl"]
    assert len(lists.questions(PSBL)) == of_test + 2
    assert {one.verdict.truth for one in (*first, *second)} == {Truth.PASS}
    assert (spent.verdict.truth, spent.verdict.reason) == (Truth.UNKNOWN, "daily_limit")
    assert spent.verdict.fix == "PSBL was asked today as often as it permits · it is asked again tomorrow (UTC)"
    assert {one.verdict.truth for one in third if one.listname != "psbl"} == {Truth.PASS}

    await sweep()
    assert run_on(product, "psbl")["unknown_reason"] == "daily_limit"
    product.rows("UPDATE blocklist_zones SET asked_on = asked_on - 1 WHERE name = 'psbl' RETURNING name")
    later(product, 60 * 24)
    await sweep()
    assert run_on(product, "psbl")["verdict"] == "pass"
    (row,) = product.rows("SELECT asked FROM blocklist_zones WHERE name = 'psbl'")
    assert row["asked"] == 2


async def test_the_licence_key_is_nowhere_in_the_database(product: Product, lists: Lists, acme: Customer) -> None:
    lists.put(ZEN, LABEL, "127.0.0.99", "127.0.0.2")
    await sweep()
    later(product, 7)
    await sweep()
    for table in ("blacklist_checks", "blocklist_self_tests", "smtp_ip_addresses", "system_notifications", "domains",
                  "infrastructure_events"):  # fmt: skip
        assert KEY not in str(product.rows(f"SELECT * FROM {table}"))
