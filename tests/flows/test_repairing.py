"""What went missing from a zone that we publish comes back, and nothing that anybody meant is overwritten."""

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.__main__ import app
from flows.commands.terminal import Exit
from flows.domains.publishing import carry_out, dns_host_of, planned
from flows.domains.verifying import sweep_chunk
from flows.notifying import swept
from flows.onboarding.plans import estate_of, plan_of
from flows.policy.records import entries, expected_records, renewed
from flows.policy.records.repair import drifted
from flows.resources import resources
from providers.dns_host import RecordChange
from sql import domains
from sql.provisioning import Run
from sql.session import as_orchestrator
from tests.support.dns_zone import internet, line
from tests.support.furnished import ADDRESS, furnished
from tests.support.nameserver_knot import KNOTD, running_knot
from tests.support.product import Customer, Product

pytestmark = pytest.mark.skipif(KNOTD is None, reason="needs knotd: apt-get install knot")
SECRET = base64.b64encode(b"CANARY-CANARY-CANARY-CANARY-CANA").decode()
STRICT = "v=DMARC1; p=reject; adkim=s; rua=mailto:them@other.example"
OWN = "v=spf1 include:them.example ~all"
RECORDS = f"""\
$ORIGIN example.
$TTL 300
@ SOA ns1 hostmaster 1 60 60 60 5
@ NS ns1
ns1 A 127.0.0.1
them TXT "v=spf1 ip4:192.0.2.1 -all"
acme TXT "unrelated"
acme TXT "{OWN}"
acme MX 10 mail.other.example.
"""
APEX, DMARC, BOUNCE = "acme.example", "_dmarc.acme.example", "bounce.acme.example"


class Tenant:
    """A tenant whose zone we publish at a name server of its own, and what happens to that zone."""

    def __init__(self, product: Product, customer: Customer, run: Run) -> None:
        self.product, self.customer, self.run = product, customer, run

    async def onboarded(self) -> None:
        """Everything published by us and seen to stand."""
        async with resources() as r:
            estate = await estate_of(r, self.run)
            (domain,) = estate.domains
            expected = expected_records(plan_of(r, estate, domain))
            async with as_orchestrator(r.pool) as conn:
                await domains.note_expected(conn, domain.id, renewed(domain.dns_records, expected))
            await carry_out(r, await planned(r, domain, expected), actor="test")
        await self.looked()
        assert {one["status"] for one in self.records("tenant")} == {"verified"}

    async def looked(self, times: int = 1) -> None:
        """Its hour has come so often."""
        for _ in range(times):
            self.product.rows("UPDATE domains SET dns_next_check_at = now()")
            async with resources() as r:
                assert await sweep_chunk(r) == 1

    async def enters(self, name: str, rtype: str, *values: str) -> None:
        """Somebody with another key to the zone writes there; no values: takes it away."""
        async with resources() as r, as_orchestrator(r.pool) as conn:
            (domain,) = await domains.list_domains(conn, self.customer.pk)
            await (await dns_host_of(r, domain)).publish([RecordChange(name, rtype, values, 300)])

    async def reads(self, name: str, rtype: str = "TXT") -> list[str]:
        async with resources() as r, as_orchestrator(r.pool) as conn:
            (domain,) = await domains.list_domains(conn, self.customer.pk)
            found = await (await dns_host_of(r, domain)).read(name, rtype)
        return sorted(found.values) if found else []

    def records(self, holder: str) -> list[dict[str, Any]]:
        (row,) = self.product.rows("SELECT dns_records FROM domains")
        return [
            {"name": one["name"], "status": one["verification_status"]}
            for one in row["dns_records"]["records"]
            if one["holder"] == holder and one["need"] != "optional"
        ]

    def selector(self) -> str:
        (row,) = self.product.rows("SELECT selector FROM dkim_keys WHERE algorithm = 'ed25519-sha256'")
        return f"{row['selector']}._domainkey.acme.example"

    def repairs(self) -> list[str]:
        rows = self.product.rows("SELECT details FROM infrastructure_events WHERE event = 'dns_repaired' ORDER BY id")
        return [row["details"]["names"] for row in rows]

    def refusals(self) -> list[str]:
        rows = self.product.rows("SELECT reason FROM infrastructure_events WHERE event = 'dns_repair_refused'")
        return [row["reason"] for row in rows]

    def published(self) -> int:
        return len(self.product.rows("SELECT 1 FROM infrastructure_events WHERE event = 'dns_publishing'"))

    def aged(self, interval: str) -> None:
        """Everything of the trail is so much older."""
        self.product.rows("UPDATE infrastructure_events SET created_at = created_at - %s::interval", interval)


