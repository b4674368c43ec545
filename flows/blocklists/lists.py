"""Blocklists as this installation has them: tested before they are believed, and asked about one subject.

A list that is not believed is not asked: its word would be worth nothing, and a dead list's server owes us nothing.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from flows.policy.blocklists import (
    NO_ANSWER,
    Blocklist,
    Code,
    Effect,
    Finding,
    Heard,
    Kind,
    Probe,
    Trust,
    TrustState,
    after_self_test,
    classify,
    distrusted,
    judge_self_test,
    kind_of,
    label_of,
    lookups,
    out_of_turn,
    screen,
    worst,
)
from flows.policy.verdict import Verdict
from flows.resources import Resources
from providers.blocklists import ListAnswer, ListZone
from sql import alerts, blocklist_zones
from sql.blocklist_zones import ListRow, SelfTest
from sql.session import Connection, as_orchestrator

log = logging.getLogger(__name__)

UNTESTED: Final = TrustState()
QUESTIONS: Final = 2  # about one name: its codes, and the reason when there are any
SILENT: Final = NO_ANSWER | {"not_licensed", "not_tested"}  # nothing an operator needs to be called for


@dataclass(frozen=True, slots=True)
class Known:
    """One enabled list: what it is, where it answers, and how it stands."""

    blocklist: Blocklist
    at: ListZone
    trust: Mapping[Kind, TrustState]
    daily_limit: int | None = None  # questions a UTC day

    def doubt(self, kind: Kind, at: datetime) -> str:
        """Why it is not believed now; empty when it is."""
        return self.trust.get(kind, UNTESTED).doubt(at)


async def known_lists(conn: Connection) -> list[Known]:
    """The enabled lists, and how they stand."""
    tests: dict[str, dict[Kind, TrustState]] = {}
    for row in await blocklist_zones.list_self_tests(conn):
        state = TrustState(Trust(row.trust), row.reason, row.tested_at, row.tried_at, row.passes, row.passed_at)
        tests.setdefault(row.list_name, {})[Kind(row.kind)] = state
    return [known(row, tests.get(row.name, {})) for row in await blocklist_zones.list_zones(conn)]


def known(row: ListRow, trust: Mapping[Kind, TrustState]) -> Known:
    """One row in the words of policy and provider."""
    codes = tuple(code for one in row.codes if (code := readable(row.name, *one)) is not None)
    points = {Kind(kind): Probe(*pair) for kind, pair in row.points.items()}
    blocklist = Blocklist(row.name, row.title, row.tier, points, codes, row.lookup_url, row.gates)
    return Known(blocklist, ListZone(row.zone, row.key_name, row.public_zone), trust, row.daily_limit)


def readable(name: str, pattern: str, word: str, effect: str, tier: int | None) -> Code | None:
    """One row of a code table; an operator's slip in it must not silence the rest."""
    try:
        return Code(pattern, word, Effect(effect), tier)
    except ValueError as error:
        log.warning("list=%s code=%s is left out: %s", name, pattern, error)
        return None


def due_tests(lists: Sequence[Known], kinds: Collection[Kind], at: datetime) -> list[tuple[Known, Kind]]:
    """Self-tests whose time has come."""
    return [
        (one, kind) for one in lists for kind in one.blocklist.points
        if kind in kinds and one.trust.get(kind, UNTESTED).due(at)
    ]  # fmt: skip


async def proven_lists(r: Resources, kinds: Collection[Kind] = tuple(Kind)) -> list[Known]:
    """The enabled lists; those whose self-test is due have had it."""
    async with as_orchestrator(r.pool) as conn:
        lists = await known_lists(conn)
    due = due_tests(lists, kinds, datetime.now(UTC))
    if not due:
        return lists
    await asyncio.gather(*(self_test(r, one, kind) for one, kind in due))
    async with as_orchestrator(r.pool) as conn:
        return await known_lists(conn)


async def self_test(r: Resources, one: Known, kind: Kind) -> TrustState:
    """Ask a list for its test points, write down how it stands, and tell or call off operators."""
    points = one.blocklist.points[kind]
    listed, clean = await asyncio.gather(ask(r, one, points.listed), ask(r, one, points.clean))
    verdict = judge_self_test(one.blocklist, kind, listed, clean)
    state = after_self_test(one.trust.get(kind, UNTESTED), verdict, datetime.now(UTC))
    async with as_orchestrator(r.pool) as conn:
        await blocklist_zones.note_self_test(conn, stored(one, kind, state))
    await tell_of_list(r, one, kind, state, verdict)
    return state


def stored(one: Known, kind: Kind, state: TrustState) -> SelfTest:
    """How a list stands, as a row."""
    return SelfTest(
        one.blocklist.name, kind.value, state.trust.value, state.reason, state.tested_at,
        state.tried_at or datetime.now(UTC), state.passes, state.passed_at,
    )  # fmt: skip


