"""From what many servers said to one verdict. Silence is UNKNOWN, never "missing"."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from flows.policy.names import same_form
from flows.policy.plain_text import MOST_LINE, plain, shown
from flows.policy.records.hints import hint
from flows.policy.records.nouns import CONCLUSIVE, ExpectedRecord, Merge, Observations, ObservedAnswer
from flows.policy.records.reading import read
from flows.policy.spf import SpfOutcome, SpfResult, spf_texts
from flows.policy.verdict import Evidence, Truth, Verdict

DISAGREEMENT_FAILS_AFTER: Final = timedelta(hours=24)
MANY_LOOKUPS: Final = 8
MAX_SHOWN: Final = 300  # characters of one value in a line that a person reads
MAX_VALUES: Final = 4


def judge(expected: ExpectedRecord, observations: Observations) -> Verdict:
    """The verdict on one record set, with everything it rests on as evidence."""
    verdict = judged(expected, observations)
    answers = (*observations.authority, *observations.recursive)
    fix = fix_line(expected, verdict, observations) if verdict.truth is Truth.FAIL else verdict.fix
    return verdict._replace(
        found=shown(verdict.found),
        fix=plain(fix, MOST_LINE),
        evidence=tuple(evidence(expected, answer) for answer in answers),
    )


def judged(expected: ExpectedRecord, observations: Observations) -> Verdict:
    """The verdict without its evidence."""
    said = observations.authority
    conclusive = [answer for answer in said if answer.outcome in CONCLUSIVE]
    if is_bogus(observations):
        return unknown(expected, "dnssec_broken")
    if not conclusive or 2 * len(conclusive) < len(said):
        return inconclusive(expected, said)
    readings = [evaluated(expected, answer.values, observations) for answer in conclusive]
    truths = {reading.truth for reading in readings}
    if truths == {Truth.PASS}:
        return seen_by_resolvers(expected, readings[0], observations)
    if truths == {Truth.FAIL}:
        return unknown(expected, "propagating") if is_stale(expected, conclusive, observations) else readings[0]
    if Truth.FAIL in truths:
        return disagreement(expected, observations, conclusive)
    return next(reading for reading in readings if reading.truth is Truth.UNKNOWN)


def evaluated(expected: ExpectedRecord, values: Sequence[str], observations: Observations) -> Verdict:
    """The reading of one answer; for SPF the evaluation by look-ups has the last word on a readable record."""
    reading = read(expected, values)
    if expected.merge is not Merge.MERGE_SPF or reading.truth is Truth.FAIL:
        return reading
    results = [result for result in observations.spf if same_form(result.domain) == same_form(expected.name)]
    if not set(expected.ips) <= {result.ip for result in results}:
        return reading
    return by_evaluation(reading, results)


def by_evaluation(reading: Verdict, results: Sequence[SpfResult]) -> Verdict:
    """PASS when every address passes, UNKNOWN when the DNS failed on the way, else FAIL with what was said."""
    bad = [result for result in results if result.outcome is not SpfOutcome.PASS]
    if not bad:
        most = max((result.lookups for result in results), default=0)
        near = (f"{most} of 10 look-ups are used",) if most >= MANY_LOOKUPS else ()
        return reading._replace(truth=Truth.PASS, reason="ok", warnings=(*reading.warnings, *near))
    worst = next((result for result in bad if result.outcome is not SpfOutcome.TEMPERROR), bad[0])
    said = worst.problem or worst.term or "no term covers the address"
    found = (*reading.found, f"{worst.ip}: {worst.outcome} ({said})")
    if worst.outcome is SpfOutcome.TEMPERROR:
        reason = "query_budget" if said.endswith(": budget") else "spf_temperror"
        return reading._replace(truth=Truth.UNKNOWN, reason=reason, found=found)
    reason = "spf_permerror" if worst.outcome is SpfOutcome.PERMERROR else "spf_not_authorised"
    return reading._replace(truth=Truth.FAIL, reason=reason, found=found, fix=f"{worst.ip} must pass: {said}")


def seen_by_resolvers(expected: ExpectedRecord, right: Verdict, observations: Observations) -> Verdict:
    """The authorities are right, so it remains whether a resolver has seen it too."""
    answers = [answer for answer in observations.recursive if answer.outcome in CONCLUSIVE]
    if any(read(expected, answer.values).truth is not Truth.FAIL for answer in answers):
        return right
    if answers:
        return unknown(expected, "propagating")
    spent = any(answer.outcome == "budget" for answer in observations.recursive)
    return unknown(expected, "query_budget" if spent else "resolver_unreachable")


def is_stale(expected: ExpectedRecord, conclusive: Sequence[ObservedAnswer], observations: Observations) -> bool:
    """Whether SPF was evaluated through resolvers that still hold another record than the authorities publish."""
    if expected.merge is not Merge.MERGE_SPF or read(expected, conclusive[0].values).truth is Truth.FAIL:
        return False
    cached = [spf_texts(answer.values) for answer in observations.recursive if answer.outcome in CONCLUSIVE]
    return bool(cached) and spf_texts(conclusive[0].values) not in cached


def disagreement(expected: ExpectedRecord, observations: Observations, answers: Sequence[ObservedAnswer]) -> Verdict:
    """Servers of one zone that differ: a transfer is under way, or after a day a fault of the zone."""
    serials = tuple(f"{answer.server}: serial {answer.soa_serial or 'unknown'}" for answer in answers)
    since = observations.disagreeing_since
    if since is None or max(answer.asked_at for answer in answers) - since < DISAGREEMENT_FAILS_AFTER:
        return unknown(expected, "authorities_disagree")._replace(found=serials)
    fix = "the name servers of the zone give different answers: make them transfer the same zone"
    return Verdict(expected.key, Truth.FAIL, "authorities_disagree", ", ".join(expected.values), serials, fix)


def inconclusive(expected: ExpectedRecord, said: Sequence[ObservedAnswer]) -> Verdict:
    """Too few servers settled it: UNKNOWN, but for aliases without an end, which nobody else can follow either."""
    endless = next((answer for answer in said if answer.endless), None)
    if endless is not None and not any(answer.outcome in CONCLUSIVE for answer in said):
        return leads_nowhere(expected, endless)
    spent = any(answer.outcome == "budget" for answer in said)
    return unknown(expected, "query_budget" if spent else "authority_unreachable")


def leads_nowhere(expected: ExpectedRecord, answer: ObservedAnswer) -> Verdict:
    """Aliases in a circle, or more than anybody follows: every receiver fails on them."""
    hops = (same_form(expected.name), *map(same_form, answer.endless))
    fix = "the aliases from here come to no end: publish the record itself in the place of the first one"
    return Verdict(expected.key, Truth.FAIL, "cname_chain", ", ".join(expected.values), (" → ".join(hops),), fix)


def is_bogus(observations: Observations) -> bool:
    """Whether resolvers refuse an answer that they have, because its DNSSEC does not hold."""
    refused = [answer for answer in observations.recursive if answer.outcome == "servfail"]
    return (
        bool(refused)
        and len(refused) == len(observations.recursive)
        and any(answer.outcome in CONCLUSIVE for answer in observations.unvalidated)
    )


def judge_dnssec(zone: str, observations: Observations) -> Verdict:
    """A verdict of its own on the zone's DNSSEC: FAIL when only an unvalidated question is answered."""
    subject = f"dnssec:{zone}"
    if is_bogus(observations):
        fix = f"DNSSEC of {zone} does not hold: mend its signatures, or remove the DS record at the registrar"
        return Verdict(subject, Truth.FAIL, "dnssec_broken", "a validated answer", ("SERVFAIL",), fix)
    if any(answer.outcome in CONCLUSIVE for answer in observations.recursive):
        return Verdict(subject, Truth.PASS)
    return Verdict(subject, Truth.UNKNOWN, "resolver_unreachable")