def flows(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, list(words), input=stdin)


@pytest.fixture
def serve(product: Product, tmp_path: Path) -> Iterator[Any]:
    """Serve a zone and give the tenant, onboarded."""
    with ExitStack() as stack:

        async def begin(records: str = RECORDS, **settings: str) -> Tenant:
            port = stack.enter_context(running_knot(tmp_path, "example", records, SECRET))
            product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(port), **settings)
            customer = product.sign_up()
            said = await asyncio.to_thread(flows, "secret", "put", "dns/acme", "--tenant", "acme", stdin=SECRET)
            assert said.exit_code == 0, said.output
            place = {
                "server": "127.0.0.1", "port": port, "key_name": "writer", "zone": "example", "secret_path": "dns/acme",
            }  # fmt: skip
            product.rows("UPDATE domains SET dns_host = 'rfc2136', dns_host_settings = %s", json.dumps(place))
            tenant = Tenant(product, customer, await furnished(customer))
            await tenant.onboarded()
            return tenant

        yield begin


async def test_a_record_that_somebody_deleted_comes_back_after_the_third_look_and_can_be_undone(serve) -> None:
    tenant = await serve()
    name = tenant.selector()
    before = await tenant.reads(name)
    await tenant.enters(name, "TXT")
    await tenant.looked(2)
    assert await tenant.reads(name) == []  # two looks may be one bad hour
    await tenant.looked()
    assert await tenant.reads(name) == before
    assert tenant.repairs() == [f"{name} TXT"]
    await tenant.looked()
    assert {one["status"] for one in tenant.records("tenant")} == {"verified"}
    assert tenant.repairs() == [f"{name} TXT"]
    assert tenant.refusals() == []
    said = await asyncio.to_thread(flows, "dns", "undo", APEX, "--yes")
    assert said.exit_code == Exit.OK, said.output
    assert f"{name} TXT: removed" in said.stdout
    await tenant.looked(4)  # and it stays so: the tenant publishes from then on
    tenant.product.rows("UPDATE domains SET dns_host = 'rfc2136'")
    assert await tenant.reads(name) == []


async def test_the_tenant_is_told_what_came_back(serve) -> None:
    tenant = await serve()
    (user,) = tenant.product.rows(
        "INSERT INTO users (tenant_id, email, password_hash, role) VALUES (%s, 'o@a.example', '!', 'owner')"
        " RETURNING id", tenant.customer.pk,
    )  # fmt: skip
    tenant.product.rows(
        "INSERT INTO tenant_users (tenant_id, user_id, permission_level) VALUES (%s, %s, 'owner')",
        tenant.customer.pk, user["id"],
    )  # fmt: skip
    await tenant.enters(DMARC, "TXT")
    await tenant.looked(3)
    async with resources() as r:
        await swept(r)
    (notice,) = tenant.product.rows("SELECT title, message FROM notifications WHERE type = 'dns_repaired'")
    assert notice["title"] == "Records of acme.example were put back"
    assert notice["message"].startswith("_dmarc.acme.example TXT had gone from the zone of acme.example")


async def test_our_terms_come_back_into_an_spf_record_and_not_a_word_of_the_tenants_changes(serve) -> None:
    tenant = await serve()
    edited = "v=spf1 include:them.example a:new.example ~all"
    await tenant.enters(APEX, "TXT", "unrelated", edited)
    await tenant.looked(3)
    ours = f"v=spf1 include:them.example a:new.example ip4:{ADDRESS} ~all"
    assert await tenant.reads(APEX) == sorted(["unrelated", ours])


