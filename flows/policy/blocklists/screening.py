"""May an address or a domain be taken into use: one verdict from the words of all lists."""

from collections.abc import Sequence
from typing import Final

from flows.policy.blocklists.nouns import Effect, Finding
from flows.policy.verdict import Truth, Verdict

SHOWN: Final = 3
NOTE: Final = 3  # the tier that nothing ever hangs on


def worst(findings: Sequence[Finding]) -> Finding:
    """The one of several names' findings on a list that counts: listed before unknown before clean, then by tier."""
    if len(findings) == 1:
        return findings[0]
    order = (Truth.FAIL, Truth.UNKNOWN, Truth.PASS)
    return min(findings, key=lambda finding: (order.index(finding.verdict.truth), finding.tier))


def screen(subject: str, findings: Sequence[Finding]) -> Verdict:
    """PASS only when every list that matters (tiers 1 and 2, not waived) has answered and none lists it.

    What cannot be known is UNKNOWN and waits for a person. A waived list is not waited for, but its listing counts. A
    tier 3 listing is a warning.
    """
    evidence = tuple(seen for finding in findings for seen in finding.verdict.evidence)
    weighty = [finding for finding in findings if finding.tier < NOTE]
    listed = [f for f in findings if f.verdict.truth is Truth.FAIL and (f in weighty or _too_young(f))]
    if listed:
        first = min(listed, key=lambda finding: finding.tier)
        reason = first.code.effect.value if first.code else Effect.LISTED.value
        names = tuple(f"{f.listname} {f.code.word if f.code else ''}".strip() for f in listed)
        return Verdict(subject, Truth.FAIL, reason, "not listed", names, first.verdict.fix, evidence)
    waited_for = [finding for finding in weighty if finding.gates]
    silent = [finding for finding in waited_for if finding.verdict.truth is Truth.UNKNOWN]
    notes = tuple(f.verdict.fix for f in findings if f.verdict.truth is not Truth.PASS and f not in silent + listed)
    if silent or not waited_for:
        return Verdict(subject, Truth.UNKNOWN, _why(silent), "not listed", (), _ask(subject, silent), evidence, notes)
    return Verdict(subject, Truth.PASS, "clean", "not listed", (), "", evidence, notes)


def _too_young(finding: Finding) -> bool:
    return finding.code is not None and finding.code.effect is Effect.AGE


def _why(silent: Sequence[Finding]) -> str:
    reasons = {finding.verdict.reason for finding in silent}
    return reasons.pop() if len(reasons) == 1 else "not_known" if reasons else "no_list"


def _ask(subject: str, silent: Sequence[Finding]) -> str:
    if not silent:
        return f"no blocklist that matters is enabled: whether {subject} is listed is not known"
    named = ", ".join(f"{finding.listname} ({finding.verdict.reason})" for finding in silent[:SHOWN])
    more = f" and {len(silent) - SHOWN} more" if len(silent) > SHOWN else ""
    return (
        f"whether {subject} is listed is not known: {named}{more}; mend it, or say that nothing waits for the list:"
        f" python -m flows blocklists waive {silent[0].listname}"
    )