async def tell_of_list(r: Resources, one: Known, kind: Kind, state: TrustState, verdict: Verdict) -> None:
    """One open alert for a list that is dead or refuses us; closed when it is believed again."""
    name, key = one.blocklist.title, f"blocklist:{one.blocklist.name}:{kind}"
    async with as_orchestrator(r.analytics) as conn:
        if state.trust is Trust.TRUSTED:
            for over in (key, f"blocklist_refusal:{one.blocklist.name}"):
                await alerts.resolve(conn, over, "check_blocklists")
        elif state.trust is Trust.DEAD or verdict.reason not in SILENT:
            word = "is dead" if state.trust is Trust.DEAD else "does not answer us"
            await alerts.raise_alert(
                conn, dedupe_key=key, category="blocklist", title=f"{name} {word} ({kind})", severity="high",
                message=verdict.fix or f"{name} passed its self-test; it is believed again after a second one",
                details={"list": one.blocklist.name, "kind": kind.value, "reason": state.reason},
            )  # fmt: skip


async def ask(r: Resources, one: Known, subject: str) -> Heard:
    """One question to one list."""
    return await r.blocklists.ask(one.at, label_of(subject))


async def findings(r: Resources, lists: Sequence[Known], subject: str, hosts: Sequence[str] = ()) -> list[Finding]:
    """Every list's word on one subject. `hosts` are names under which a domain's servers introduce themselves."""
    kind, names = kind_of(subject), names_of(subject, hosts)
    fitting = [one for one in lists if one.blocklist.answers(kind)]
    return await found_on(r, fitting, kind, names, spent=await spent_lists(r, [(one, len(names)) for one in fitting]))


async def spent_lists(r: Resources, asking: Iterable[tuple[Known, int]]) -> frozenset[str]:
    """Take today's room for asking each of these lists about so many names; those that have not enough of it left."""
    wanted: Counter[str] = Counter()
    for one, names in asking:
        if one.daily_limit is not None:
            wanted[one.blocklist.name] += QUESTIONS * names
    if not wanted:
        return frozenset()
    async with as_orchestrator(r.pool) as conn:
        return await blocklist_zones.take_allowance(conn, wanted)


async def found_on(
    r: Resources, lists: Sequence[Known], kind: Kind, names: Sequence[str], *, spent: Collection[str]
) -> list[Finding]:
    """Each of these lists' word on a subject; `names` are all the names it goes by, the worst of them counts.

    `spent` are lists that may be asked no more today.
    """
    now = datetime.now(UTC)
    doubts = {one.blocklist.name: one.doubt(kind, now) for one in lists}
    believed = [one for one in lists if not doubts[one.blocklist.name] and one.blocklist.name not in spent]
    said = await said_of(r, [one.at for one in believed], names)
    found = {
        one.blocklist.name: worst([classify(one.blocklist, *answer) for answer in zip(names, answers, strict=True)])
        for one, answers in zip(believed, zip(*said, strict=True), strict=True)
    }
    return [
        found.get(name) or (distrusted(one.blocklist, names[0], doubts[name], now) if doubts[name]
                            else out_of_turn(one.blocklist, names[0], now))
        for one in lists
        for name in (one.blocklist.name,)
    ]  # fmt: skip


async def said_of(r: Resources, lists: Sequence[ListZone], names: Sequence[str]) -> list[list[ListAnswer]]:
    """For each name what these lists say of it; an address has one name and costs no task of its own."""
    if not lists:
        return []
    if len(names) == 1:
        return [await r.blocklists.ask_all(lists, label_of(names[0]))]
    return await asyncio.gather(*(r.blocklists.ask_all(lists, label_of(name)) for name in names))


def names_of(subject: str, hosts: Sequence[str] = ()) -> tuple[str, ...]:
    """What to ask for one subject, the subject itself first; a host's name that is none is left out."""
    named = [host for host in hosts if is_subject(host) and kind_of(host) is Kind.DOMAIN]
    return tuple(dict.fromkeys(name for one in (subject, *named) for name in lookups(one)))


def is_subject(text: str) -> bool:
    """Whether a list can be asked about it at all."""
    try:
        return bool(kind_of(text))
    except ValueError:
        return False


async def screened(r: Resources, subjects: Sequence[str]) -> dict[str, Verdict]:
    """One verdict for each address or domain before it is taken into use.

    PASS: every list that matters was asked now and does not list it. FAIL: listed. UNKNOWN: a person has to decide.
    """
    lists = await proven_lists(r, {kind_of(subject) for subject in subjects})
    found = await asyncio.gather(*(findings(r, lists, subject) for subject in subjects))
    await tell_of_codes(r, [one for of_subject in found for one in of_subject])
    return {subject: screen(subject, of_subject) for subject, of_subject in zip(subjects, found, strict=True)}


async def tell_of_codes(r: Resources, found: Sequence[Finding]) -> None:
    """One alert for each code that no row of its list explains, and for each refusal."""
    strange = {(one.listname, code) for one in found for code in one.unknown_codes}
    refusing = {(one.listname, one.refused): one.verdict.fix for one in found if one.refused}
    if not strange and not refusing:
        return
    async with as_orchestrator(r.analytics) as conn:
        for name, code in sorted(strange):
            await alerts.raise_alert(
                conn, dedupe_key=f"blocklist_code:{name}:{code}", category="blocklist", severity="medium",
                title=f"{name} answers {code}, which is not in our table", details={"list": name, "code": code},
                message="Add the code from the list's own page to blocklist_codes; until then it means nothing.",
            )  # fmt: skip
        for (name, reason), fix in sorted(refusing.items()):
            await alerts.raise_alert(
                conn, dedupe_key=f"blocklist_refusal:{name}", category="blocklist", severity="high",
                title=f"{name} refuses our questions ({reason})", message=fix, details={"list": name, "reason": reason},
            )  # fmt: skip
