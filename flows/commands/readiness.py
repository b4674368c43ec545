"""readiness: whether 5,000 messages a day would pass at the large receivers today."""

from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Annotated

import typer

from flows.commands.dns_check import verdicts_on
from flows.commands.terminal import Exit, run, say_json, show_table, stop
from flows.domains.surveying import survey
from flows.freshness import is_fresh
from flows.policy.dkim import key_name
from flows.policy.names import host_name
from flows.policy.readiness import Held, answer, held
from flows.policy.verdict import Truth, Verdict
from flows.resources import Resources, resources
from sql import delivery_proofs, domains
from sql.session import as_orchestrator

WORDS = {Truth.PASS: "yes", Truth.FAIL: "NO", Truth.UNKNOWN: "not known"}
EXITS = {"yes": Exit.OK, "no": Exit.FAILED, "not proven": Exit.WAITING}


def readiness(
    domain: Annotated[str, typer.Argument(help="any domain; of a tenant's own the selectors and addresses are known")],
    selector: Annotated[list[str] | None, typer.Option(help="a DKIM selector of the domain")] = None,
    ip: Annotated[list[str] | None, typer.Option(help="an address that the domain sends from")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Hold a domain against the dated rules of Google, Yahoo and Microsoft; exit code 0 yes, 1 no, 3 not proven."""
    run(_readiness(domain, tuple(selector or ()), addresses(ip or []), as_json=as_json))


def addresses(words: list[str]) -> tuple[IPv4Address, ...]:
    """The addresses, or one sentence about the first that is none."""
    try:
        return tuple(map(IPv4Address, words))
    except ValueError as error:
        stop(Exit.USAGE, str(error))


async def _readiness(domain: str, selectors: tuple[str, ...], ips: tuple[IPv4Address, ...], *, as_json: bool) -> None:
    name = host_name(domain)
    for one in selectors:
        key_name(one, name)
    async with resources() as r:
        verdicts = (
            await survey(r.resolver, name, selectors=selectors, ips=ips) if selectors or ips else await known(r, name)
        )
    found = held(verdicts, datetime.now(UTC).date())
    word = answer(found)
    if as_json:
        say_json({"domain": name, "answer": word, "rules": [document(one) for one in found]})
    else:
        show_table(
            f"{name}: would 5,000 a day pass today? {word}",
            ("rule", "receiver", "asks for", "since", "held", "because"),
            [row(one) for one in found],
        )
    raise typer.Exit(EXITS[word])


async def known(r: Resources, name: str) -> list[Verdict]:
    """What DNS says, and what the tenant's canaries proved."""
    verdicts = await verdicts_on(r, name)
    async with as_orchestrator(r.pool) as conn:
        rows = await domains.find_live(conn, name)
        proofs = await delivery_proofs.proofs_of(conn, rows[0].tenant_id) if rows else []
    for proof in proofs:
        if proof.domain_id != rows[0].id:
            continue
        truth = Truth(proof.verdict) if proof.verdict in set(Truth) else Truth.UNKNOWN
        if truth is Truth.PASS and not is_fresh(r, proof):
            truth = Truth.UNKNOWN
        reason = "ok" if truth is Truth.PASS else "no fresh proof" if truth is Truth.UNKNOWN else "the canary failed"
        verdicts.append(Verdict(f"canary:{proof.receiver}", truth, reason))
    return verdicts


def row(one: Held) -> tuple[str, ...]:
    """One rule's line."""
    rule = one.requirement
    since = f"{rule.valid_from:%Y-%m-%d}, {rule.grade}" + (", stale" if one.stale else "")
    return rule.id, rule.receiver, rule.rule, since, WORDS[one.truth], one.because


def document(one: Held) -> dict[str, object]:
    """One rule for a program."""
    rule = one.requirement
    return {
        "rule": rule.id, "receiver": rule.receiver, "asks_for": rule.rule, "measured_by": rule.measured_by,
        "valid_from": rule.valid_from, "source": rule.source, "checked_on": rule.checked_on, "stale": one.stale,
        "grade": rule.grade, "truth": one.truth, "because": one.because,
    }  # fmt: skip
