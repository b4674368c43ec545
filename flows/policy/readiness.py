"""Would 5,000 a day pass today? What the large receivers ask of bulk senders, as dated rows, held against verdicts.

Any FAIL is "no"; else any UNKNOWN is "not proven"; else "yes". What cannot be known from outside says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

from flows.policy.verdict import Truth, Verdict

STALE_AFTER: Final = timedelta(days=180)
READ: Final = date(2026, 11, 22)
FEBRUARY_2024: Final = date(2024, 2, 1)
MAY_2025: Final = date(2025, 5, 5)
SOURCES: Final[Mapping[str, str]] = {
    "Google": "support.google.com/a/answer/81126",
    "Yahoo": "senders.yahooinc.com/best-practices",
    "Microsoft": "dmarcian.com on Microsoft's announcement of April 2025",
}
Grade = Literal["documented", "reported", "recommended"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One rule of one receiver. `needs` are subjects of verdicts, each with everything that begins with it."""

    id: str
    receiver: str
    rule: str
    needs: tuple[str, ...]  # empty: nothing that we can ask from here tells
    measured_by: str
    valid_from: date
    grade: Grade
    checked_on: date = READ
    valid_to: date | None = None

    @property
    def source(self) -> str:
        """Where it was read."""
        return SOURCES[self.receiver]

    def is_stale(self, today: date) -> bool:
        """Whether nobody has looked at the receiver's page for half a year."""
        return today - self.checked_on > STALE_AFTER


# fmt: off
REQUIREMENTS: Final = (
    Requirement("G1", "Google", "SPF and DKIM pass, with a key of 2048 bits", ("spf", "dkim"), "DNS, canary",
                FEBRUARY_2024, "documented"),
    Requirement("G2", "Google", "DMARC of at least p=none, the author's domain aligned", ("dmarc",), "DNS, canary",
                FEBRUARY_2024, "documented"),
    Requirement("G3", "Google", "a PTR that leads back to the sending address", ("ptr",), "DNS",
                FEBRUARY_2024, "documented"),
    Requirement("G4", "Google", "TLS on the way in", ("canary",), "canary", date(2023, 12, 1), "documented"),
    Requirement("G5", "Google", "a spam rate below 0.10 %, never 0.30 %", (), "Postmaster Tools",
                FEBRUARY_2024, "documented"),
    Requirement("G6", "Google", "one-click unsubscription in signed headers, honoured within 48 h", (),
                "the campaign's messages", date(2024, 6, 1), "documented"),
    Requirement("G7", "Google", "messages in RFC 5322 form, one From", ("canary",), "canary",
                FEBRUARY_2024, "documented"),
    Requirement("G8", "Google", "no refusal for lack of authentication within 7 days", (), "delivery events",
                date(2025, 11, 1), "reported"),
    Requirement("Y1", "Yahoo", "SPF, DKIM and DMARC aligned, and a PTR", ("spf", "dkim", "dmarc", "ptr"),
                "DNS, canary", FEBRUARY_2024, "reported"),
    Requirement("Y2", "Yahoo", "complaints below 0.30 %", (), "complaint feedback loop", FEBRUARY_2024, "reported"),
    Requirement("M1", "Microsoft", "SPF and DKIM and DMARC pass, aligned, else 550 5.7.515", ("spf", "dkim", "dmarc"),
                "DNS, canary", MAY_2025, "documented"),
    Requirement("M2", "Microsoft", "a From that can be answered", ("mx",), "DNS", MAY_2025, "recommended"),
    Requirement("M3", "Microsoft", "not red in SNDS", (), "SNDS", MAY_2025, "reported"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Held:
    """A requirement and how the domain stands to it."""

    requirement: Requirement
    truth: Truth
    because: str
    stale: bool


def held(verdicts: Iterable[Verdict], today: date, rules: Sequence[Requirement] = REQUIREMENTS) -> tuple[Held, ...]:
    """Every requirement that is in force today, with what decides it."""
    known = list(verdicts)
    return tuple(
        Held(rule, *standing(rule, known), rule.is_stale(today))
        for rule in rules
        if rule.valid_from <= today and (rule.valid_to is None or today <= rule.valid_to)
    )


def standing(rule: Requirement, verdicts: Sequence[Verdict]) -> tuple[Truth, str]:
    """The worst of the verdicts that the rule needs; a need that nothing speaks for is UNKNOWN, never green."""
    if not rule.needs:
        return Truth.UNKNOWN, f"nothing that can be asked from here tells: {rule.measured_by}"
    by_need = {
        need: [v for v in verdicts if v.subject.partition(":")[0].partition("-")[0] == need] for need in rule.needs
    }
    for truth in (Truth.FAIL, Truth.UNKNOWN):
        if bad := next((v for found in by_need.values() for v in found if v.truth is truth), None):
            return truth, bad.fix or f"{bad.subject}: {bad.reason}"
    if silent := [need for need, found in by_need.items() if not found]:
        return Truth.UNKNOWN, WHY_SILENT.get(silent[0], f"nothing is known of {silent[0]}")
    return Truth.PASS, ", ".join(dict.fromkeys(v.subject for found in by_need.values() for v in found))


WHY_SILENT: Final[Mapping[str, str]] = {
    "dkim": "the selectors are not known: name them with --selector",
    "ptr": "the sending addresses are not known: name them with --ip",
    "canary": "no message of this domain was read back: python -m flows proof",
}


def answer(found: Iterable[Held]) -> str:
    """The one word."""
    truths = {one.truth for one in found}
    if Truth.FAIL in truths:
        return "no"
    return "not proven" if Truth.UNKNOWN in truths or not truths else "yes"
