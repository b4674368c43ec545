"""dns: what a tenant has to publish, what we would publish for it, and the way back."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.status import known_tenant
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.domains.publishing import Plan, last_publication, note, planned, undo
from flows.onboarding.plans import estate_of, plan_of
from flows.policy.dmarc import FIRST
from flows.policy.names import host_name
from flows.policy.records import Conflict, Entry, Holder, Keep, Need, dmarc_start, entries, expected_records
from flows.policy.zone_lines import panel_name, quoted, zone_lines
from flows.resources import Resources, resources
from sql import dns_hosts, domains, provisioning, tenants, vps_instances
from sql.domains import Domain
from sql.session import as_orchestrator

app = typer.Typer(no_args_is_help=True, help="Records of a domain: to publish by hand, or by us, and undone.")

DomainWord = Annotated[str, typer.Argument(metavar="DOMAIN", help="a domain that a tenant has here")]
OfTenant = Annotated[
    str | None, typer.Option("--tenant", help="whose, where several claim it: name, domain or tenants.tenant_id")
]


class Form(StrEnum):
    """How records are shown."""

    TABLE = "table"
    ZONE = "zone"
    JSON = "json"


@app.command()
def records(
    domain: DomainWord,
    form: Annotated[Form, typer.Option("--format", help="table, lines for a zone file, or JSON")] = Form.TABLE,
    everything: Annotated[
        bool, typer.Option("--all", help="also what is not the tenant's, or only convenient")
    ] = False,
    tenant: OfTenant = None,
) -> None:
    """What the tenant publishes, the ownership token first, with what is wrong and its cure."""
    run(_records(domain, tenant, form, everything=everything))


async def _records(word: str, whose: str | None, form: Form, *, everything: bool) -> None:
    async with resources() as r:
        domain = await known_domain(r, word, whose)
    shown = [entry for entry in entries(domain.dns_records) if everything or is_tenants(entry)]
    if not shown:
        stop(Exit.REJECTED, f"{domain.domain_name} has no records yet: python -m flows onboard {domain.domain_name}")
    if form is Form.ZONE:
        lines = zone_lines([(e.expected.name, e.expected.rtype, e.expected.ttl, e.expected.values) for e in shown])
        typer.echo("\n".join(lines))
    elif form is Form.JSON:
        say_json([as_json(entry, fix, domain) for entry, fix in with_fixes(domain, shown)])
    else:
        print_table(domain, shown)


def is_tenants(entry: Entry) -> bool:
    """Whether the tenant is asked to publish it."""
    return entry.expected.holder is Holder.TENANT and entry.expected.need is not Need.OPTIONAL


def with_fixes(domain: Domain, shown: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Each entry with the line that cures it; empty when nothing is wrong."""
    fixes: dict[tuple[str, str], str] = {
        (row["record_key"], row["name"]): row.get("fix") or "" for row in domain.dns_records.get("records") or ()
    }
    return [(entry, fixes.get((entry.expected.key, entry.expected.name), "")) for entry in shown]


def as_json(entry: Entry, fix: str, domain: Domain) -> dict[str, Any]:
    """One record for a program."""
    record = entry.expected
    return {
        "key": record.key, "name": record.name, "enter": panel_name(record.name, domain.domain_name),
        "type": record.rtype, "ttl": record.ttl, "values": list(record.values), "need": record.need,
        "status": entry.state.status, "verdict": entry.truth or None, "fix": fix or None,
    }  # fmt: skip


def print_table(domain: Domain, shown: Sequence[Entry]) -> None:
    """One line a record; text is quoted as a panel that takes several strings wants it. Then the cures."""
    found = with_fixes(domain, shown)
    show_table(
        f"{domain.domain_name}: enter the name as shown where the panel appends the domain",
        ("name", "type", "value", "seen"),
        [
            (
                panel_name(entry.expected.name, domain.domain_name),
                entry.expected.rtype,
                " ".join(quoted(v) if entry.expected.rtype == "TXT" else v for v in entry.expected.values),
                entry.truth or "not yet",
            )
            for entry, _ in found
        ],
    )
    for _, fix in found:
        if fix:
            out.print(f"  {fix}", markup=False)
    if (start := dmarc_start(entry.expected for entry, _ in found)) != FIRST:
        out.print(f"  {start} is what a domain above asks for already: a weaker record would undo it", markup=False)


@app.command()
def plan(domain: DomainWord, tenant: OfTenant = None) -> None:
    """What publishing by the tenant's DNS host would change and what it would leave alone; nothing is changed."""
    run(_plan(domain, tenant))


