"""Publishing at a tenant's DNS host: planned first, nobody worse off, undone on demand; against a real name server."""

import asyncio
import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.__main__ import app
from flows.commands.terminal import Exit
from flows.domains.publishing import Plan, carry_out, planned
from flows.hosts import instance_of
from flows.onboarding.plans import estate_of, plan_of
from flows.onboarding.records import written_down
from flows.policy.records import Conflict, expected_records
from flows.policy.records.safety import refusal
from flows.resources import resources
from providers.dns_host import RecordChange
from providers.errors import Unconfirmed
from sql import domains, smtp_ip_addresses
from sql.provisioning import Run
from sql.session import as_orchestrator
from tests.support.furnished import ADDRESS, furnished
from tests.support.nameserver_knot import KNOTD, running_knot
from tests.support.powerdns import KEY, running_powerdns
from tests.support.product import Customer, Product

pytestmark = pytest.mark.skipif(KNOTD is None, reason="needs knotd: apt-get install knot")
SECRET = base64.b64encode(b"CANARY-CANARY-CANARY-CANARY-CANA").decode()
MANY = 7  # addresses, whose A records are more than 30 % of what is published
STRICT = "v=DMARC1; p=reject; adkim=s; aspf=s; rua=mailto:them@other.example"
NESTED = "".join(f" include:i{n}" for n in range(1, 9))
RECORDS = f"""\
$ORIGIN acme.example.
$TTL 300
@ SOA ns1 hostmaster 1 60 60 60 5
@ NS ns1
ns1 A 127.0.0.1
@ MX 10 mail.other.example.
@ TXT "unrelated"
_dmarc TXT "{STRICT}"
"""
BELOW = """\
$ORIGIN example.
$TTL 300
@ SOA ns1 hostmaster 1 60 60 60 5
@ NS ns1
ns1 A 127.0.0.1
_dmarc TXT "v=DMARC1; p=none; sp=quarantine; adkim=s; rua=mailto:them@other.example"
"""
LEAVES = "\n".join(f'i{n} TXT "v=spf1 ip4:192.0.2.{n} -all"' for n in range(1, 11))


class Tenant:
    """One tenant whose zone a name server of its own holds, and what is asked of us for it."""

    def __init__(self, product: Product, customer: Customer, run: Run) -> None:
        self.product, self.customer, self.run = product, customer, run

    async def plan(self) -> Plan:
        async with resources() as r:
            estate = await estate_of(r, self.run)
            async with as_orchestrator(r.pool) as conn:
                (domain,) = await domains.list_domains(conn, self.customer.pk)
            return await planned(r, domain, expected_records(plan_of(r, estate, domain)))

    async def publish(self) -> Plan:
        async with resources() as r:
            plan = await self.plan()
            await carry_out(r, plan, actor="test")
        return plan

    async def read(self, name: str, rtype: str = "TXT") -> list[str]:
        plan = await self.plan()
        found = await plan.host.read(name, rtype)
        return sorted(found.values) if found else []