async def test_what_comes_back_is_as_strict_as_we_left_it_and_keeps_the_tenants_senders(serve) -> None:
    tenant = await serve(f'{RECORDS}_dmarc.acme TXT "{STRICT}"\n', DNS__DMARC_RUA="r@penguin.example")
    left = await tenant.reads(DMARC)
    assert left[0].startswith("v=DMARC1; p=reject; adkim=s; rua=mailto:them@other.example,")
    await tenant.enters(DMARC, "TXT")
    await tenant.enters(APEX, "TXT", "new and unrelated")
    await tenant.looked(3)
    assert await tenant.reads(DMARC) == left
    assert await tenant.reads(APEX) == ["new and unrelated", f"v=spf1 include:them.example ip4:{ADDRESS} ~all"]


@pytest.mark.parametrize(
    ("name", "rtype", "value", "said"),
    [
        (APEX, "TXT", "v=spf1 -all", "stricter"),
        (BOUNCE, "MX", "0 .", "not ours"),
        (BOUNCE, "MX", "5 own.other.example.", "not ours"),
        ("key", "TXT", "v=DKIM1; k=ed25519; p=", "not ours"),
        (DMARC, "TXT", "v=DMARC1; p=perhaps", "cannot be read"),
    ],
)
async def test_what_somebody_put_there_instead_is_left_alone_and_told_once(
    serve, name: str, rtype: str, value: str, said: str
) -> None:
    tenant = await serve()
    name, published = tenant.selector() if name == "key" else name, tenant.published()
    await tenant.enters(name, rtype, value)
    await tenant.looked(5)
    assert await tenant.reads(name, rtype) == [value]
    assert (tenant.published(), tenant.repairs()) == (published, [])
    (why,) = tenant.refusals()
    assert said in why
    (alert,) = tenant.product.rows("SELECT * FROM system_notifications WHERE dedupe_key = 'dns-repair:acme.example'")
    assert (alert["severity"], alert["tenant_id"]) == ("high", tenant.customer.uuid)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("algorithm", "hmac-md5", "hmac-md5"), ("port", 70000, "port"), ("server", "a..b", "")],
)
async def test_settings_that_lead_to_no_dns_host_end_no_sweep(serve, setting: str, value: object, said: str) -> None:
    tenant = await serve()
    key = tenant.selector()
    await tenant.enters(key, "TXT")
    tenant.product.rows("UPDATE domains SET dns_host_settings = dns_host_settings || %s", json.dumps({setting: value}))
    await tenant.looked(4)  # which would raise
    assert tenant.repairs() == []
    assert all(said in why for why in tenant.refusals())
    assert bool(tenant.refusals()) is bool(said)


async def test_mail_that_a_tenant_took_elsewhere_again_is_not_taken_back(serve) -> None:
    tenant = await serve()
    tenant.product.rows("UPDATE domains SET manage_mx = true")
    await tenant.onboarded()
    assert await tenant.reads(APEX, "MX") == ["10 mail.acme.example."]
    await tenant.enters(APEX, "MX", "10 mail.elsewhere.example.")
    await tenant.looked(4)
    assert await tenant.reads(APEX, "MX") == ["10 mail.elsewhere.example."]
    assert ["not ours" in why for why in tenant.refusals()] == [True]


async def test_a_record_that_we_never_published_is_not_ours_to_put_back(serve) -> None:
    tenant = await serve(f'{RECORDS}_dmarc.acme TXT "{STRICT}"\n')
    await tenant.enters(DMARC, "TXT")
    await tenant.looked(4)
    assert await tenant.reads(DMARC) == []
    assert [why.endswith("it was not published by us") for why in tenant.refusals()] == [True]


async def test_a_stricter_policy_of_the_parent_is_not_undone_by_ours(serve) -> None:
    tenant = await serve()
    await tenant.enters("_dmarc.example", "TXT", "v=DMARC1; p=reject")
    await tenant.enters(DMARC, "TXT")
    await tenant.looked(4)
    assert await tenant.reads(DMARC) == []
    assert ["stricter policy of a parent" in why for why in tenant.refusals()] == [True]


