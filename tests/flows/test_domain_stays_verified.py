"""What a run's own look makes of a domain that is verified: it falls as it falls in the sweep, and by nothing less."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from flows.onboarding.plans import estate_of, plan_of
from flows.onboarding.records import ensure_dns_verified, remember
from flows.policy.dns_status import RecordState, RecordStatus
from flows.policy.records import Entry, ExpectedRecord, Need, as_json, expected_records
from flows.policy.verdict import Truth, Verdict
from flows.resources import resources
from sql.provisioning import Run
from tests.support.dns_zone import SHARED, Internet, internet, line, zone
from tests.support.furnished import furnished
from tests.support.product import Product

DOMAIN = "acme.example"
SERVERS = 5  # lines of a zone that name its servers
NOW = datetime.now(UTC)
RIGHT = RecordState(RecordStatus.VERIFIED, since=NOW, conclusive=True, passes=1)
FLAPPED = RecordState(RecordStatus.FAILED, since=NOW, conclusive=True, fails=3, flaps=(NOW, NOW, NOW))


@pytest.fixture
async def dns() -> AsyncIterator[Internet]:
    async with internet(DOMAIN) as made:
        yield made


async def live(product: Product, port: int) -> tuple[Run, list[ExpectedRecord]]:
    """A tenant whose run is at work, and what its domain has to publish."""
    product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(port), DNS__TIMEOUT_SECONDS="1")
    run = await furnished(product.sign_up())
    async with resources() as r:
        estate = await estate_of(r, run)
        expected = expected_records(plan_of(r, estate, estate.domains[0]))
    return run, [record for record in expected if record.need is not Need.OPTIONAL]


def known(product: Product, word: str, expected: Sequence[ExpectedRecord], state: RecordState) -> None:
    """The domain's word and picture as the looks before left them."""
    picture = {"records": [as_json(Entry(record, state, "pass", "ok")) for record in expected]}
    product.rows("UPDATE domains SET verification_status = %s, dns_records = %s", word, json.dumps(picture))


def word(product: Product) -> tuple[str, list[dict[str, Any]]]:
    """The domain's word, and the lines of its trail."""
    (row,) = product.rows("SELECT verification_status FROM domains")
    return row["verification_status"], product.rows("SELECT * FROM infrastructure_events WHERE subject_type = 'domain'")


@pytest.mark.parametrize("seen_before", [None, 1])
async def test_a_look_that_nobody_answers_takes_no_green_away(product: Product, seen_before: int | None) -> None:
    run, expected = await live(product, port=1)
    known(product, "verified", expected[:seen_before], RIGHT)
    waiting: Any = await ensure_dns_verified(run.id)
    assert waiting.reason == "dns"
    assert word(product) == ("verified", [])


async def test_one_look_at_a_wrong_record_takes_no_green_away(product: Product, dns: Internet) -> None:
    run, expected = await live(product, dns.port)
    known(product, "verified", expected, RIGHT)
    waiting: Any = await ensure_dns_verified(run.id)
    assert waiting.reason == "dns"
    assert product.rows("SELECT 1 FROM dns_checks WHERE verdict = 'fail'")
    assert word(product) == ("verified", [])


@pytest.mark.parametrize("truth", [Truth.UNKNOWN, Truth.FAIL])
async def test_what_the_sweep_saw_in_the_meantime_is_not_undone(product: Product, truth: Truth) -> None:
    run, expected = await live(product, port=1)
    async with resources() as r:
        estate = await estate_of(r, run)
        known(product, "verified", expected, RIGHT)
        judged = [(record, Verdict(record.key, truth, "timeout")) for record in expected]
        assert await remember(r, run, estate, estate.domains[0], judged) == "verified"
    assert word(product) == ("verified", [])


@pytest.mark.parametrize(("flaps", "came_back"), [(3, False), (0, True)])
async def test_a_domain_that_flapped_has_to_stay_right_before_a_run_goes_on(
    product: Product, dns: Internet, flaps: int, *, came_back: bool
) -> None:
    run, expected = await live(product, dns.port)
    known(product, "failed", expected, replace(FLAPPED, flaps=FLAPPED.flaps[:flaps]))
    for server in dns.servers:
        server.records = "\n".join([SHARED, *zone(DOMAIN).splitlines()[:SERVERS], *map(line, expected)]) + "\n"
    ended: Any = await ensure_dns_verified(run.id)
    if came_back:
        assert ended.output == {"domains": [DOMAIN]}
    else:
        assert (ended.reason, "it has to stay so" in ended.detail) == ("dns", True)
    assert word(product)[0] == ("verified" if came_back else "failed")
