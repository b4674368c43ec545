"""listings and blocklists: what the lists say of an address or a domain, and which lists are asked."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any

import typer

from flows.acting import actor
from flows.blocklists.lists import findings, known_lists, proven_lists, tell_of_codes
from flows.commands.permission import changes
from flows.commands.terminal import Exit, out, run, say_json, show_table, stop
from flows.policy.blocklists import Finding, Kind, TrustState, kind_of, screen
from flows.policy.names import host_name
from flows.policy.verdict import Truth, Verdict
from flows.resources import resources
from sql import blocklist_zones, provider_blacklist_status
from sql.blacklist_checks import CheckType
from sql.session import as_orchestrator

app = typer.Typer(no_args_is_help=True, help="Blocklists: which are asked, how they stand, what waits for them.")

COLOURS = {Truth.PASS: "clean", Truth.FAIL: "LISTED", Truth.UNKNOWN: "unknown"}
COLUMNS = ("list", "tier", "says", "found", "on record", "what to do")
NARROW = 5
EXITS = {Truth.PASS: Exit.OK, Truth.FAIL: Exit.FAILED, Truth.UNKNOWN: Exit.UNAVAILABLE}


def listings(
    subject: Annotated[str, typer.Argument(help="an IPv4 or IPv6 address, or a domain")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Ask every list now about an address or a domain; exit code 0 clean, 1 listed, 7 not known."""
    run(_listings(subject.strip(), as_json=as_json))


def as_asked(word: str) -> str:
    """The one form in which a subject is asked for and stored; ValueError with one sentence for what is none."""
    try:
        address = ip_address(word)
    except ValueError:
        return host_name(word)
    if "%" in word:
        raise ValueError(f"{word!r} is an address of one link, which no list can know")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)  # a mapped address is the IPv4 one, which the lists know it by


async def _listings(word: str, *, as_json: bool) -> None:
    subject = as_asked(word)
    kind = kind_of(subject)
    async with resources() as r:
        found = await findings(r, await proven_lists(r, {kind}), subject)
        await tell_of_codes(r, found)
        check_type: CheckType = "domain" if kind is Kind.DOMAIN else "ip"
        async with as_orchestrator(r.pool) as conn:
            known = await provider_blacklist_status.stored_status(conn, check_type, subject) or {}
    verdict = screen(subject, found)
    if as_json:
        say_json(document(verdict, found, known))
    else:
        show_narrow(f"{subject}: {words(verdict)}", COLUMNS, [row(one, known.get(one.listname, {})) for one in found])
        for one in found if out.is_terminal else ():
            if one.verdict.fix:
                out.print(one.verdict.fix, markup=False)
    raise typer.Exit(EXITS[verdict.truth])


