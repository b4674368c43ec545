"""campaigns: who is written to, from which mailboxes, and where each campaign stands. Nothing is sent from here."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import typer

from flows.acting import actor
from flows.commands.permission import changes
from flows.commands.status import AsJson, TenantWord, known_tenant
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.policy.campaigns import TAKES_LEADS, CampaignStatus, campaign_from, why_not
from flows.resources import Resources, resources
from sql import campaigns, infrastructure_events, leads, templates
from sql.campaigns import Campaign
from sql.session import Connection, as_orchestrator, as_tenant
from sql.tenants import Tenant

app = typer.Typer(no_args_is_help=True, help="A tenant's campaigns: drafted, given leads, moved from state to state.")

MOST_NAMED = 5  # of what is not there: a list of thousands may be
Key = Annotated[int, typer.Argument(metavar="CAMPAIGN", help="its number, as `campaigns list` shows it")]


def moment(words: str) -> datetime:
    """A time with its zone."""
    at = datetime.fromisoformat(words)
    if at.tzinfo is None:
        raise typer.BadParameter(f"{words} needs a time zone, e.g. {words}+00:00")
    return at.astimezone(UTC)


At = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="ISO 8601 with zone")]


@app.command("list")
def list_campaigns(tenant: TenantWord, as_json: AsJson = False) -> None:
    """A tenant's campaigns, the newest first."""
    run(_list(tenant, as_json=as_json))


async def _list(word: str, *, as_json: bool) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            found = await campaigns.list_campaigns(conn, tenant.id)
    if as_json:
        say_json([described(one) for one in found])
        return
    show_table(
        "campaigns", ("campaign", "name", "status", "at"),
        [(one.id, one.campaign_name, one.status, one.scheduled_at or "-") for one in found],
    )  # fmt: skip


@app.command()
def show(tenant: TenantWord, campaign: Key, as_json: AsJson = False) -> None:
    """One campaign, and how its messages stand."""
    run(_show(tenant, campaign, as_json=as_json))


async def _show(word: str, key: int, *, as_json: bool) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            found = described(await known_campaign(conn, key))
            messages = {count.status: count.messages for count in await campaigns.counts(conn, key)}
    if as_json:
        say_json({**found, "messages": messages})
        return
    show_table("campaign", ("", ""), [(name, value) for name, value in found.items() if value is not None])
    show_table("messages", ("status", "messages"), list(messages.items()))


@app.command()
@changes("campaign.create")
def create(
    tenant: TenantWord,
    name: Annotated[str, typer.Argument(metavar="NAME", help="what the tenant calls it")],
    template: Annotated[str, typer.Option(help="by name; python -m flows templates put")],
) -> None:
    """Draft a campaign: it has no leads and sends nothing yet."""
    run(_create(tenant, name, template))


async def _create(word: str, name: str, template: str) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            known = {one.name: one.id for one in await templates.list_templates(conn, tenant.id) if one.is_active}
            if template not in known:
                stop(Exit.REJECTED, f"{tenant.name} has no template {template!r} in use")
            key = await campaigns.draft_campaign(
                conn, tenant_id=tenant.id, name=name, template_id=known[template], configuration={}
            )
        await noted(r, tenant, "campaign_created", {"campaign": key, "template": template})
    out.print(f"campaign {key}: draft", markup=False)


@app.command()
@changes("campaign.add")
def add(
    tenant: TenantWord,
    campaign: Key,
    mailbox: Annotated[list[str], typer.Option("--from", metavar="MAILBOX", help="sent from; again for more, in turn")],
    lead: Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="one lead; may be said again")] = None,
    every: Annotated[bool, typer.Option("--all", help="every lead of the tenant")] = False,
) -> None:
    """Queue one message to each lead that has none of it yet; the suppressed are left out. Safe to repeat."""
    if bool(lead) == every:
        stop(Exit.USAGE, "say whom: --lead ADDRESS (again for more), or --all")
    run(_add(tenant, campaign, lowered(mailbox), lowered(lead) if lead else None))


