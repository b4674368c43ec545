"""From one answer of a list to one verdict. Silence, refusal, an unknown code, a dead list are UNKNOWN, never a colour.

Rules: RFC 5782, and the lists' own tables as rows.
"""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Final

from flows.policy.blocklists.nouns import Blocklist, Code, Effect, Finding, Heard
from flows.policy.verdict import Evidence, Truth, Verdict

SAYS_LISTED: Final = IPv4Network("127.0.0.0/8")  # RFC 5782 section 2.1
SAYS_REFUSED: Final = IPv4Network("127.255.255.0/24")
REFUSALS: Final[Mapping[str, str]] = {
    "127.255.255.252": "wrong_zone_name",
    "127.255.255.254": "public_resolver",
    "127.255.255.255": "too_many_questions",
}
"""What lists answer to a questioner they do not serve, in whatever zone (Spamhaus's codes, adopted by others)."""
REASONS: Final[Mapping[str, str]] = {"unlicensed": "not_licensed", "refused": "server_refused"}
NO_ANSWER: Final = frozenset({"servfail", "server_refused", "timeout", "broken", "budget"})
"""Reasons that speak of the way to a list and not of the list: it may answer in a minute."""
CURES: Final[Mapping[str, str]] = {
    "wrong_zone_name": "correct the list's zone name",
    "public_resolver": "ask through a recursive resolver of our own (dns.resolver), with a name of its own",
    "too_many_questions": "buy a licence or a feed, or ask less often",
    "asked_an_address": "this list is for domains: a mistake of ours, tell the developers",
    "refused": "see the list's page about refused questions",
    "not_licensed": "set its licence key, or permit public mirrors (blocklists.public_mirrors_allowed)",
}


def classify(blocklist: Blocklist, subject: str, heard: Heard) -> Finding:
    """What the answer means, taken that the list is alive."""
    if heard.outcome == "absent":
        return _finding(blocklist, subject, heard, Truth.PASS, "clean")
    if heard.outcome != "found":
        return _finding(blocklist, subject, heard, Truth.UNKNOWN, REASONS.get(heard.outcome, heard.outcome))
    answers = [answer for answer in map(_read, heard.codes) if answer is not None]
    if len(answers) < len(heard.codes) or any(answer not in SAYS_LISTED for answer in answers):
        return _finding(blocklist, subject, heard, Truth.UNKNOWN, "parked")
    if not answers:
        return _finding(blocklist, subject, heard, Truth.PASS, "clean")
    return _of_codes(blocklist, subject, heard, answers)


def _of_codes(blocklist: Blocklist, subject: str, heard: Heard, answers: list[IPv4Address]) -> Finding:
    rows = [row for answer in answers for row in blocklist.codes if row.matches(answer)]
    refused = next((row.word for row in rows if row.effect is Effect.REFUSAL), "") or next(
        (REFUSALS.get(str(answer), "refused") for answer in answers if answer in SAYS_REFUSED), ""
    )
    strange = tuple(
        str(answer) for answer in answers if answer not in SAYS_REFUSED and not _explained(blocklist, answer)
    )
    listed = sorted((row for row in rows if row.tier is not None), key=_gravity)
    if listed:
        found = _finding(blocklist, subject, heard, Truth.FAIL, listed[0].effect.value, listed[0])
    elif refused:
        found = _finding(blocklist, subject, heard, Truth.UNKNOWN, refused)
    else:
        found = _finding(blocklist, subject, heard, Truth.UNKNOWN, "unknown_code")
    return found._replace(refused=refused, unknown_codes=strange)


def _explained(blocklist: Blocklist, answer: IPv4Address) -> bool:
    """Whether the table speaks of the whole answer: every bit of it, where rows are about bits."""
    rows = [row for row in blocklist.codes if row.matches(answer)]
    if any(not row.bit for row in rows):
        return True
    known = 0
    for row in rows:
        known |= row.bit
    return bool(rows) and answer.packed[3] & ~known == 0


def _gravity(row: Code) -> tuple[int, int]:
    order = (Effect.LISTED, Effect.POLICY, Effect.AGE, Effect.REFUSAL)
    return (row.tier or len(order), order.index(row.effect))


def distrusted(blocklist: Blocklist, subject: str, reason: str, at: datetime) -> Finding:
    """What a list says that has not proved to be alive: nothing, in either direction. It is not even asked."""
    fix = f"{blocklist.title} is not believed ({reason}) · {CURES.get(reason, 'nothing follows, it is tested again')}"
    return _unasked(blocklist, subject, reason, fix, at)


def out_of_turn(blocklist: Blocklist, subject: str, at: datetime) -> Finding:
    """What a list says that was asked today as often as it permits: nothing."""
    fix = f"{blocklist.title} was asked today as often as it permits · it is asked again tomorrow (UTC)"
    return _unasked(blocklist, subject, "daily_limit", fix, at)


def _unasked(blocklist: Blocklist, subject: str, reason: str, fix: str, at: datetime) -> Finding:
    verdict = Verdict(f"{blocklist.name}:{subject}", Truth.UNKNOWN, reason, expected="not listed", fix=fix)
    return Finding(verdict, blocklist.name, blocklist.tier, gates=blocklist.gates, at=at)


def _finding(
    blocklist: Blocklist, subject: str, heard: Heard, truth: Truth, reason: str, code: Code | None = None
) -> Finding:
    said = " ".join((*heard.codes, *heard.texts)) or heard.outcome
    verdict = Verdict(
        f"{blocklist.name}:{subject}",
        truth,
        reason,
        expected="not listed",
        found=(*heard.codes, *heard.texts),
        fix=_fix(blocklist, subject, heard, truth, reason, code),
        evidence=(Evidence(heard.server, heard.question, said, heard.asked_at, heard.ttl_seconds),),
    )
    tier = code.tier if code and code.tier else blocklist.tier
    return Finding(
        verdict, blocklist.name, tier, code, heard.codes, heard.texts, gates=blocklist.gates, at=heard.asked_at
    )


def _fix(blocklist: Blocklist, subject: str, heard: Heard, truth: Truth, reason: str, code: Code | None) -> str:
    if truth is Truth.PASS:
        return ""
    found = ", ".join(heard.codes) or heard.outcome
    head = f"{blocklist.title}: expected {subject} not listed · found {found}"
    where = f" at {blocklist.lookup_url}" if blocklist.lookup_url else ""
    if code is not None and code.effect is Effect.AGE:
        return f"{head} ({code.word}) · send nothing from it before it is a day old"
    if code is not None:
        return f"{head} ({code.word}) · end the cause, then ask for removal{where}"
    if reason == "parked":
        return f"{head}, outside 127/8 · the list is dead: disable it (python -m flows blocklists disable)"
    if reason == "unknown_code":
        return f"{head}, which is not in our table · add the code from the list's page"
    return f"{head} ({reason}) · {CURES.get(reason, 'nothing is known, it is asked again')}"


def _read(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None