def show_narrow(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The first columns on a terminal, where long ones would be folded to shreds; all of them in a pipe."""
    shown = NARROW if out.is_terminal else len(columns)
    show_table(title, columns[:shown], [line[:shown] for line in rows])


def words(verdict: Verdict) -> str:
    """The verdict over all lists, in a few words."""
    return f"{COLOURS[verdict.truth]} ({verdict.reason})" if verdict.truth is not Truth.PASS else "clean"


def row(one: Finding, known: Mapping[str, Any]) -> tuple[str, ...]:
    """One list's line."""
    verdict = one.verdict
    said = COLOURS[verdict.truth] + ("" if verdict.truth is Truth.PASS else f" ({verdict.reason})")
    found = " ".join((*one.codes, one.code.word if one.code else "", *one.texts)).strip() or "-"
    return (one.listname, str(one.tier), said, found, on_record(known), verdict.fix or "-")


def on_record(known: Mapping[str, Any]) -> str:
    """What the table holds: the listing that was confirmed, and since when nothing is known."""
    if not known:
        return "-"
    since = f" since {known['listed_since'][:16]}" if known.get("listed_since") else ""
    doubt = f", not known since {known['unknown_since'][:16]}" if known.get("unknown_since") else ""
    return f"{COLOURS[Truth(known['verdict'])]}{since}{doubt}"


def document(verdict: Verdict, found: list[Finding], known: Mapping[str, Any]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "subject": verdict.subject,
        "verdict": verdict.truth.value,
        "reason": verdict.reason,
        "fix": verdict.fix,
        "lists": [
            {
                "list": one.listname,
                "tier": one.tier,
                "verdict": one.verdict.truth.value,
                "reason": one.verdict.reason,
                "class": one.code.word if one.code else None,
                "codes": one.codes,
                "texts": one.texts,
                "fix": one.verdict.fix,
                "evidence": [
                    {"server": seen.source, "question": seen.question, "answer": seen.answer, "at": seen.asked_at}
                    for seen in one.verdict.evidence
                ],
                "on_record": known.get(one.listname),
            }
            for one in found
        ],
    }


@app.command("list")
def show() -> None:
    """All lists, those that are off too."""
    run(_show())


async def _show() -> None:
    async with resources() as r, as_orchestrator(r.pool) as conn:
        rows = await blocklist_zones.list_zones(conn, enabled_only=False)
        tests = {(test.list_name, test.kind): test for test in await blocklist_zones.list_self_tests(conn)}
    lines: list[tuple[object, ...]] = []
    for one in rows:
        stands = (
            f"{kind} {tests[one.name, kind].trust} ({tests[one.name, kind].reason})" if (one.name, kind) in tests
            else f"{kind} not tested" for kind in one.points
        )  # fmt: skip
        state = "off" if not one.is_enabled else "on" if one.gates else "on, waived"
        told = (one.condition or "-", asked_today(one), one.zone, one.checked_on)
        lines.append((one.name, one.tier, state, ", ".join(stands), *told))
    columns = ("list", "tier", "state", "self-test", "condition", "asked today", "zone", "row checked")
    show_narrow("blocklists", columns, lines)


def asked_today(one: blocklist_zones.ListRow) -> str:
    """How much of a daily limit is used; nothing is counted where there is none."""
    return f"{one.asked_today:,} of {one.daily_limit:,}" if one.daily_limit else "-"


@app.command()
def test() -> None:
    """Test the lists whose self-test is due, now."""
    run(_test())


async def _test() -> None:
    async with resources() as r:
        await proven_lists(r, tuple(Kind))
        async with as_orchestrator(r.pool) as conn:
            stands = [(one, kind) for one in await known_lists(conn) for kind in one.blocklist.points]
    rows = [(one.blocklist.name, kind.value, *_standing(one.trust[kind])) for one, kind in stands if kind in one.trust]
    show_table("self-tests", ("list", "kind", "stands", "reason", "tested"), rows)


def _standing(state: TrustState) -> tuple[str, str, str]:
    return (state.trust.value, state.reason, f"{state.tested_at:%Y-%m-%d %H:%M}Z" if state.tested_at else "-")


@app.command()
@changes("blocklist.change")
def disable(name: Annotated[str, typer.Argument(help="the list's name")]) -> None:
    """Ask a list no longer; its open listings end without a word of delisting."""
    run(_change(name, "is asked no longer", enabled=False))


@app.command()
@changes("blocklist.change")
def enable(name: Annotated[str, typer.Argument(help="the list's name")]) -> None:
    """Ask a list again, once it has passed its self-test, and let acceptance wait for it."""
    run(_change(name, "is asked again", enabled=True, gates=True))


@app.command()
@changes("blocklist.change")
def waive(name: Annotated[str, typer.Argument(help="the list's name")]) -> None:
    """Go on asking a list, but let nothing wait for its answer; `enable` takes that back."""
    run(_change(name, "holds nothing up any longer", gates=False))


async def _change(name: str, done: str, *, enabled: bool | None = None, gates: bool | None = None) -> None:
    async with resources() as r, as_orchestrator(r.pool) as conn:
        known = True
        if enabled is not None:
            known = await blocklist_zones.set_enabled(conn, name, on=enabled, actor=actor())
        if gates is not None:
            known = await blocklist_zones.set_gates(conn, name, on=gates, actor=actor())
    if not known:
        stop(Exit.REJECTED, f"no list {name}: python -m flows blocklists list")
    out.print(f"{name} {done}", markup=False)
