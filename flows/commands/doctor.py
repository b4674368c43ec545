"""doctor: every prerequisite, what was found, and what cures it. Changes nothing, spends nothing."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from flows.commands.migrate import migration_dsn
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.onboarding.admission import missing_settings
from flows.policy.verdict import Truth, Verdict, overall
from flows.resources import Resources, core_dsn, resources, settings
from providers.errors import ProviderError
from providers.resolver import Outcome
from sql import migrate
from sql.migration_files import TARGETS

WARN_DAYS = 30


def doctor(as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False) -> None:
    """Look at settings, databases, resolver, provider and Prefect. Exit 0 only when nothing fails."""
    run(_doctor(as_json=as_json))


async def _doctor(*, as_json: bool) -> None:
    found = [check_settings(), await check_prefect()]
    async with resources() as r:
        found += [await guarded(check, r) for check in (check_schema, check_resolver, check_provider, check_key_expiry)]
    if as_json:
        say_json([asdict(verdict) for verdict in found])
    else:
        show_table(
            "doctor", ("", "what", "found", "cure"),
            [(v.truth, v.subject, "; ".join(v.found), v.fix) for v in found],
        )  # fmt: skip
    raise typer.Exit(Exit.FAILED if overall(found) is Truth.FAIL else Exit.OK)


async def guarded(check: Callable[[Resources], Awaitable[Verdict]], r: Resources) -> Verdict:
    """A check that could not look is UNKNOWN, with the reason."""
    try:
        return await check(r)
    except ProviderError as error:
        return Verdict(
            check.__name__.removeprefix("check_"), Truth.FAIL, "error", found=(str(error),), fix=error.detail
        )


def check_settings() -> Verdict:
    """Everything an order needs is set."""
    missing = missing_settings(settings())
    if missing:
        fix = "set " + ", ".join("PENGUINMAILS_" + name.upper().replace(".", "__") for name in missing)
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


async def check_schema(_: Resources) -> Verdict:
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


async def check_resolver(r: Resources) -> Verdict:
    """Our own resolver answers for the root."""
    answer = await r.resolver.ask(".", "NS")
    server = str(r.settings.dns.resolver)
    if answer.outcome is Outcome.FOUND:
        return Verdict("resolver", Truth.PASS, found=(server,))
    return Verdict(
        "resolver", Truth.FAIL, answer.outcome, found=(f"{server}: {answer.rcode}",),
        fix="run a recursive resolver of your own and set PENGUINMAILS_DNS__RESOLVER",
    )  # fmt: skip


async def check_provider(r: Resources) -> Verdict:
    """The key is accepted from here."""
    servers = await r.vps.list_servers()
    ours = [server for server in servers if server.token.startswith(f"pm-{r.settings.hostwinds.environment}-")]
    return Verdict("provider", Truth.PASS, found=(f"key accepted, {len(servers)} servers, {len(ours)} of them ours",))


async def check_key_expiry(r: Resources) -> Verdict:
    """The key lives on for a while."""
    expires = r.settings.hostwinds.api_key_expires_on
    if expires is None:
        truth = Truth.PASS if r.settings.hostwinds.sandbox else Truth.FAIL
        return Verdict("key expiry", truth, found=("not set",), fix="set PENGUINMAILS_HOSTWINDS__API_KEY_EXPIRES_ON")
    days = (expires - datetime.now(UTC).date()).days
    truth = Truth.FAIL if days <= 1 else Truth.PASS
    fix = "make a new key in the panel and list this worker's IPv4 address there" if days <= WARN_DAYS else ""
    return Verdict("key expiry", truth, found=(f"{days} days left",), fix=fix)


def database() -> None:
    """Print how to reach the embedded database (psql "$(python -m flows database)"); a DSN of your own you know."""
    if settings().database.core_dsn is not None:
        stop(Exit.USAGE, "PENGUINMAILS_DATABASE__CORE_DSN is set, and may hold a password: it is not printed")
    out.print(run(core_dsn()), markup=False)
