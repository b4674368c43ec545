"""doctor: every prerequisite, what was found, and what cures it. Changes nothing, spends nothing."""

import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import typer

from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.policy.verdict import Truth, Verdict, overall
from flows.ready_to_order import missing_settings
from flows.resources import (
    core_dsn,
    direct_dsn,
    hostwinds,
    listen_dsn,
    migration_dsn,
    own_resolver,
    sealing_keys,
    settings,
)
from flows.settings import Settings
from providers.acme import Acme, new_account_key
from providers.errors import ProviderError, Unauthorized
from providers.hostwinds import Hostwinds
from providers.resolver import Outcome
from sql import capabilities, migrate, vps_instances
from sql.migration_files import TARGETS
from sql.session import Contended, as_orchestrator, open_pool

WARN_DAYS = 30


class Ground(NamedTuple):
    """What checks stand on; no database among it, for it may be what is missing."""

    settings: Settings
    vps: Hostwinds
    tables_are_there: bool


class Check(NamedTuple):
    """One look, what cures it where nothing answers, and the settings without which there is nothing to look at."""

    subject: str
    look: Callable[[Ground], Awaitable[Verdict]]
    cure: str
    needs: tuple[str, ...] = ()


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    catalogues: Annotated[
        bool, typer.Option("--catalogues", help="also print the provider's plans, images and places as it lists them")
    ] = False,
    probe_actions: Annotated[
        bool, typer.Option("--probe-actions", help="also ask the provider which of its reading calls exist")
    ] = False,
) -> None:
    """Look at settings, databases, resolver, provider and Prefect. Exit 0 only when nothing fails."""
    run(_doctor(as_json=as_json, catalogues=catalogues, probe_actions=probe_actions))


async def _doctor(*, as_json: bool, catalogues: bool, probe_actions: bool) -> None:
    tables = await check_tables()
    found = [check_settings(), check_sealing(), await check_prefect(), *tables]
    async with hostwinds(settings()) as vps:
        ground = Ground(settings(), vps, all(verdict.passed for verdict in tables))
        found += [await guarded(check, ground) for check in CHECKS]
        lists: Mapping[str, str] = await vps.catalogues() if catalogues else {}
        if catalogues:
            found.append(check_ids(ground, lists))
        if probe_actions:
            found += [probed(action, answer) for action, answer in (await vps.probe()).items()]
        found += check_oddities(ground)
    if as_json:
        say_json([spelt_out(verdict) for verdict in found])
    else:
        for action, text in lists.items():
            out.print(f"{action}\n{text}\n", markup=False, highlight=False)
        show_table(
            "doctor", ("", "what", "found", "cure"),
            [(v.truth, v.subject, "; ".join(v.found), v.fix) for v in found],
        )  # fmt: skip
    raise typer.Exit(Exit.FAILED if overall(found) is Truth.FAIL else Exit.OK)


def spelt_out(verdict: Verdict) -> dict[str, Any]:
    """The verdict and its evidence by the names of their parts."""
    return verdict._asdict() | {"evidence": [one._asdict() for one in verdict.evidence]}


async def guarded(check: Check, ground: Ground) -> Verdict:
    """A check that could not look fails, with a cure of its own; without the settings it needs it does not look."""
    if unset := [name for name in check.needs if name in missing_settings(ground.settings)]:
        return Verdict(check.subject, Truth.UNKNOWN, "unset", found=("not looked at",), fix=f"set {', '.join(unset)}")
    try:
        return await check.look(ground)
    except Unauthorized as error:
        return Verdict(check.subject, Truth.FAIL, "refused", found=(str(error),), fix=LISTED_KEY)
    except ProviderError as error:
        return Verdict(check.subject, Truth.FAIL, "error", found=(str(error),), fix=check.cure)


def check_settings() -> Verdict:
    """Everything an order needs is set."""
    missing = missing_settings(settings())
    if missing:
        fix = f"set {', '.join(missing)}"
        return Verdict("settings", Truth.FAIL, "missing", found=(f"{len(missing)} missing",), fix=fix)
    return Verdict("settings", Truth.PASS, found=("complete",))


async def check_prefect() -> Verdict:
    """A server answers, so that schedules can fire."""
    if not os.environ.get("PREFECT_API_URL"):
        return Verdict(
            "prefect", Truth.UNKNOWN, "unset", found=("PREFECT_API_URL is not set",), fix="run: python -m flows serve"
        )
    from flows.serving import answers  # noqa: PLC0415  Prefect's client is slow to import

    if await answers():
        return Verdict("prefect", Truth.PASS, found=(os.environ["PREFECT_API_URL"],))
    return Verdict("prefect", Truth.FAIL, "silent", found=("no answer",), fix="run: python -m flows serve")


