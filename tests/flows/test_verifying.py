"""Due domains are looked at, judged and remembered; what was right is looked at cheaply, and nobody flaps."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prefect.deployments.runner import RunnerDeployment

from flows import serving
from flows.domains.observing import ROUTINE_QUESTIONS
from flows.domains.verifying import verify_domain, verify_due_domains
from flows.resources import resources
from sql import alerts
from sql.session import as_orchestrator
from tests.support.dns_zone import Internet, internet, picture
from tests.support.flow_runs import runs_for
from tests.support.product import Customer, Product

DOMAIN = "acme.example"
KEY = "pm202611e._domainkey.acme.example."


@pytest.fixture
async def dns() -> AsyncIterator[Internet]:
    async with internet(DOMAIN) as made:
        yield made


@pytest.fixture
def tenant(product: Product, dns: Internet) -> Customer:
    """A tenant whose domain is verified and due."""
    customer = product.sign_up()
    product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(dns.port), DNS__TIMEOUT_SECONDS="3")
    known(product, verified=True)
    return customer


def known(product: Product, *, verified: bool) -> None:
    product.rows(
        "UPDATE domains SET dns_records = %s, verification_status = %s, dns_next_check_at = now()",
        json.dumps(picture(DOMAIN, verified=verified)), "verified" if verified else "pending",
    )  # fmt: skip


def due(product: Product) -> None:
    product.rows("UPDATE domains SET dns_next_check_at = now(), dns_last_verified_at = NULL")


def domain_row(product: Product) -> dict[str, Any]:
    (row,) = product.rows("SELECT *, dns_next_check_at - now() AS pause FROM domains")
    return row


def statuses(product: Product) -> set[str]:
    return {record["verification_status"] for record in domain_row(product)["dns_records"]["records"]}


def checks(product: Product) -> list[tuple[str, str, str]]:
    rows = product.rows("SELECT record_key, verdict, reason FROM dns_checks ORDER BY id")
    return [(row["record_key"], row["verdict"], row["reason"]) for row in rows]


async def swept() -> str:
    state = await verify_due_domains(return_state=True)
    return str(state.message)


async def test_a_domain_that_was_right_is_renewed_within_the_routine_budget(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    assert await swept() == "1 domains"
    row = domain_row(product)
    assert row["verification_status"] == "verified"
    assert row["dns_last_verified_at"] is not None
    assert 3000 < row["pause"].total_seconds() < 4000
    assert 10 < dns.questions <= ROUTINE_QUESTIONS
    assert not product.rows("SELECT * FROM dns_checks")  # nothing is news
    assert await swept() == "0 domains"


async def test_of_two_tenants_who_claim_one_domain_at_once_one_has_it(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    product.sign_up("other", domains=[DOMAIN], mailboxes=[])
    known(product, verified=False)
    for _ in range(3):  # a status changes on agreeing looks
        await asyncio.gather(swept(), swept())
        due(product)
    rows = product.rows("SELECT verification_status FROM domains ORDER BY verification_status")
    assert [row["verification_status"] for row in rows] == ["pending", "verified"]


async def test_each_look_at_what_was_right_goes_to_one_authority_alone(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    own = "_pm-verify.acme.example."
    seen: set[str] = set()
    for _ in range(12):
        dns.forget()
        due(product)
        await swept()
        asked = [name for name in ("first", "second") if getattr(dns, name).asked_for(own)]
        assert len(asked) == 1
        seen |= set(asked)
    assert seen == {"first", "second"}


async def test_a_new_domain_is_looked_at_everywhere_and_its_record_status_kept(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    known(product, verified=False)
    await swept()
    assert domain_row(product)["verification_status"] == "verified"
    assert statuses(product) == {"verified"}
    assert {verdict for _, verdict, _ in checks(product)} == {"pass"}
    assert all(server.asked_for("_pm-verify.acme.example.") for server in (dns.first, dns.second))


async def test_one_bad_look_takes_nobodys_green_away_and_is_told_once(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    dns.change("_dmarc.acme.example. 300 TXT", "gone.acme.example. 300 TXT")
    await swept()
    due(product)
    await swept()
    row = domain_row(product)
    assert row["verification_status"] == "verified"
    assert "_dmarc.acme.example" in row["dns_verification_error"]["fix"]
    assert checks(product) == [("dmarc", "fail", "missing")]
    events = product.rows("SELECT event FROM infrastructure_events WHERE subject_type = 'domain'")
    assert [event["event"] for event in events] == ["dns_first_fail"]
    (alert,) = product.rows("SELECT * FROM system_notifications")
    assert (alert["severity"], alert["tenant_id"], alert["is_resolved"]) == ("medium", tenant.uuid, False)
    assert alert["title"] == "acme.example: dmarc missing"


async def test_what_was_told_is_over_whoever_saw_the_record_come_right_first(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    dns.change("_dmarc.acme.example. 300 TXT", "gone.acme.example. 300 TXT")
    await swept()
    await tell_of(product, "dns:acme.example:spf:silent", "dns:acme.example:wanted-no-more", "dns-repair:acme.example")
    await tell_of(product, "dns:other.example:spf")
    dns.change("gone.acme.example. 300 TXT", "_dmarc.acme.example. 300 TXT")
    known(product, verified=True)  # as a run leaves it that looked meanwhile
    await swept()
    left = product.rows("SELECT dedupe_key FROM system_notifications WHERE NOT is_resolved")
    assert [row["dedupe_key"] for row in left] == ["dns:other.example:spf"]


async def tell_of(product: Product, *keys: str) -> None:
    async with resources() as r, as_orchestrator(r.analytics) as conn:
        for key in keys:
            await alerts.raise_alert(
                conn, dedupe_key=key, category="dns", severity="medium", title=key, message=key, tenant_id=None
            )


async def test_three_bad_looks_over_an_hour_make_it_failed_and_one_good_look_brings_it_back(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    dns.change("_dmarc.acme.example. 300 TXT", "gone.acme.example. 300 TXT")
    for _ in range(3):
        await swept()
        product.rows(
            "UPDATE domains SET dns_next_check_at = now(), dns_records = jsonb_set(dns_records, '{records}',"
            " (SELECT jsonb_agg(CASE WHEN r #>> '{memory,failing_since}' IS NULL THEN r ELSE"
            " jsonb_set(r, '{memory,failing_since}', to_jsonb(now() - interval '2 hours')) END)"
            " FROM jsonb_array_elements(dns_records -> 'records') r))"
        )
    assert domain_row(product)["verification_status"] == "failed"
    dns.change("gone.acme.example. 300 TXT", "_dmarc.acme.example. 300 TXT")
    await swept()
    assert domain_row(product)["verification_status"] == "verified"
    events = product.rows("SELECT event FROM infrastructure_events WHERE subject_type = 'domain' ORDER BY id")
    assert [event["event"] for event in events] == [
        "dns_first_fail", "dns_failed", "domain_failed", "dns_recovered", "domain_verified",
    ]  # fmt: skip
    (alert,) = product.rows("SELECT * FROM system_notifications")
    assert (alert["severity"], alert["is_resolved"]) == ("high", True)


@pytest.mark.parametrize("fault", ["servfail", "refused", "garbage"])
async def test_servers_that_cannot_say_change_no_status(
    product: Product, tenant: Customer, dns: Internet, fault: Any
) -> None:
    for server in dns.servers:
        server.faults["_dmarc.acme.example."] = fault
    for _ in range(3):
        await swept()
        due(product)
    row = domain_row(product)
    assert row["verification_status"] == "verified"
    assert {record["verification_status"] for record in row["dns_records"]["records"]} == {"verified"}
    assert {verdict for _, verdict, _ in checks(product)} == {"unknown"}


async def test_text_that_no_database_takes_is_stored_harmlessly(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    dns.change('_dmarc.acme.example. 300 TXT "v=DMARC1; p=none"', '_dmarc.acme.example. 300 TXT "\\000\\027[2Jx"')
    await swept()
    (row,) = product.rows("SELECT observed FROM dns_checks WHERE record_key = 'dmarc'")
    assert row["observed"] == ["\\x00\\x1b[2Jx"]
    assert domain_row(product)["verification_status"] == "verified"


async def test_a_change_of_plan_during_a_look_is_not_written_over(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    dns.change("_dmarc.acme.example. 300 TXT", "gone.acme.example. 300 TXT")
    for server in dns.servers:
        server.faults["_dmarc.acme.example."] = "silent_once"
    look = asyncio.create_task(swept())
    while not dns.questions:  # noqa: ASYNC110  the server has no event to wait for
        await asyncio.sleep(0.01)
    product.rows("UPDATE domains SET dns_records = '{\"records\": []}', updated_at = clock_timestamp()")
    await look
    assert domain_row(product)["dns_records"] == {"records": []}
    assert checks(product) == []


async def test_a_domain_nobody_has_planned_yet_is_left_alone_for_a_day(product: Product, tenant: Customer) -> None:
    product.rows("UPDATE domains SET dns_records = NULL, dns_next_check_at = now()")
    assert await swept() == "1 domains"
    assert domain_row(product)["pause"].total_seconds() > 80000


async def test_two_sweeps_at_once_look_at_each_domain_once(product: Product, tenant: Customer, dns: Internet) -> None:
    said = await asyncio.gather(swept(), swept())
    assert sorted(said) == ["0 domains", "1 domains"]


async def test_a_domain_asked_for_is_looked_at_in_full_but_not_twice_in_ten_seconds(
    product: Product, tenant: Customer, dns: Internet
) -> None:
    number = domain_row(product)["id"]
    assert str((await verify_domain(number, return_state=True)).message) == f"{DOMAIN}: verified"
    asked = dns.questions
    assert "less than 10 s ago" in str((await verify_domain(number, return_state=True)).message)
    assert dns.questions == asked
    assert "no domain 999999" in str((await verify_domain(999999, return_state=True)).message)


async def test_a_run_that_waits_for_dns_goes_on_as_soon_as_everything_stands(
    product: Product, tenant: Customer, dns: Internet, prefect_api: str
) -> None:
    for deployment in await serving.deployments():
        assert isinstance(deployment, RunnerDeployment)
        await deployment.apply()
    await product.onboard(tenant)
    product.rows(
        "UPDATE provisioning_runs SET status = 'waiting', wait_reason = 'dns', resume_at = now() + interval '1 day'"
    )
    known(product, verified=False)
    assert await swept() == "1 domains"
    ours = [run.parameters.get("run_id") for run in await runs_for(tenant.uuid)]
    assert str(product.run_of(tenant)["id"]) in ours
