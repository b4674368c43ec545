"""Every answer of a blocklist, for every kind of subject: what it means, and what follows."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.blocklists import (
    Act,
    Blocklist,
    Code,
    Effect,
    Finding,
    Heard,
    Kind,
    Probe,
    Run,
    Trust,
    TrustState,
    after,
    after_self_test,
    classify,
    distrusted,
    judge_self_test,
    kind_of,
    label_of,
    lookups,
    screen,
    worst,
)
from flows.policy.verdict import Truth, Verdict
from providers.blocklists import ListAnswer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SUBJECT = {Kind.IPV4: "192.0.2.10", Kind.IPV6: "2001:db8::10", Kind.DOMAIN: "acme.example"}
POINTS = {
    Kind.IPV4: Probe("127.0.0.2", "127.0.0.1"),
    Kind.IPV6: Probe("::ffff:127.0.0.2", "::ffff:127.0.0.1"),
    Kind.DOMAIN: Probe("TEST", "INVALID"),
}
LIST = Blocklist(
    "one",
    "List One",
    1,
    POINTS,
    (
        Code("127.0.0.2", "SBL", tier=1),
        Code("127.0.0.4-7", "XBL", tier=1),
        Code("127.0.0.10-11", "PBL", Effect.POLICY, 2),
        Code("127.0.1.102-106", "abused", tier=2),
        Code("127.0.1.255", "asked_an_address", Effect.REFUSAL),
        Code("127.0.2.2-24", "hours", Effect.AGE, 3),
    ),
    "https://one.example/lookup",
)
BITS = Blocklist(
    "bits",
    "List of Bits",
    2,
    POINTS,
    (
        Code("127.0.0.&1", "refused", Effect.REFUSAL),
        Code("127.0.0.&2", "black", tier=2),
        Code("127.0.0.&4", "grey", tier=3),
    ),
)


def heard(*codes: str, outcome: str = "found", texts: tuple[str, ...] = ()) -> Heard:
    return ListAnswer(outcome, codes, texts, "q.one.example", "192.0.2.53", NOW, 60)


ABSENT, SILENT = heard(outcome="absent"), heard(outcome="timeout")
ANSWERS = [
    (ABSENT, Truth.PASS, "clean"),
    (heard("127.0.0.2"), Truth.FAIL, "listed"),
    (heard("127.0.0.6"), Truth.FAIL, "listed"),
    (heard("127.0.0.10"), Truth.FAIL, "policy"),
    (heard("127.0.2.9"), Truth.FAIL, "age"),
    (heard("127.0.0.10", "127.0.0.2"), Truth.FAIL, "listed"),
    (heard("127.0.0.99"), Truth.UNKNOWN, "unknown_code"),
    (heard("127.255.255.252"), Truth.UNKNOWN, "wrong_zone_name"),
    (heard("127.255.255.254"), Truth.UNKNOWN, "public_resolver"),
    (heard("127.255.255.255"), Truth.UNKNOWN, "too_many_questions"),
    (heard("127.255.255.1"), Truth.UNKNOWN, "refused"),
    (heard("127.0.1.255"), Truth.UNKNOWN, "asked_an_address"),
    (heard("192.0.2.80"), Truth.UNKNOWN, "parked"),
    (heard("127.0.0.2", "192.0.2.80"), Truth.UNKNOWN, "parked"),
    (heard("not an address"), Truth.UNKNOWN, "parked"),
    (heard("127.0.0.2", "127.255.255.254"), Truth.FAIL, "listed"),
    (heard(outcome="servfail"), Truth.UNKNOWN, "servfail"),
    (heard(outcome="refused"), Truth.UNKNOWN, "server_refused"),
    (SILENT, Truth.UNKNOWN, "timeout"),
    (heard(outcome="broken"), Truth.UNKNOWN, "broken"),
    (heard(outcome="unlicensed"), Truth.UNKNOWN, "not_licensed"),
]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("answer", "truth", "reason"), ANSWERS)
def test_every_answer_has_one_meaning_for_every_kind_of_subject(
    kind: Kind, answer: Heard, truth: Truth, reason: str
) -> None:
    found = classify(LIST, SUBJECT[kind], answer)
    assert (found.verdict.truth, found.verdict.reason) == (truth, reason)
    assert found.verdict.evidence[0].question == "q.one.example"
    assert bool(found.verdict.fix) is (truth is not Truth.PASS)
    assert "\n" not in found.verdict.fix


def test_a_listing_beside_a_refusal_is_a_listing_and_the_refusal_is_told() -> None:
    found = classify(LIST, "192.0.2.10", heard("127.255.255.254", "127.0.0.4"))
    assert (found.verdict.truth, found.refused) == (Truth.FAIL, "public_resolver")


def test_a_code_that_no_row_explains_is_told_even_beside_a_listing() -> None:
    found = classify(LIST, "192.0.2.10", heard("127.0.0.2", "127.0.0.77"))
    assert (found.verdict.truth, found.unknown_codes) == (Truth.FAIL, ("127.0.0.77",))


def test_of_several_codes_the_worst_counts() -> None:
    found = classify(LIST, "192.0.2.10", heard("127.0.1.103", "127.0.0.11", "127.0.0.5"))
    assert found.code
    assert (found.code.word, found.tier) == ("XBL", 1)


@pytest.mark.parametrize(
    ("code", "reason", "word", "tier", "strange"),
    [
        ("127.0.0.2", "listed", "black", 2, ()),
        ("127.0.0.4", "listed", "grey", 3, ()),
        ("127.0.0.6", "listed", "black", 2, ()),
        ("127.0.0.1", "refused", "", 2, ()),
        ("127.0.0.3", "listed", "black", 2, ()),
        ("127.0.0.64", "unknown_code", "", 2, ("127.0.0.64",)),
        ("127.0.0.66", "listed", "black", 2, ("127.0.0.66",)),
        ("127.0.1.2", "unknown_code", "", 2, ("127.0.1.2",)),
    ],
)
def test_a_table_of_bits_reads_every_bit(
    code: str, reason: str, word: str, tier: int, strange: tuple[str, ...]
) -> None:
    found = classify(BITS, "acme.example", heard(code))
    assert (found.verdict.reason, found.code.word if found.code else "", found.tier) == (reason, word, tier)
    assert found.unknown_codes == strange


@pytest.mark.parametrize("pattern", ["", "127", "10.0.0.2", "127.0.0.300", "127.0.0.7-4", "127.0.0.&", "127.0.0.&256"])
def test_a_pattern_that_could_never_match_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no code pattern"):
        Code(pattern, "x", tier=1)


def test_a_listing_needs_a_tier_and_a_refusal_has_none() -> None:
    with pytest.raises(ValueError, match="has no tier"):
        Code("127.0.0.2", "x")
    with pytest.raises(ValueError, match="has no tier"):
        Code("127.0.0.1", "x", Effect.REFUSAL, 1)


def test_the_fix_is_one_line_with_expected_found_and_where() -> None:
    assert classify(LIST, "192.0.2.10", heard("127.0.0.2")).verdict.fix == (
        "List One: expected 192.0.2.10 not listed · found 127.0.0.2 (SBL) · end the cause, then ask for removal at"
        " https://one.example/lookup"
    )


@given(st.lists(st.ip_addresses(v=4).map(str), max_size=4))
def test_no_answer_raises_and_nothing_outside_127_is_ever_a_listing(codes: list[str]) -> None:
    for blocklist in (LIST, BITS):
        found = classify(blocklist, "192.0.2.10", heard(*codes))
        if any(not code.startswith("127.") for code in codes):
            assert (found.verdict.truth, found.verdict.reason) == (Truth.UNKNOWN, "parked")
        assert (found.verdict.truth is Truth.PASS) is (not codes)


@pytest.mark.parametrize(
    ("subject", "kind", "label"),
    [
        ("192.0.2.99", Kind.IPV4, "99.2.0.192"),
        ("2001:db8::1", Kind.IPV6, "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2"),
        ("Acme.Example.", Kind.DOMAIN, "acme.example"),
    ],
)
def test_subjects_become_names_as_rfc_5782_says(subject: str, kind: Kind, label: str) -> None:
    assert (kind_of(subject), label_of(subject)) == (kind, label)


def test_what_is_neither_address_nor_domain_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="not a full domain name"):
        kind_of("acme")


def test_a_domain_is_asked_for_with_its_parents_and_an_address_alone() -> None:
    assert lookups("a.b.acme.example") == ("a.b.acme.example", "b.acme.example", "acme.example")
    assert lookups("acme.example") == ("acme.example",)
    assert lookups("192.0.2.10") == ("192.0.2.10",)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("listed", "clean", "truth", "reason"),
    [
        (heard("127.0.0.2"), ABSENT, Truth.PASS, "ok"),
        (heard("127.0.0.2", "127.0.0.10"), ABSENT, Truth.PASS, "ok"),
        (ABSENT, ABSENT, Truth.FAIL, "empty"),
        (heard("127.0.0.2"), heard("127.0.0.2"), Truth.FAIL, "lists_the_world"),
        (heard("127.0.0.2"), heard("127.0.0.99"), Truth.FAIL, "lists_the_world"),
        (heard("192.0.2.80"), heard("192.0.2.80"), Truth.FAIL, "parked"),
        (heard("127.0.0.2"), heard("192.0.2.80"), Truth.FAIL, "parked"),
        (heard("127.255.255.254"), heard("127.255.255.254"), Truth.UNKNOWN, "public_resolver"),
        (heard("127.255.255.254"), ABSENT, Truth.UNKNOWN, "public_resolver"),
        (heard("127.0.0.99"), ABSENT, Truth.UNKNOWN, "unknown_code"),
        (SILENT, ABSENT, Truth.UNKNOWN, "timeout"),
        (heard("127.0.0.2"), SILENT, Truth.UNKNOWN, "timeout"),
        (heard(outcome="unlicensed"), heard(outcome="unlicensed"), Truth.UNKNOWN, "not_licensed"),
    ],
)
def test_a_list_is_alive_when_it_lists_its_test_point_and_not_the_other(
    kind: Kind, listed: Heard, clean: Heard, truth: Truth, reason: str
) -> None:
    verdict = judge_self_test(LIST, kind, listed, clean)
    assert (verdict.truth, verdict.reason) == (truth, reason)


OK, WRONG, LOST = (Verdict("t", truth, reason) for truth, reason in (
    (Truth.PASS, "ok"), (Truth.FAIL, "empty"), (Truth.UNKNOWN, "timeout")
))  # fmt: skip
REFUSES = Verdict("t", Truth.UNKNOWN, "public_resolver")


def test_nothing_is_believed_before_a_self_test_and_trust_lapses_after_six_hours() -> None:
    untested = TrustState()
    assert untested.due(NOW)
    assert untested.doubt(NOW) == "not_tested"
    tested = after_self_test(untested, OK, NOW)
    assert tested.believed(NOW + 6 * HOUR)
    assert tested.doubt(NOW + 6 * HOUR + MINUTE) == "self_test_stale"
    assert not tested.due(NOW + 4 * HOUR)
    assert tested.due(NOW + 5 * HOUR)


def test_one_wrong_answer_kills_and_two_passes_six_hours_apart_bring_back() -> None:
    dead = after_self_test(after_self_test(TrustState(), OK, NOW), WRONG, NOW + HOUR)
    assert dead.doubt(NOW + HOUR) == "list_dead"
    assert not dead.due(NOW + 6 * HOUR)
    assert dead.due(NOW + 7 * HOUR)
    once = after_self_test(dead, OK, NOW + 7 * HOUR)
    assert once.trust is Trust.DEAD
    soon = after_self_test(once, OK, NOW + 8 * HOUR)
    assert soon.trust is Trust.DEAD
    assert after_self_test(soon, OK, NOW + 13 * HOUR).believed(NOW + 13 * HOUR)
    again = after_self_test(once, WRONG, NOW + 8 * HOUR)
    assert after_self_test(again, OK, NOW + 14 * HOUR).trust is Trust.DEAD


def test_silence_neither_kills_nor_revives_but_a_list_that_refuses_us_is_not_believed() -> None:
    tested = after_self_test(TrustState(), OK, NOW)
    silent = after_self_test(tested, LOST, NOW + 5 * HOUR)
    assert silent.believed(NOW + 6 * HOUR)
    assert silent.due(NOW + 5 * HOUR + 10 * MINUTE)
    assert not silent.due(NOW + 5 * HOUR + 9 * MINUTE)
    assert after_self_test(after_self_test(TrustState(), WRONG, NOW), LOST, NOW + HOUR).trust is Trust.DEAD
    refusing = after_self_test(tested, REFUSES, NOW + HOUR)
    assert refusing.doubt(NOW + HOUR) == "public_resolver"


def finding(word: str, tier: int = 1, *, reason: str = "") -> Finding:
    if word in {"pass", "unknown"}:
        return Finding(Verdict("s", Truth(word), reason or word), "one", tier)
    return Finding(Verdict("s", Truth.FAIL, "listed"), "one", tier, Code("127.0.0.2", word, tier=tier))


def steps(*story: tuple[int, Finding], run: Run | None = None) -> list[tuple[Act, str]]:
    """Minutes and findings, one after another; what became of the run each time."""
    run, seen = run or Run(), []
    for minutes, found in story:
        step = after(run, found, NOW + minutes * MINUTE, sending=True)
        run = step.run
        seen.append((step.act, run.answer))
    return seen


CLEAN_RUN, LISTED_RUN = Run("pass", NOW - HOUR), Run("fail:SBL:1", NOW - HOUR)


@pytest.mark.parametrize(("tier", "minutes"), [(1, 5), (2, 60)])
def test_a_listing_counts_when_a_second_answer_agrees_later(tier: int, minutes: int) -> None:
    answer = f"fail:SBL:{tier}"
    early = steps((0, finding("SBL", tier)), (minutes - 1, finding("SBL", tier)), run=CLEAN_RUN)
    assert early == [(Act.KEEP, "pass")] * 2
    assert steps((0, finding("SBL", tier)), (minutes, finding("SBL", tier)), run=CLEAN_RUN)[-1] == (Act.TURN, answer)
    assert steps((0, finding("SBL", tier)), (minutes, finding("SBL", tier)))[-1] == (Act.SETTLE, answer)


def test_a_note_counts_at_once() -> None:
    assert steps((0, finding("net", 3)), run=CLEAN_RUN) == [(Act.TURN, "fail:net:3")]


def test_a_second_listing_counts_from_the_first_answer_of_its_kind() -> None:
    pbl = after(CLEAN_RUN, finding("PBL", 2), NOW, sending=True).run
    sbl = after(pbl, finding("SBL", 1), NOW + 90 * MINUTE, sending=True)
    assert (sbl.act, sbl.run.contrary_since) == (Act.KEEP, NOW + 90 * MINUTE)


def test_one_clean_answer_between_two_listed_ones_begins_again() -> None:
    story = ((0, finding("SBL")), (4, finding("pass")), (6, finding("SBL")))
    assert steps(*story, run=CLEAN_RUN)[-1] == (Act.KEEP, "pass")


def test_a_listing_ends_with_two_clean_answers_an_hour_apart() -> None:
    assert steps((0, finding("pass")), (59, finding("pass")), run=LISTED_RUN)[-1] == (Act.KEEP, "fail:SBL:1")
    assert steps((0, finding("pass")), (60, finding("pass")), run=LISTED_RUN)[-1] == (Act.TURN, "pass")


def test_the_first_clean_answer_settles_a_run_of_which_nothing_was_known() -> None:
    assert steps((0, finding("pass"))) == [(Act.SETTLE, "pass")]


def test_a_list_that_dies_while_we_hold_a_listing_neither_ends_nor_renews_it() -> None:
    dead = distrusted(LIST, "192.0.2.10", "list_dead", NOW)
    assert (dead.verdict.truth, dead.code) == (Truth.UNKNOWN, None)
    step = after(LISTED_RUN, dead, NOW, sending=True)
    assert (step.act, step.run.answer, step.run.unknown_since) == (Act.KEEP, "fail:SBL:1", NOW)
    later = after(step.run, dead, NOW + HOUR, sending=True).run
    assert later.unknown_since == NOW
    assert after(later, finding("SBL"), NOW + 2 * HOUR, sending=True).run.unknown_since is None


def test_a_list_that_lists_the_world_lists_nobody() -> None:
    world = distrusted(LIST, "192.0.2.10", "list_dead", NOW)
    assert steps((0, world), (10, world), (90, world), run=CLEAN_RUN) == [(Act.KEEP, "pass")] * 3


@pytest.mark.parametrize(
    ("run", "found", "sending", "minutes"),
    [
        (CLEAN_RUN, finding("pass"), True, 60),
        (CLEAN_RUN, finding("pass"), False, 720),
        (CLEAN_RUN, finding("pass", 2), True, 360),
        (CLEAN_RUN, finding("pass", 3), True, 1440),
        (LISTED_RUN, finding("SBL"), True, 30),
        (LISTED_RUN, finding("SBL"), False, 30),
        (Run("fail:PBL:2", NOW), finding("PBL", 2), True, 120),
        (CLEAN_RUN, finding("SBL"), True, 6),
        (CLEAN_RUN, finding("PBL", 2), True, 72),
        (LISTED_RUN, finding("pass"), True, 72),
        (CLEAN_RUN, finding("unknown", reason="timeout"), True, 15),
        (CLEAN_RUN, finding("unknown", reason="public_resolver"), True, 60),
    ],
)
def test_the_next_look_follows_tier_state_and_use(run: Run, found: Finding, sending: bool, minutes: int) -> None:
    assert after(run, found, NOW, sending=sending).run.next_at == NOW + minutes * MINUTE


@given(st.floats(-1, 1))
def test_jitter_never_brings_a_confirmation_before_its_time(jitter: float) -> None:
    run = after(CLEAN_RUN, finding("SBL"), NOW, sending=True, jitter=jitter).run
    assert run.next_at
    assert after(run, finding("SBL"), run.next_at, sending=True).act is Act.TURN


def test_an_address_is_clean_only_when_every_list_that_matters_said_so() -> None:
    clean, noted = finding("pass"), finding("net", 3)
    assert screen("192.0.2.10", [clean, finding("pass", 2)]).truth is Truth.PASS
    assert screen("192.0.2.10", [clean, noted]).warnings == (noted.verdict.fix,)
    unknown = screen("192.0.2.10", [clean, finding("unknown", 2, reason="timeout")])
    assert (unknown.truth, unknown.reason) == (Truth.UNKNOWN, "timeout")
    assert "waive one" in unknown.fix
    assert screen("192.0.2.10", []).truth is Truth.UNKNOWN
    assert screen("192.0.2.10", [noted]).reason == "no_list"


def test_a_listing_counts_more_than_silence_and_a_waived_list_is_not_waited_for() -> None:
    listed, silent = finding("SBL"), finding("unknown", reason="timeout")
    assert screen("192.0.2.10", [silent, listed]).reason == "listed"
    assert screen("192.0.2.10", [finding("pass"), silent._replace(gates=False)]).truth is Truth.PASS
    assert screen("192.0.2.10", [silent._replace(gates=False)]).truth is Truth.UNKNOWN
    assert screen("192.0.2.10", [finding("pass"), listed._replace(gates=False)]).truth is Truth.FAIL


def test_a_domain_that_was_first_seen_today_is_not_taken_into_use() -> None:
    young = classify(LIST, "acme.example", heard("127.0.2.9"))
    verdict = screen("acme.example", [finding("pass"), young])
    assert (verdict.truth, verdict.reason) == (Truth.FAIL, "age")
    assert "before it is a day old" in verdict.fix


def test_of_a_domain_and_its_parents_the_worst_counts() -> None:
    assert worst([finding("pass"), finding("unknown"), finding("SBL", 2), finding("SBL", 1)]).tier == 1
    assert worst([finding("pass"), finding("unknown")]).verdict.truth is Truth.UNKNOWN
