"""dns keys and dns rotate: a domain's DKIM keys, and a new one before its time."""

from typing import Annotated

import typer

from flows.commands.dns_check import app
from flows.commands.dns_records import DomainWord, OfTenant, known_domain
from flows.commands.permission import changes
from flows.commands.terminal import out, run, show_table
from flows.resources import resources
from sql import dkim_keys
from sql.session import as_orchestrator


@app.command("keys")
def keys(domain: DomainWord, tenant: OfTenant = None) -> None:
    """The DKIM keys of a domain and where each is in its life."""
    run(_keys(domain, tenant))


async def _keys(word: str, whose: str | None) -> None:
    async with resources() as r:
        domain = await known_domain(r, word, whose)
        async with as_orchestrator(r.pool) as conn:
            found = await dkim_keys.life_of(conn, domain.id)
    rows = [
        (
            key.selector,
            key.algorithm,
            key.status,
            key.published_at or "-",
            key.activated_at or "-",
            key.retiring_at or "-",
        )
        for key in found
    ]
    show_table(domain.domain_name, ("selector", "algorithm", "status", "published", "signs since", "retiring"), rows)


@app.command("rotate")
@changes("dkim.rotate")
def rotate(
    domain: DomainWord,
    force: Annotated[
        bool, typer.Option("--force", help="make new keys now, whatever the age of those that sign")
    ] = False,
    tenant: OfTenant = None,
) -> None:
    """Take a domain's DKIM keys as far as they may go now; again after an hour, it goes on where it stood."""
    run(_rotate(domain, tenant, force=force))


async def _rotate(word: str, whose: str | None, *, force: bool) -> None:
    from flows.domains.rotating import tend  # noqa: PLC0415  Prefect is slow to import

    async with resources() as r:
        domain = await known_domain(r, word, whose)
        lines = await tend(r, domain.id, force=force)
    out.print("\n".join(lines) or f"{domain.domain_name}: nothing is due", markup=False)