async def _plan(word: str, whose: str | None) -> None:
    async with resources() as r:
        found = await plan_for(r, await known_domain(r, word, whose))
    for change in found.changes:
        out.print(f"change  {change.name} {change.rtype}: {change.reason}", markup=False)
        for value in change.before:
            if value not in change.values:
                out.print(f"        - {value}", markup=False)
        for value in change.values:
            if value not in change.before:
                out.print(f"        + {value}", markup=False)
        for warning in change.warnings:
            out.print(f"        ! {warning}", markup=False)
    for record, decision in found.decisions:
        if isinstance(decision, Conflict):
            out.print(f"refused {record.name} {record.rtype}: {decision.fix}", markup=False)
        if isinstance(decision, Keep):
            out.print(f"keep    {record.name} {record.rtype}: {decision.reason}", markup=False)


async def plan_for(r: Resources, domain: Domain) -> Plan:
    """The plan for a domain of a tenant that was onboarded far enough to have addresses and keys."""
    if domain.dns_host is None:
        stop(
            Exit.REJECTED,
            f"{domain.domain_name} has no DNS host of record: its tenant publishes"
            f" (python -m flows dns records {domain.domain_name})",
        )
    async with as_orchestrator(r.pool) as conn:
        instance = await vps_instances.live_instance(conn, domain.tenant_id)
        runs = await provisioning.list_runs(conn, domain.tenant_id, limit=1) if instance else []
    estate = await estate_of(r, runs[0]) if runs else None
    if estate is None or domain.id not in estate.sends_from or not estate.keys[domain.id]:
        stop(Exit.REJECTED, f"{domain.domain_name} has no address and keys yet: python -m flows onboard comes first")
    return await planned(r, domain, expected_records(plan_of(r, estate, domain)))


@app.command("undo")
@changes("dns.undo")
def undo_last(
    domain: DomainWord,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    tenant: OfTenant = None,
) -> None:
    """Put back what stood before our newest publication, where it is still ours; the tenant publishes from then on."""
    run(_undo(domain, tenant, yes=yes))


async def _undo(word: str, whose: str | None, *, yes: bool) -> None:
    async with resources() as r:
        domain = await known_domain(r, word, whose)
        event = await last_publication(r, domain)
        if event is None:
            stop(Exit.REJECTED, f"{domain.domain_name}: no publication of ours is left to undo")
        names = ", ".join(f"{one['name']} {one['type']}" for one in event.details["sets"])
        out.print(f"published {event.created_at:%Y-%m-%d %H:%M} by {event.actor}: {names}", markup=False)
        if not yes and out.is_terminal and not typer.confirm("put back what stood there before?"):
            stop(Exit.FAILED, "nothing was done")
        for line in await undo(r, domain, event, actor=actor()):
            out.print(f"  {line}", markup=False)
    out.print(f"{domain.domain_name} is published by its tenant from now on", markup=False)


@app.command()
@changes("dns.consent")
def consent(
    domain: DomainWord,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="take the consent back; what is published stays")
    ] = False,
    tenant: OfTenant = None,
) -> None:
    """Put on record that the tenant wants the domain's own mail (its MX) at our host; without it no MX is touched."""
    run(_consent(domain, tenant, given=not withdraw))


async def _consent(word: str, whose: str | None, *, given: bool) -> None:
    async with resources() as r:
        domain = await known_domain(r, word, whose)
        async with as_orchestrator(r.pool) as conn:
            changed = await dns_hosts.set_mx_consent(conn, domain.id, given=given)
        if changed:
            await note(r, domain, "mx_consent" if given else "mx_consent_withdrawn", actor(), None, {})
    word = "given" if given else "withdrawn"
    out.print(f"{domain.domain_name}: consent {word}{'' if changed else ' already'}", markup=False)


async def known_domain(r: Resources, word: str, whose: str | None = None) -> Domain:
    """A domain by its name; ends the command when nobody has it, or several claim it, none proved it, none is named."""
    name = host_name(word)
    tenant = await known_tenant(r, whose) if whose else None
    async with as_orchestrator(r.pool) as conn:
        live = await domains.find_live(conn, name)
        claims = [claim for claim in live if tenant is None or claim.tenant_id == tenant.id]
        claims = [claim for claim in claims if claim.verification_status == "verified"] or claims
        owners = [await tenants.get_tenant_by_id(conn, claim.tenant_id) for claim in claims]
        owned = await domains.list_domains(conn, claims[0].tenant_id) if len(claims) == 1 else []
    if len(claims) > 1:
        said = ", ".join(str(owner.tenant_id) for owner in owners if owner)
        stop(Exit.REJECTED, f"{name} is claimed by several tenants and proven by none: add --tenant, of {said}")
    found = next((domain for domain in owned if domain.domain_name == name), None)
    if found is None:
        stop(Exit.REJECTED, f"{f'tenant {whose!r} has no' if whose else 'no tenant here has'} {name}")
    return found