def unknown(expected: ExpectedRecord, reason: str) -> Verdict:
    """An UNKNOWN on the record."""
    return Verdict(expected.key, Truth.UNKNOWN, reason, ", ".join(expected.values))


def evidence(expected: ExpectedRecord, answer: ObservedAnswer) -> Evidence:
    """One server's word as it is stored."""
    said = " | ".join(shown(answer.values)) if answer.outcome == "found" else answer.outcome
    serial = "" if answer.soa_serial is None else f" (serial {answer.soa_serial})"
    question = f"{same_form(expected.name)} {expected.rtype}"
    return Evidence(f"{answer.server}{serial}", question, said, answer.asked_at, answer.ttl_seconds)


def fix_line(expected: ExpectedRecord, verdict: Verdict, observations: Observations) -> str:
    """One line for the tenant: expected, found, where, and what to do."""
    slip = hint(expected, observations)
    found = " | ".join(value[:MAX_SHOWN] for value in verdict.found[:MAX_VALUES]) or "nothing"
    also = f", found it at {slip.stray_name}" if slip and slip.stray_name else ""
    advice = slip.advice if slip else verdict.fix
    seen = f"found {found} at {where(expected, observations)}{also}"
    return f"{expected.key}: expected {verdict.expected} · {seen} · {advice}"


def where(expected: ExpectedRecord, observations: Observations) -> str:
    """The name, and the authority that answered for it; a FAIL always has one."""
    who = next(answer for answer in observations.authority if answer.outcome in CONCLUSIVE or answer.endless)
    serial = "" if who.soa_serial is None else f", serial {who.soa_serial}"
    return f"{same_form(expected.name)} ({who.server}{serial})"
