"""Sending addresses: may they talk, are they ours, and does the world find their name."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

from flows.domains import observing
from flows.hosts import instance_of, shell_on
from flows.onboarding import buying, screening
from flows.onboarding.plans import estate_of
from flows.onboarding.screening import told
from flows.outcomes import Done, Outcome, Waiting
from flows.policy import egress
from flows.policy.dealing import dealt
from flows.policy.lifecycle import AddressStatus
from flows.policy.names import is_under
from flows.policy.records import WHO_ACTS, ExpectedRecord, Holder, Merge, Need
from flows.policy.verdict import Truth, Verdict
from flows.resources import Resources
from flows.steps import step
from flows.waiting import one_change_at_a_time, short_looks
from sql import domain_ip_assignments, domains, provisioning_steps, smtp_ip_addresses
from sql.address_screenings import Screening
from sql.provisioning import Run
from sql.session import AlreadyExists, Connection, as_orchestrator
from sql.smtp_ip_addresses import Address
from sql.vps_instances import Instance

PROBE_SECONDS = 60
LOOK_AGAIN = timedelta(minutes=1)


@step(name="check_egress")
async def ensure_egress(r: Resources, run: Run) -> Outcome:
    """Port 25 measured from the host and the provider's filters read, before anything more is bought or published."""
    instance = await instance_of(r, run)
    filters = await r.vps.smtp_filters(instance.provider_id or "")
    if filters:
        first = filters[0]
        return Waiting(
            "operator",
            f"the provider blocks outgoing mail of server {instance.provider_id} ({first.kind} since {first.created},"
            f" invoice {first.invoice_id or 'none'}): settle it in the panel, then: python -m flows retry {run.id}",
        )
    address = instance.ip_address
    if address is None:
        raise LookupError(f"{instance.token} has no address")
    (verdict,) = await measured(r, instance, [address])
    if verdict.truth is Truth.PASS:
        return Done({"egress": list(verdict.found)})
    return Waiting("operator", f"{verdict.fix}, then: python -m flows retry {run.id}")


async def further_egress(r: Resources, run: Run, instance: Instance) -> Waiting | None:
    """Port 25 outwards from the addresses that the host has only now; None when each is proven."""
    async with as_orchestrator(r.pool) as conn:
        rows = await smtp_ip_addresses.list_addresses(conn, instance.id)
    unproven = [row for row in rows if row.egress_verdict != Truth.PASS]
    if not unproven:
        return None
    verdicts = await measured(r, instance, [row.ip_address for row in unproven])
    async with as_orchestrator(r.pool) as conn:
        for row, verdict in zip(unproven, verdicts, strict=True):
            await smtp_ip_addresses.note_egress(conn, row.id, verdict.truth)
    bad = [verdict.fix for verdict in verdicts if not verdict.passed]
    return Waiting("operator", f"{'; '.join(bad)}, then: python -m flows retry {run.id}") if bad else None


async def measured(r: Resources, instance: Instance, addresses: Sequence[IPv4Address]) -> list[Verdict]:
    """Banners of large MX hosts, as seen from each address of the host itself."""
    hosts = r.terms.port25_probe_hosts
    async with shell_on(r, instance) as shell:
        output = await shell.run(egress.probe_script(addresses, hosts), timeout_seconds=PROBE_SECONDS)
    return [egress.judge(address, hosts, output.stdout) for address in addresses]


@step(name="claim_addresses", retries=0)  # may spend money: Prefect never repeats it
async def ensure_addresses(r: Resources, run: Run) -> Outcome:
    """As many addresses as were ordered, each screened before it is used; one dealt to each domain in turn."""
    instance = await instance_of(r, run)
    wanted = await wanted_addresses(r, run)
    for _ in range(wanted):  # every round but the last gets one more
        shown = await buying.addresses_of(r, instance)
        if instance.ip_address not in shown:
            return Waiting(
                "operator",
                f"{instance.ip_address} is no longer among the provider's addresses of {instance.provider_id}",
            )
        usable, others = await sifted(r, run, instance, shown)
        if others and others[0].ip_address == instance.ip_address:
            return Waiting("operator", f"the server's own address {told(run, others[0])}", buying.LOOK_AGAIN)
        if len(usable) >= wanted:
            return await take(r, run, instance, usable[:wanted])
        doubts = "; ".join(told(run, screening) for screening in others)
        if len(usable) + sum(other.verdict == Truth.UNKNOWN for other in others) >= wanted:
            return Waiting("operator", doubts, buying.LOOK_AGAIN)
        lacking = wanted - len(usable)
        waiting = await buying.one_more(r, run, instance, shown, lacking=lacking, bought=wanted)
        if waiting is not None:
            return replace(waiting, detail="; ".join(filter(None, (waiting.detail, doubts))))
    return Waiting("provider", "addresses were bought and are looked at again", LOOK_AGAIN)


async def sifted(
    r: Resources, run: Run, instance: Instance, shown: Sequence[IPv4Address]
) -> tuple[list[IPv4Address], list[Screening]]:
    """Addresses that may be used, those in use first and then the main one; and the screenings of all others."""
    async with as_orchestrator(r.pool) as conn:
        used = [row.ip_address for row in await smtp_ip_addresses.list_addresses(conn, instance.id)]
    fresh = sorted(set(shown) - set(used), key=lambda address: (address != instance.ip_address, address))
    screenings = await screening.sift(r, run, instance, fresh)
    usable = [*(address for address in used if address in shown), *(s.ip_address for s in screenings if s.usable)]
    return usable, [s for s in screenings if not s.usable]


