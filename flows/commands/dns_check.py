"""dns check: every record of a domain with what is expected, what is found, who said so, and what mends it."""

import asyncio
from typing import Annotated, Any

import typer

from flows.commands.dns_records import app
from flows.commands.terminal import Exit, out, run, say_json, show_table
from flows.domains import observing
from flows.domains.surveying import survey
from flows.policy.dkim import key_name
from flows.policy.names import host_name
from flows.policy.plain_text import plain
from flows.policy.records import Need, entries, line
from flows.policy.verdict import Truth, Verdict, overall
from flows.resources import Resources, resources
from sql import domains
from sql.domains import DueDomain
from sql.session import as_orchestrator

WATCH_SECONDS = 15.0
WORDS = {Truth.PASS: "ok", Truth.FAIL: "WRONG", Truth.UNKNOWN: "unknown"}
EXITS = {Truth.PASS: Exit.OK, Truth.FAIL: Exit.FAILED, Truth.UNKNOWN: Exit.WAITING}
WIDEST = 90  # characters of a value on a terminal; --json has it whole


@app.command("check")
def check(
    domain: Annotated[str, typer.Argument(help="any domain; one of a tenant's is held against its plan")],
    selector: Annotated[
        list[str] | None, typer.Option(help="with a domain that is no tenant's: a DKIM selector to look at")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="look again every 15 s until everything stands")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Look at a domain now, at its authorities and at our resolver; exit code 0 right, 1 wrong, 3 not known yet."""
    run(_check(domain, tuple(selector or ()), watch=watch, as_json=as_json))


async def _check(domain: str, selectors: tuple[str, ...], *, watch: bool, as_json: bool) -> None:
    name = host_name(domain)
    for selector in selectors:
        key_name(selector, name)  # what is none is said before anything is asked
    async with resources() as r:
        while True:
            verdicts = await verdicts_on(r, name, selectors)
            truth = overall(verdicts)
            say(name, verdicts, truth, as_json=as_json)
            if not watch or truth is Truth.PASS:
                break
            await asyncio.sleep(WATCH_SECONDS)
    raise typer.Exit(EXITS[truth])


async def verdicts_on(r: Resources, name: str, selectors: tuple[str, ...] = ()) -> list[Verdict]:
    """In full against the plan of the tenant that has the domain; a survey where nobody has."""
    async with as_orchestrator(r.pool) as conn:
        known = await domains.find_live(conn, name)
    planned = next((domain for domain in known if domain.dns_records.get("records")), None)
    if planned is None:
        return await survey(r.resolver, name, selectors=selectors)
    return await against_plan(r, planned)


async def against_plan(r: Resources, domain: DueDomain) -> list[Verdict]:
    """What is required of a tenant's domain, and whether its DNSSEC holds where it has any."""
    gates = [entry for entry in entries(domain.dns_records) if entry.expected.need is not Need.OPTIONAL]
    since = {entry.expected.key: entry.state.disagreeing_since for entry in gates if entry.state.disagreeing_since}
    verdicts = await observing.judge_all(
        r.resolver, [entry.expected for entry in gates], domain.domain_name, disagreeing_since=since
    )
    if any(verdict.reason == "dnssec_broken" for verdict in verdicts):
        verdicts.append(await observing.judged_dnssec(r.resolver, domain.domain_name))
    return verdicts


def say(name: str, verdicts: list[Verdict], truth: Truth, *, as_json: bool) -> None:
    """The table, or the document."""
    if as_json:
        say_json({"domain": name, "verdict": truth, "records": [document(verdict) for verdict in verdicts]})
        return
    columns = ("record", "verdict", "expected", "found", "said by")
    show_table(f"{name}: {WORDS[truth]}", columns, [row(verdict) for verdict in verdicts])
    for verdict in verdicts:
        if verdict.truth is not Truth.PASS:
            out.print(line(verdict), markup=False)
        for warning in verdict.warnings:
            out.print(f"{verdict.subject}: note: {plain(warning)}", markup=False)


def row(verdict: Verdict) -> tuple[str, ...]:
    """One record's line."""
    word = WORDS[verdict.truth] + ("" if verdict.reason == "ok" else f" ({verdict.reason})")
    found = " | ".join(plain(value, WIDEST) for value in verdict.found) or "-"
    who = ", ".join(dict.fromkeys(seen.source.removesuffix(".") for seen in verdict.evidence)) or "-"
    return verdict.subject, word, plain(verdict.expected, WIDEST) or "-", found, who


def document(verdict: Verdict) -> dict[str, Any]:
    """One record for a program, with everything it rests on."""
    return {
        "record": verdict.subject, "verdict": verdict.truth, "reason": verdict.reason, "expected": verdict.expected,
        "found": list(verdict.found), "fix": verdict.fix, "warnings": list(verdict.warnings),
        "evidence": [
            {"by": e.source, "question": e.question, "answer": e.answer, "at": e.asked_at, "ttl_seconds": e.ttl_seconds}
            for e in verdict.evidence
        ],
    }  # fmt: skip