def check_sealing() -> Verdict:
    """There is a key for the secrets of tenants."""
    try:
        keys, active = sealing_keys()
    except ValueError as error:
        fix = """set PENGUINMAILS_SEALING__KEYS='{"k1": "…"}', the value made by: openssl rand -base64 32"""
        return Verdict("sealing key", Truth.FAIL, "unset", found=(str(error).partition(". ")[0],), fix=fix)
    return Verdict("sealing key", Truth.PASS, found=(f"{active} of {len(keys)}",))


async def check_tables() -> tuple[Verdict, Verdict]:
    """Both databases and their schema; what does not answer has no schema to look at."""
    try:
        probes = {
            target: await capabilities.probe(await dsn())
            for target, dsn in {"core": direct_dsn, "analytics": listen_dsn}.items()
        }
        schema = await check_schema()
    except Contended as error:
        fix = "see that PostgreSQL runs, and where PENGUINMAILS_DATABASE__CORE_DSN and its like lead"
        silent = Verdict("databases", Truth.FAIL, "silent", found=(str(error),), fix=fix)
        return silent, Verdict("schema", Truth.UNKNOWN, "silent", found=("not looked at",), fix=fix)
    return check_databases(probes, migrated=schema.passed), schema


def check_databases(probes: Mapping[str, capabilities.Capabilities], *, migrated: bool) -> Verdict:
    """What the servers offer and the logins may do, tried; what is only weaker is told and no failure."""
    unsafe = [
        f"{target}: {said}" for target, found in probes.items()
        for said in (found.unsafe if migrated else found.unsafe_before_migration)
    ]  # fmt: skip
    weaker = [f"{target}: {said}" for target, found in probes.items() for said in found.weaker]
    if unsafe:
        return Verdict("databases", Truth.FAIL, "unsafe", found=tuple(unsafe), fix="python -m flows migrate doctor")
    versions = (
        f"{target}: PostgreSQL {found.server_version // 10000}, wal_level {found.wal_level}"
        for target, found in probes.items()
    )
    return Verdict("databases", Truth.PASS, found=(*versions, *weaker))


async def check_schema() -> Verdict:
    """Both databases are up to date."""
    states = [await migrate.status(await migration_dsn(target), target) for target in TARGETS]
    problems = [state.problem for state in states if state.problem]
    pending = [label for state in states for label in state.pending]
    if problems:
        return Verdict("schema", Truth.FAIL, "refused", found=tuple(problems), fix="python -m flows migrate status")
    if pending:
        return Verdict(
            "schema", Truth.FAIL, "pending", found=(f"{len(pending)} pending",), fix="python -m flows migrate up"
        )
    return Verdict("schema", Truth.PASS, found=("up to date",))


async def check_resolver(ground: Ground) -> Verdict:
    """Our own resolver answers for the root."""
    answer = await own_resolver(ground.settings).ask(".", "NS")
    server = str(ground.settings.dns.resolver)
    if answer.outcome is Outcome.FOUND:
        return Verdict("resolver", Truth.PASS, found=(server,))
    return Verdict(
        "resolver", Truth.FAIL, answer.outcome, found=(f"{server}: {answer.rcode}",),
        fix="run a recursive resolver of your own and set PENGUINMAILS_DNS__RESOLVER",
    )  # fmt: skip


async def check_provider(ground: Ground) -> Verdict:
    """The key is accepted from here, and every server that bears our name has a row."""
    source = await ground.vps.source_address()
    servers = await ground.vps.list_servers()
    ours = [server.token for server in servers if server.token.startswith(prefix_of(ground))]
    found = f"key accepted from {source}, {len(servers)} servers, {len(ours)} of them ours"
    if not ground.tables_are_there:
        return Verdict("provider", Truth.UNKNOWN, "no tables", found=(found, "whether each has a row: not looked at"))
    if orphans := await without_a_row(ours):
        fix = "each is billed and no order knows it, so none can be adopted: end it in the provider's panel"
        told = (found, f"without a row: {', '.join(orphans)}")
        return Verdict("provider", Truth.FAIL, "orphans", found=told, fix=fix)
    return Verdict("provider", Truth.PASS, found=(found,))


def prefix_of(ground: Ground) -> str:
    """How the names of this installation's servers begin."""
    return f"pm-{ground.settings.hostwinds.environment}-"


async def without_a_row(tokens: Sequence[str]) -> list[str]:
    """Those that no table of ours knows."""
    async with await open_pool(await core_dsn(), part="doctor", max_size=1) as pool, as_orchestrator(pool) as conn:
        known = await vps_instances.known_tokens(conn)
    return sorted(set(tokens) - set(known))