async def take(r: Resources, run: Run, instance: Instance, addresses: Sequence[IPv4Address]) -> Outcome:
    """Write the addresses down as ours, and deal the domains over them."""
    try:
        async with as_orchestrator(r.pool) as conn:
            for address in addresses:
                await smtp_ip_addresses.take_over(
                    conn, tenant_id=run.tenant_id, vps_instance_id=instance.id, ip_address=address,
                    monthly_cost=r.terms.address_monthly_cost * (address != instance.ip_address),
                )  # fmt: skip
            rows = await smtp_ip_addresses.list_addresses(conn, instance.id)
            await deal(conn, run, rows)
            main = next(row for row in rows if row.ip_address == instance.ip_address)
            await smtp_ip_addresses.note_egress(conn, main.id, Truth.PASS)  # check_egress has just measured it
    except AlreadyExists:
        return Waiting(
            "operator", "an address of this server is held by another tenant's live row: settle which is true"
        )
    return Done({"addresses": [str(address) for address in addresses]})


async def deal(conn: Connection, run: Run, rows: Sequence[Address]) -> None:
    """One address for each domain that has none."""
    owned = [domain.id for domain in await domains.list_domains(conn, run.tenant_id)]
    standing = await domain_ip_assignments.list_assignments(conn, run.tenant_id)
    new = dealt(owned, [row.id for row in rows], {item.domain_id: item.smtp_ip_address_id for item in standing})
    for domain_id, address_id in new.items():
        await domain_ip_assignments.assign(
            conn, tenant_id=run.tenant_id, domain_id=domain_id, smtp_ip_address_id=address_id
        )
    for address_id in sorted({*new.values(), *(item.smtp_ip_address_id for item in standing)}):
        await smtp_ip_addresses.move(
            conn, address_id, to=AddressStatus.ASSIGNED, allowed_from=(AddressStatus.AVAILABLE,)
        )


async def wanted_addresses(r: Resources, run: Run) -> int:
    """How many the order was admitted with."""
    async with as_orchestrator(r.pool) as conn:
        steps = {row.step_key: row for row in await provisioning_steps.list_steps(conn, run.id)}
    return int(steps["admit"].output["ips"])


@step(name="set_reverse_dns")
async def ensure_reverse_dns(r: Resources, run: Run) -> Outcome:
    """PTR = HELO = A for every address; the PTR is asked for only when the A record is visible."""
    estate = await estate_of(r, run)
    done: list[str] = []
    for address in estate.addresses:
        name = estate.names[address.id]
        outcome = await ensure_reverse(r, run, address, name)
        if isinstance(outcome, Waiting):
            return outcome
        done.append(f"{address.ip_address} {name}")
    return Done({"reverse": done})


async def ensure_reverse(r: Resources, run: Run, address: Address, name: str) -> Waiting | None:
    """One address: look, ask, look again for a while."""
    instance = await instance_of(r, run)
    forward = await settled(r, forward_record(address.ip_address, name), r.settings.dns.publish_wait_seconds)
    if not forward.passed:
        return Waiting(
            WHO_ACTS[Holder.PLATFORM if is_under(name, r.settings.dns.platform_zone) else Holder.TENANT],
            forward.fix or f"the A record of {name} is not visible yet ({forward.reason}): {address.ip_address}",
            LOOK_AGAIN,
        )
    wanted = reverse_record(address.ip_address, name)
    # The authority alone is asked at first: a resolver would keep the provider's default name for its whole TTL.
    if not await observing.stands_at_authority(r.resolver, wanted):
        async with one_change_at_a_time():
            await r.vps.set_ptr(instance.provider_id or "", address.ip_address, name)
        async for _ in short_looks(r.settings.dns.publish_wait_seconds):
            if await observing.stands_at_authority(r.resolver, wanted):
                break
    verdict = await settled(r, wanted, r.settings.dns.publish_wait_seconds)
    async with as_orchestrator(r.pool) as conn:
        await smtp_ip_addresses.note_reverse_dns(conn, address.id, hostname=name, verdict=verdict.truth)
    if verdict.passed:
        return None
    found = ", ".join(verdict.found) or "nothing"
    return Waiting(
        WHO_ACTS[wanted.holder],
        f"PTR of {address.ip_address}: expected {name}, found {found}; the provider was asked and DNS decides",
        LOOK_AGAIN,
    )  # fmt: skip


async def settled(r: Resources, record: ExpectedRecord, patience_seconds: float) -> Verdict:
    """The verdict on one record, looked at until it passes or patience ends."""
    verdict = Verdict(record.key, Truth.UNKNOWN, "never looked")
    async for _ in short_looks(patience_seconds):
        (verdict,) = await observing.judge_all(r.resolver, [record])
        if verdict.passed:
            break
    return verdict


def forward_record(address: IPv4Address, name: str) -> ExpectedRecord:
    """The A record that the PTR leans on."""
    return ExpectedRecord(
        "a", name, "A", (str(address),), Need.REQUIRED, Merge.EXACT, 300, Holder.TENANT, ips=(address,)
    )


def reverse_record(address: IPv4Address, name: str) -> ExpectedRecord:
    """The PTR record itself."""
    return ExpectedRecord(
        "ptr", address.reverse_pointer, "PTR", (f"{name}.",), Need.REQUIRED, Merge.EXACT, 300, Holder.PROVIDER,
        ips=(address,),
    )  # fmt: skip