async def test_a_zone_that_lost_a_third_of_our_records_is_a_persons_affair(serve) -> None:
    tenant = await serve()
    for name, rtype in ((tenant.selector(), "TXT"), (DMARC, "TXT"), (BOUNCE, "MX"), (BOUNCE, "TXT")):
        await tenant.enters(name, rtype)
    await tenant.looked(4)
    assert tenant.repairs() == []
    assert await tenant.reads(DMARC) == []
    (why,) = tenant.refusals()
    assert "more than 30 %" in why


async def test_who_takes_a_record_away_again_and_again_means_it(serve) -> None:
    tenant = await serve()
    for _ in range(2):
        await tenant.enters(DMARC, "TXT")
        await tenant.looked(4)
        assert await tenant.reads(DMARC) != []
        tenant.aged("25 hours")
    await tenant.enters(DMARC, "TXT")
    await tenant.looked(4)
    assert await tenant.reads(DMARC) == []
    assert ["put back 2 times within a week" in why for why in tenant.refusals()] == [True]
    await tenant.enters(DMARC, "TXT", "v=DMARC1; p=none")
    await tenant.looked()
    (alert,) = tenant.product.rows("SELECT * FROM system_notifications WHERE dedupe_key = 'dns-repair:acme.example'")
    assert alert["is_resolved"]


@pytest.mark.parametrize(("allowed", "back", "told"), [("1", 1, 1), ("0", 0, 0)])
async def test_a_day_has_so_many_repairs_and_no_more(serve, allowed: str, back: int, told: int) -> None:
    tenant = await serve(DNS__REPAIRS_A_DAY=allowed)
    for name in (DMARC, tenant.selector()):
        await tenant.enters(name, "TXT")
        await tenant.looked(4)
    assert (len(tenant.repairs()), len(tenant.refusals())) == (back, told)


async def test_nothing_is_written_while_nobody_answers(serve) -> None:
    tenant = await serve()
    published = tenant.published()
    await tenant.enters(DMARC, "TXT")
    await tenant.looked(2)
    tenant.product.configure(DNS__RESOLVER_PORT="9", DNS__TIMEOUT_SECONDS="0.2")
    await tenant.looked(4)
    assert (tenant.published(), tenant.refusals()) == (published, [])
    assert await tenant.reads(DMARC) == []


async def test_name_servers_that_lie_move_nobody_to_write_what_the_dns_host_already_holds(serve) -> None:
    """The world sees an empty zone of its own making; the host that we publish at has everything."""
    tenant = await serve()
    published = tenant.published()
    (row,) = tenant.product.rows("SELECT dns_records FROM domains")
    stands = "\n".join(line(entry.expected) for entry in entries(row["dns_records"]) if entry.expected.key != "dmarc")
    async with internet(APEX) as elsewhere:
        for server in elsewhere.servers:
            kept = [one for one in server.records.splitlines() if " SOA " in one or " NS " in one or one[:2] == "ns"]
            server.records = "\n".join([*kept, stands]) + "\n"
        tenant.product.configure(DNS__RESOLVER_PORT=str(elsewhere.port), DNS__TIMEOUT_SECONDS="1")
        await tenant.looked(4)
    (row,) = tenant.product.rows("SELECT dns_records FROM domains")
    assert [one.expected.key for one in drifted(entries(row["dns_records"]))] == ["dmarc"]
    assert (tenant.published(), tenant.repairs(), tenant.refusals()) == (published, [], [])


async def test_what_is_no_longer_planned_is_not_put_back(serve) -> None:
    """The picture still asks for the key that leaked; the tables do not."""
    tenant = await serve()
    name = tenant.selector()
    tenant.product.rows("UPDATE dkim_keys SET status = 'revoked' WHERE algorithm = 'ed25519-sha256'")
    await tenant.enters(name, "TXT")
    await tenant.looked(4)
    assert await tenant.reads(name) == []
    assert tenant.repairs() == []


async def test_two_sweeps_at_once_put_it_back_once(serve) -> None:
    tenant = await serve()
    await tenant.enters(DMARC, "TXT")
    await tenant.looked(2)
    tenant.product.rows("UPDATE domains SET dns_next_check_at = now()")
    async with resources() as r:
        await asyncio.gather(sweep_chunk(r), sweep_chunk(r))
    assert tenant.repairs() == [f"{DMARC} TXT"]