async def check_smtp_filters(ground: Ground) -> Verdict:
    """No server of ours is kept from sending by its provider."""
    ours = [server for server in await ground.vps.list_servers() if server.token.startswith(prefix_of(ground))]
    filtered = [
        f"{server.token}: {block.kind} since {block.created}"
        for server in ours
        for block in await ground.vps.smtp_filters(server.provider_id)
    ]
    if filtered:
        fix = "ask the provider's support to lift it: no mail leaves there until then"
        return Verdict("smtp filters", Truth.FAIL, "filtered", found=tuple(filtered), fix=fix)
    return Verdict("smtp filters", Truth.PASS, found=(f"none on {len(ours)} servers",))


def check_ids(ground: Ground, lists: Mapping[str, str]) -> Verdict:
    """The ids an order would use occur in the provider's own lists. Their shape is not promised: never a FAIL."""
    group = ground.settings.hostwinds
    text = "\n".join(lists.values())
    wanted = {"template": group.template, "rid": group.rid, "location_id": group.location_id}
    absent = [
        f"{name} {value}" for name, value in wanted.items() if not re.search(rf"\b{re.escape(str(value))}\b", text)
    ]
    if absent:
        fix = "compare with doctor --catalogues: an order with a wrong id is refused, or buys something else"
        return Verdict("ids", Truth.UNKNOWN, "not listed", found=(f"not listed: {', '.join(absent)}",), fix=fix)
    return Verdict("ids", Truth.PASS, found=("template, rid and location_id are listed",))


def probed(action: str, answer: str) -> Verdict:
    """One reading call of the provider."""
    truth = Truth.PASS if answer == "there" else Truth.UNKNOWN
    return Verdict(f"call {action}", truth, "" if truth is Truth.PASS else "odd", found=(answer,))


def check_oddities(ground: Ground) -> list[Verdict]:
    """Replies of the provider that were not as expected, if there were any."""
    odd = tuple(f"{count} x {what}" for what, count in sorted(ground.vps.oddities.items()) if count)
    return [Verdict("provider's replies", Truth.UNKNOWN, "odd", found=odd)] if odd else []


async def check_key_expiry(ground: Ground) -> Verdict:
    """The key lives on for a while."""
    expires = ground.settings.hostwinds.api_key_expires_on
    if expires is None:
        truth = Truth.PASS if ground.settings.hostwinds.sandbox else Truth.FAIL
        return Verdict("key expiry", truth, found=("not set",), fix="set PENGUINMAILS_HOSTWINDS__API_KEY_EXPIRES_ON")
    days = (expires - datetime.now(UTC).date()).days
    truth = Truth.FAIL if days <= 1 else Truth.PASS
    fix = "make a new key in the panel and list this worker's IPv4 address there" if days <= WARN_DAYS else ""
    return Verdict("key expiry", truth, found=(f"{days} days left",), fix=fix)


async def check_authority(ground: Ground) -> Verdict:
    """The ACME authority answers and is trusted; its directory is read, no account is made."""
    group = ground.settings.mail_host
    if group.certificate_issuer != "acme":
        return Verdict("certificates", Truth.PASS, found=("signed by the private authority",))
    await Acme(group.acme_directory, new_account_key(), ca_file=group.acme_ca_file).caa_identities()
    return Verdict("certificates", Truth.PASS, found=(f"{group.acme_directory} answers",))


PROVIDER_ANSWERS = "see that PENGUINMAILS_HOSTWINDS__BASE_URL answers from here, then look again"
LISTED_KEY = "set a valid PENGUINMAILS_HOSTWINDS__API_KEY, and list this worker's IPv4 address beside it in the panel"
CHECKS = (
    Check("resolver", check_resolver, "run a recursive resolver of your own and set PENGUINMAILS_DNS__RESOLVER"),
    Check("provider", check_provider, PROVIDER_ANSWERS, needs=("PENGUINMAILS_HOSTWINDS__API_KEY",)),
    Check("smtp filters", check_smtp_filters, PROVIDER_ANSWERS, needs=("PENGUINMAILS_HOSTWINDS__API_KEY",)),
    Check("key expiry", check_key_expiry, "set PENGUINMAILS_HOSTWINDS__API_KEY_EXPIRES_ON"),
    Check(
        "certificates", check_authority,
        "see that PENGUINMAILS_MAIL_HOST__ACME_DIRECTORY is the authority's address and answers from here;"
        " a private authority is trusted by PENGUINMAILS_MAIL_HOST__ACME_CA_FILE",
        needs=("PENGUINMAILS_MAIL_HOST__ACME_DIRECTORY",),
    ),
)  # fmt: skip


def database() -> None:
    """Print how to reach the embedded database (psql "$(python -m flows database)"); a DSN of your own you know."""
    out.print(run(_database()), markup=False)


async def _database() -> str:
    if settings().database.core_dsn is not None:
        stop(Exit.USAGE, "PENGUINMAILS_DATABASE__CORE_DSN is set; it may hold a password, and is not printed")
    return await core_dsn()
