"""Whatever a zone publishes and however its servers behave: the right verdict on each record, within the budget."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from flows.domains.looking import Seen, look_at
from flows.policy.records import entries, line
from flows.policy.verdict import Truth, Verdict
from providers.resolver import Resolver
from sql.domains import DueDomain
from tests.support.dns_zone import KEY, Internet, internet, picture, quoted
from tests.support.nameserver import Fault

DOMAIN = "acme.example"
SPF = 'acme.example. 300 TXT "v=spf1 ip4:198.51.100.7 ~all"'
DMARC = '_dmarc.acme.example. 300 TXT "v=DMARC1; p=none"'
ED = f'pm202611e._domainkey.acme.example. 300 TXT "v=DKIM1; k=ed25519; p={KEY}"'
OWN = f'_pm-verify.acme.example. 300 TXT "pm-verify={"a" * 32}"'
LETTERS = " ".join(f'"{sign}"' for sign in f"v=DKIM1; k=ed25519; p={KEY}; n={'x' * 140}")
TREE = "\n".join(
    f"{node}.acme.example. 300 TXT {quoted(f'v=spf1 {branches} ~all')}"
    for node in ("t", *(f"t{n}" for n in range(10)))
    for branches in (" ".join(f"include:{node}{n}.acme.example" for n in range(10)),)
)
RING = "_dmarc.acme.example. 300 CNAME r1.acme.example.\nr1.acme.example. 300 CNAME _dmarc.acme.example."
MANY = "_dmarc.acme.example. 300 TXT " + " ".join(f'"{"x" * 250}"' for _ in range(255))  # one record of some 64 KB

OVER_TCP: dict[str, Fault] = {"_dmarc.acme.example.": "truncated"}


@dataclass(frozen=True)
class Case:
    """What is changed in a zone that is right, and what may then be said of the one record that it is about."""

    key: str
    truth: Truth
    reason: str
    old: str = ""
    new: str = ""
    faults: dict[str, Fault] = field(default_factory=dict)
    where: tuple[str, ...] = ("recursive", "first", "second")


def dead() -> dict[str, Fault]:
    """Servers that answer nothing about anything that is expected."""
    names = ("", "_dmarc.", "mail.", "bounce.", "_pm-verify.", "pm202611e._domainkey.", "ns1.", "ns2.")
    return {f"{name}acme.example.": "silent" for name in names}


CASES = {
    "64 KB of text beside ours": Case("dmarc", Truth.PASS, "ok", DMARC, f"{DMARC}\n{MANY}", OVER_TCP),
    "64 KB of text instead of ours": Case("dmarc", Truth.FAIL, "missing", DMARC, MANY, OVER_TCP),
    "200 strings that join to ours": Case("dkim-ed:pm202611e", Truth.PASS, "ok", ED, ED.partition('"')[0] + LETTERS),
    "control bytes": Case("dmarc", Truth.FAIL, "missing", DMARC, '_dmarc.acme.example. 300 TXT "\\000\\027[2J\\010x"'),
    "bytes that are no text": Case("own", Truth.FAIL, "mismatch", OWN, '_pm-verify.acme.example. 300 TXT "\\255\\254"'),
    "an SPF record that includes itself": Case(
        "spf", Truth.FAIL, "spf_permerror", SPF, 'acme.example. 300 TXT "v=spf1 include:acme.example ~all"'
    ),
    "includes that grow tenfold at each level": Case(
        "spf", Truth.FAIL, "spf_permerror", SPF, f'acme.example. 300 TXT "v=spf1 include:t.acme.example ~all"\n{TREE}'
    ),
    "a redirect in a circle": Case(
        "spf", Truth.FAIL, "spf_permerror", SPF, 'acme.example. 300 TXT "v=spf1 redirect=acme.example"'
    ),
    "aliases in a circle": Case("dmarc", Truth.FAIL, "cname_chain", DMARC, RING),
    "an alias that leads nowhere": Case(
        "dmarc", Truth.FAIL, "missing", DMARC, "_dmarc.acme.example. 300 CNAME nowhere.acme.example."
    ),
    "answers with another id": Case("dmarc", Truth.UNKNOWN, "", faults={"_dmarc.acme.example.": "wrong_id"}),
    "answers to another question": Case("dmarc", Truth.UNKNOWN, "", faults={"_dmarc.acme.example.": "wrong_question"}),
    "garbage": Case("dmarc", Truth.UNKNOWN, "", faults={"_dmarc.acme.example.": "garbage"}),
    "truncated, whole over TCP": Case("dmarc", Truth.PASS, "ok", faults={"_dmarc.acme.example.": "truncated"}),
    "truncated, and TCP is silent": Case(
        "dmarc", Truth.UNKNOWN, "", faults={"_dmarc.acme.example.": "truncated_then_silent"}
    ),
    "truncated, and TCP is garbage": Case(
        "dmarc", Truth.UNKNOWN, "", faults={"_dmarc.acme.example.": "truncated_then_garbage"}
    ),
    "lame servers": Case(
        "dmarc", Truth.UNKNOWN, "", faults={"_dmarc.acme.example.": "lame"}, where=("first", "second")
    ),
    "one question lost": Case("dmarc", Truth.PASS, "ok", faults={"_dmarc.acme.example.": "silent_once"}),
    "half of the servers dead": Case("dmarc", Truth.PASS, "ok", faults=dead(), where=("first",)),
    "all of the servers dead": Case("dmarc", Truth.UNKNOWN, "", faults=dead(), where=("first", "second")),
    "the resolver dead": Case("dmarc", Truth.UNKNOWN, "", faults=dead(), where=("recursive",)),
    "a resolver that says there is nothing": Case(
        "dmarc", Truth.UNKNOWN, "propagating", DMARC, "gone.acme.example. 300 TXT x", where=("recursive",)
    ),
    "a resolver that says what nobody published": Case(
        "dmarc", Truth.FAIL, "missing", DMARC, "gone.acme.example. 300 TXT x", where=("first", "second")
    ),
    "servers that differ": Case(
        "dmarc", Truth.UNKNOWN, "authorities_disagree", DMARC, "gone.acme.example. 300 TXT x", where=("second",)
    ),
}  # fmt: skip


FIRST, SECOND = range(2)  # whose turn it is in a routine look


def spoiled(net: Internet, case: Case) -> None:
    for name in case.where:
        server = getattr(net, name)
        if case.old:
            assert case.old in server.records
            server.records = server.records.replace(case.old, case.new)
        server.faults |= case.faults


def due(*, verified: bool) -> DueDomain:
    records = picture(DOMAIN, verified=verified)
    now = datetime.now(UTC)
    return DueDomain(1, 1, DOMAIN, "verified", records, None, None, now)


def verdict_on(seen: Seen, key: str) -> Verdict:
    return next(verdict for verdict in seen.verdicts if verdict.subject == key)


@pytest.mark.parametrize("verified", [True, False], ids=["routine", "full"])
@pytest.mark.parametrize("name", CASES)
async def test_the_right_verdict_within_the_budget(name: str, verified: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "randrange", lambda _: SECOND)
    case = CASES[name]
    async with internet(DOMAIN) as net:
        spoiled(net, case)
        resolver = Resolver(["127.0.0.1"], port=net.port, timeout_seconds=1)
        seen = await look_at(resolver, due(verified=verified))
    assert seen is not None
    assert len(seen.verdicts) == len(seen.entries)
    verdict = verdict_on(seen, case.key)
    assert verdict.truth is case.truth, verdict
    assert not case.reason or verdict.reason == case.reason
    assert net.questions <= 200 + (40 if verified else 0)
    if not case.faults:  # nobody else's record suffers
        others = {one.subject: one.truth for one in seen.verdicts if one.subject != case.key}
        assert set(others.values()) <= {Truth.PASS, Truth.UNKNOWN}, others
    for entry in entries(seen.outcome.picture):
        assert all(text.isprintable() for text in (*entry.found, entry.reason))
    for one in seen.verdicts:
        assert line(one).isprintable()
        assert len(line(one)) < 2000


async def test_a_routine_look_is_content_where_the_server_whose_turn_it_is_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "randrange", lambda _: FIRST)
    async with internet(DOMAIN) as net:
        spoiled(net, CASES["servers that differ"])
        seen = await look_at(Resolver(["127.0.0.1"], port=net.port, timeout_seconds=1), due(verified=True))
    assert seen is not None
    assert (seen.full, verdict_on(seen, "dmarc").truth) == (False, Truth.PASS)