async def flows(*words: str, stdin: str = "") -> Result:
    """A command, in a thread: it has a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(words), input=stdin)


@pytest.fixture
def serve(product: Product, tmp_path: Path) -> Iterator[Any]:
    """Serve a zone and give the tenant whose it is."""
    from contextlib import ExitStack  # noqa: PLC0415  this test alone needs it

    with ExitStack() as stack:

        async def begin(records: str = RECORDS, zone: str = "acme.example", **settings: str) -> Tenant:
            port = stack.enter_context(running_knot(tmp_path, zone, records, SECRET))
            product.configure(DNS__RESOLVER="127.0.0.1", DNS__RESOLVER_PORT=str(port), **settings)
            customer = product.sign_up()
            said = await flows("secret", "put", "dns/acme", "--tenant", "acme", stdin=SECRET)
            assert said.exit_code == 0, said.output
            place = {"server": "127.0.0.1", "port": port, "key_name": "writer", "secret_path": "dns/acme", "zone": zone}
            product.rows("UPDATE domains SET dns_host = 'rfc2136', dns_host_settings = %s", json.dumps(place))
            return Tenant(product, customer, await furnished(customer))

        yield begin


async def test_a_plan_is_shown_and_changes_nothing(serve) -> None:
    tenant = await serve()
    before = await (await tenant.plan()).host.serial()
    said = await flows("dns", "plan", "acme.example")
    assert said.exit_code == Exit.OK, said.output
    assert "change  _pm-verify.acme.example TXT" in said.stdout
    assert f"+ v=spf1 ip4:{ADDRESS} ~all" in said.stdout
    assert "keep    _dmarc.acme.example TXT" in said.stdout
    plan = await tenant.plan()
    assert await plan.host.serial() == before
    assert tenant.product.rows("SELECT 1 FROM infrastructure_events WHERE event LIKE 'dns%%'") == []


async def test_what_was_planned_is_published_once(serve) -> None:
    tenant = await serve()
    plan = await tenant.publish()
    assert plan.changes
    again = await tenant.plan()
    assert again.changes == ()
    assert await tenant.read("acme.example") == sorted(["unrelated", f"v=spf1 ip4:{ADDRESS} ~all"])


async def test_a_host_that_moves_takes_what_is_ours_along_however_much_of_a_small_zone_it_is(serve) -> None:
    tenant = await serve()
    async with resources() as r:
        instance = await instance_of(r, tenant.run)
        async with as_orchestrator(r.pool) as conn:
            for more in range(1, MANY):
                await smtp_ip_addresses.take_over(
                    conn, tenant_id=tenant.customer.pk, vps_instance_id=instance.id, ip_address=ADDRESS + more,
                    monthly_cost=Decimal(0),
                )  # fmt: skip
        await written_down(r, tenant.run, await estate_of(r, tenant.run))
    await tenant.publish()
    tenant.product.rows("UPDATE smtp_ip_addresses SET ip_address = ip_address + 20")
    async with resources() as r:
        await written_down(r, tenant.run, await estate_of(r, tenant.run))
    plan = await tenant.publish()
    moved = [change for change in plan.changes if change.rtype == "A"]
    assert [change.values for change in moved] == [(str(ADDRESS + 20 + n),) for n in range(MANY)]
    assert refusal(moved, len(plan.decisions))  # had they been the tenant's
    assert await tenant.read("mail7.acme.example", "A") == [str(ADDRESS + 26)]


async def test_a_stricter_dmarc_record_stays_as_strict(serve) -> None:
    tenant = await serve(DNS__DMARC_RUA="r@penguin.example")
    await tenant.publish()
    (text,) = await tenant.read("_dmarc.acme.example")
    assert text.startswith("v=DMARC1; p=reject; adkim=s; aspf=s; rua=mailto:them@other.example")
    assert "mailto:r@penguin.example" in text


async def test_a_first_dmarc_record_is_as_strict_as_what_a_domain_above_asked_for(serve) -> None:
    from flows.onboarding.records import ensure_dns_published  # noqa: PLC0415  Prefect's task is made at import

    tenant = await serve(BELOW, zone="example", DNS__DMARC_RUA="r@penguin.example")
    begins, lines = "v=DMARC1; p=quarantine; adkim=s", list[str]()
    for above in ("v=DMARC1; p=none", STRICT):  # what becomes of it later: its own record goes on as it began
        done: Any = await ensure_dns_published(tenant.run.id)
        lines += done.output["lines"]
        assert await tenant.read("_dmarc.acme.example") == [f"{begins}; rua=mailto:r@penguin.example"]
        await (await tenant.plan()).host.publish([RecordChange("_dmarc.example", "TXT", (above,), 60)])
        tenant.product.rows("UPDATE provisioning_steps SET status = 'waiting'")
    assert any("and a domain above asks for quarantine already" in line for line in lines)
    assert (await tenant.plan()).changes == ()
    assert f"{begins} is what a domain above asks for already" in (await flows("dns", "records", "acme.example")).stdout


@pytest.mark.parametrize(("look_ups", "ours"), [(9, "include:abcdefghij._spf.acme.example"), (10, f"ip4:{ADDRESS}")])
async def test_an_spf_record_never_costs_more_than_ten_look_ups(serve, look_ups: int, ours: str) -> None:
    """What the record costs is counted with all it includes: three of its own, and the rest below the first."""
    inner = " ".join(f"include:i{n}.acme.example" for n in range(1, look_ups - 2))
    text = "v=spf1 include:nest.acme.example include:i9.acme.example include:i10.acme.example ?all"
    zone = f'{RECORDS}{LEAVES}\n@ TXT "{text}"\nnest TXT "v=spf1 {inner} -all"\n'
    # The platform's zone is below the tenant's here, so that one name server can hold both.
    tenant = await serve(zone, DNS__PLATFORM_ZONE="acme.example")
    plan = await tenant.plan()
    (change,) = [change for change in plan.changes if change.name == "acme.example" and change.rtype == "TXT"]
    assert text.replace("?all", f"{ours} ?all") in change.values


async def test_two_spf_records_are_told_and_left_alone(serve) -> None:
    one, other = "v=spf1 ip4:192.0.2.1 -all", "v=spf1 ip4:192.0.2.2 -all"
    tenant = await serve(f'{RECORDS}@ TXT "{one}"\n@ TXT "{other}"\n')
    plan = await tenant.publish()
    (conflict,) = [decision for _, decision in plan.decisions if isinstance(decision, Conflict)]
    assert conflict.reason == "spf_multiple"
    assert f"ip4:192.0.2.2 ip4:{ADDRESS} -all" in conflict.fix
    assert await tenant.read("acme.example") == sorted(["unrelated", one, other])
    assert "refused acme.example TXT" in (await flows("dns", "plan", "acme.example")).stdout


async def test_the_domains_own_mail_moves_only_with_consent_on_record_and_back(serve) -> None:
    tenant = await serve()
    await tenant.publish()
    assert await tenant.read("acme.example", "MX") == ["10 mail.other.example."]
    assert (await flows("dns", "consent", "acme.example")).exit_code == Exit.OK
    (event,) = tenant.product.rows("SELECT * FROM infrastructure_events WHERE event = 'mx_consent'")
    assert event["actor"].startswith("bootstrap:")
    await tenant.publish()
    assert await tenant.read("acme.example", "MX") == ["10 mail.acme.example."]
    settings = tenant.product.rows("SELECT dns_host_settings FROM domains")
    said = await flows("dns", "undo", "acme.example", "--yes")
    assert said.exit_code == Exit.OK, said.output
    tenant.product.rows("UPDATE domains SET dns_host = 'rfc2136'")
    assert tenant.product.rows("SELECT dns_host_settings FROM domains") == settings
    assert await tenant.read("acme.example", "MX") == ["10 mail.other.example."]


async def test_an_undo_puts_back_what_stood_there_and_leaves_what_somebody_changed(serve) -> None:
    tenant = await serve(f'{RECORDS}@ TXT "v=spf1 ip4:192.0.2.1 -all"\n')
    before = await tenant.read("acme.example")
    plan = await tenant.publish()
    assert await tenant.read("acme.example") != before
    taken = next(change for change in plan.changes if change.name == "bounce.acme.example" and change.rtype == "MX")
    from providers.dns_host import RecordChange  # noqa: PLC0415  this test alone needs it

    await plan.host.publish([RecordChange(taken.name, "MX", ("5 own.other.example.",), 300)])
    said = await flows("dns", "undo", "acme.example", "--yes")
    assert said.exit_code == Exit.OK, said.output
    assert "bounce.acme.example MX: changed by somebody since, left alone" in said.stdout
    (domain,) = tenant.product.rows("SELECT dns_host FROM domains")
    assert domain["dns_host"] is None
    assert "no publication of ours is left" in (await flows("dns", "undo", "acme.example", "--yes")).stderr
    assert "its tenant publishes" in (await flows("dns", "plan", "acme.example")).stderr
    tenant.product.rows("UPDATE domains SET dns_host = 'rfc2136'")
    assert await tenant.read("acme.example") == before
    assert await tenant.read("_pm-verify.acme.example") == []
    assert await tenant.read("bounce.acme.example", "MX") == ["5 own.other.example."]


async def test_a_dns_host_that_applies_half_is_completed_by_the_next_run_and_undone_whole(serve) -> None:
    tenant = await serve()
    with running_powerdns("acme.example") as powerdns:
        assert (await flows("secret", "put", "dns/p", "--tenant", "acme", stdin=KEY)).exit_code == 0
        place = {"options": {"pdns_server": powerdns.url}, "secret_path": "dns/p"}
        tenant.product.rows("UPDATE domains SET dns_host = 'powerdns', dns_host_settings = %s", json.dumps(place))
        powerdns.answers = [200, 200, 503]
        with pytest.raises(Unconfirmed, match="2 of"):
            await tenant.publish()
        half = len(powerdns.sets)
        plan = await tenant.publish()
        assert len(plan.changes) == len(powerdns.sets) - half
        assert (await tenant.plan()).changes == ()
        for _ in range(2):  # the second half, then the first
            tenant.product.rows("UPDATE domains SET dns_host = 'powerdns'")
            assert (await flows("dns", "undo", "acme.example", "--yes")).exit_code == Exit.OK
        assert powerdns.sets == {}


async def test_what_to_publish_is_shown_as_table_zone_file_and_json(serve) -> None:
    tenant = await serve()
    async with resources() as r:
        from flows.onboarding.records import ensure_dns_published  # noqa: PLC0415  this test alone needs it

        tenant.product.rows("UPDATE domains SET dns_host = NULL")
        waiting: Any = await ensure_dns_published(tenant.run.id)
        del r
    assert waiting.reason == "dns"
    assert "_pm-verify.acme.example" in waiting.detail
    table = (await flows("dns", "records", "acme.example")).stdout.splitlines()
    assert table[0].split("\t")[:3] == ["_pm-verify", "TXT", f'"pm-verify={"0" * 32}"']
    zone = (await flows("dns", "records", "acme.example", "--format", "zone")).stdout
    assert f"mail.acme.example. 300 IN A {ADDRESS}" in zone
    assert '" "' in next(line for line in zone.splitlines() if "k=rsa" in line)
    rows = json.loads((await flows("dns", "records", "acme.example", "--format", "json")).stdout)
    assert rows[0]["key"] == "own"
    assert {row["type"] for row in rows} == {"TXT", "A", "MX"}
    assert not any(row["enter"] == "@" and row["type"] == "MX" for row in rows)