async def _add(word: str, key: int, senders: Sequence[str], people: Sequence[str] | None) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            standing = CampaignStatus((await known_campaign(conn, key)).status)
            if standing not in TAKES_LEADS:
                stop(Exit.REJECTED, f"campaign {key} takes nobody more: it is {standing}")
            boxes = all_of(senders, await campaigns.mailboxes(conn, tenant.id, senders), f"no mailbox of {tenant.name}")
            ids = all_of(people, await leads.lead_ids(conn, tenant.id, people), "no lead") if people else None
            added = await campaigns.queue_messages(
                conn, tenant_id=tenant.id, campaign_id=key, account_ids=boxes, lead_ids=ids,
                open_words=[word.value for word in TAKES_LEADS],
            )  # fmt: skip
        await noted(r, tenant, "campaign_leads_added", {"campaign": key, "messages": added})
    out.print(f"campaign {key}: {added} messages queued", markup=False)


@app.command()
@changes("campaign.move")
def move(
    tenant: TenantWord,
    campaign: Key,
    status: Annotated[str, typer.Argument(metavar="STATUS", help=", ".join(CampaignStatus))],
    at: At = None,
) -> None:
    """Move a campaign; `scheduled` needs --at. A cancelled one's queued messages are cancelled with it."""
    if status not in set(CampaignStatus):
        stop(Exit.USAGE, f"no status {status!r}: it is one of {', '.join(CampaignStatus)}")
    to = CampaignStatus(status)
    if (to is CampaignStatus.SCHEDULED) != (at is not None):
        stop(Exit.USAGE, "--at TIME belongs to `scheduled`, and `scheduled` needs it")
    if at is not None and at <= datetime.now(UTC):
        stop(Exit.USAGE, f"{at.isoformat()} is over")
    run(_move(tenant, campaign, to, at))


async def _move(word: str, key: int, to: CampaignStatus, at: datetime | None) -> None:
    async with resources() as r:
        tenant = await known_tenant(r, word)
        async with as_tenant(r.pool, tenant.tenant_id) as conn:
            before = CampaignStatus((await known_campaign(conn, key)).status)
            allowed = cast("list[campaigns.CampaignStatus]", [word.value for word in campaign_from(to)])
            if not await campaigns.move_campaign(conn, key, to.value, allowed_from=allowed, scheduled_at=at):
                stop(Exit.REJECTED, f"campaign {key}: {why_not(before, to)}")
        await noted(r, tenant, "campaign_moved", {"campaign": key}, before, to)
    out.print(f"campaign {key}: {to}", markup=False)


async def known_campaign(conn: Connection, key: int) -> Campaign:
    """The tenant's campaign; ends the command when there is none."""
    found = await campaigns.get_campaign(conn, key)
    if found is None:
        stop(Exit.REJECTED, f"no campaign {key}: python -m flows campaigns list")
    return found


async def noted(
    r: Resources, tenant: Tenant, event: str, details: Mapping[str, Any],
    before: str | None = None, after: str | None = None,
) -> None:  # fmt: skip
    """Say on the tenant's trail who did it: the deed is the tenant's own transaction, the trail the orchestrator's."""
    async with as_orchestrator(r.pool) as conn:
        await infrastructure_events.record_event(
            conn, tenant_id=tenant.id, subject_type="tenant", subject_id=tenant.id, event=event, actor=actor(),
            from_status=before, to_status=after, details=details,
        )  # fmt: skip


def all_of(wanted: Sequence[str], found: Mapping[str, int], lacking: str) -> list[int]:
    """The keys of all that was named, each once; ends the command with those that are not there."""
    if missing := [name for name in wanted if name not in found]:
        stop(Exit.REJECTED, f"{lacking}: {', '.join(missing[:MOST_NAMED])}{' …' if len(missing) > MOST_NAMED else ''}")
    return [found[name] for name in dict.fromkeys(wanted)]


def lowered(addresses: Sequence[str]) -> list[str]:
    """As they stand in the tables."""
    return [address.strip().lower() for address in addresses]


def described(one: Campaign) -> dict[str, object]:
    """A campaign as JSON."""
    names = ("id", "campaign_name", "status", "template_id", "scheduled_at", "started_at", "completed_at")
    return {name: getattr(one, name) for name in names}
