"""What a look makes of a picture, and that a picture survives its way through the table."""

import json
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest

from flows.policy.dns_status import Notice, RecordState, RecordStatus
from flows.policy.lifecycle import DomainStatus
from flows.policy.plain_text import plain, shown
from flows.policy.records import Entry, ExpectedRecord, Merge, Need, as_json, entries, is_settled, looked, renewed
from flows.policy.verdict import Evidence, Truth, Verdict

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def record(key: str = "dmarc", need: Need = Need.REQUIRED, *values: str) -> ExpectedRecord:
    return ExpectedRecord(
        key, f"{key}.acme.example", "TXT", values or ("v",), need, Merge.EXACT, 300, ips=(IPv4Address("198.51.100.7"),)
    )


def verdict(truth: Truth, reason: str = "ok", ttl: int = 300) -> Verdict:
    seen = Evidence("ns1", "q", "a", NOW, ttl)
    return Verdict("dmarc", truth, reason, found=("x",), fix="mend it", evidence=(seen,))


PASS, FAIL, UNKNOWN = verdict(Truth.PASS), verdict(Truth.FAIL, "missing"), verdict(Truth.UNKNOWN, "timeout")
VERIFIED = RecordState(RecordStatus.VERIFIED, since=NOW, passes=3, conclusive=True)


def stored(picture: object) -> list[Entry]:
    return list(entries(json.loads(json.dumps(picture))))


def test_an_entry_comes_back_from_the_table_as_it_went() -> None:
    state = RecordState(
        RecordStatus.FAILED, since=NOW, fails=3, failing_since=NOW, unknowns=2, error="timeout", conclusive=True,
        flaps=(NOW, NOW - timedelta(hours=1)), disagreeing_since=NOW,
    )  # fmt: skip
    entry = Entry(record(), state, "fail", "missing", ("found",), ("former",))
    assert stored({"records": [as_json(entry)]}) == [entry]


def test_a_row_of_an_older_shape_is_read_as_the_usual() -> None:
    row = {"record_key": "a", "record_type": "A", "name": "m.x", "value": ["192.0.2.1"], "need": "required",
           "holder": "tenant", "verification_status": "error"}  # fmt: skip
    (entry,) = entries({"records": [row]})
    assert (entry.state.status, entry.expected.merge, entry.expected.ips) == (RecordStatus.PENDING, Merge.EXACT, ())


def test_a_changed_plan_keeps_what_was_seen_of_what_stays_and_remembers_what_it_replaces() -> None:
    old = {"records": [as_json(Entry(record("a"), VERIFIED, "pass", "ok")), as_json(Entry(record("b"), VERIFIED))]}
    same, other = stored(renewed(old, [record("a"), record("b", Need.REQUIRED, "new")]))
    assert (same.state, same.former) == (VERIFIED, ())
    assert (other.state.status, other.former) == (RecordStatus.PENDING, ("v",))
    (again,) = stored(renewed(renewed(old, [record("b", Need.REQUIRED, "new")]), [record("b", Need.REQUIRED, "newer")]))
    assert again.former == ("new", "v")


@pytest.mark.parametrize(
    ("verdicts", "status", "blocked"),
    [
        ([PASS, PASS], DomainStatus.VERIFIED, None),
        ([PASS, FAIL], DomainStatus.PARTIALLY_VERIFIED, FAIL),
        ([FAIL, FAIL], DomainStatus.PENDING, FAIL),
        ([UNKNOWN, UNKNOWN], DomainStatus.ERROR, UNKNOWN),
    ],
)
def test_a_new_domain_takes_its_word_from_its_records(verdicts, status, blocked) -> None:
    seen = looked([Entry(record("a")), Entry(record("b"))], verdicts, NOW)
    assert (seen.status, seen.blocked) == (status, blocked)
    assert seen.next_at is not None
    assert seen.next_at > NOW


def test_a_record_that_is_not_required_is_shown_and_decides_nothing() -> None:
    seen = looked([Entry(record("a"), VERIFIED), Entry(record("b", Need.CONDITIONAL))], [PASS, FAIL], NOW)
    assert (seen.status, seen.blocked, seen.notices) == (DomainStatus.VERIFIED, None, ())
    assert [entry.truth for entry in stored(seen.picture)] == ["pass", "fail"]


def test_one_fail_of_a_verified_record_is_told_and_changes_nothing() -> None:
    seen = looked([Entry(record(), VERIFIED, "pass", "ok")], [FAIL], NOW)
    assert seen.status is DomainStatus.VERIFIED
    assert seen.notices == ((FAIL, Notice.FIRST_FAIL),)
    assert seen.error == {"reason": "missing", "fix": "mend it"}
    assert seen.changed == (0,)


def test_the_same_answer_again_is_no_news() -> None:
    first = looked([Entry(record(), VERIFIED, "pass", "ok")], [FAIL], NOW)
    assert looked(stored(first.picture), [FAIL], NOW).changed == ()
    assert looked(stored(first.picture), [PASS], NOW).changed == (0,)


def test_how_long_servers_have_differed_is_remembered_until_they_agree() -> None:
    differ = verdict(Truth.UNKNOWN, "authorities_disagree")
    first = looked([Entry(record(), VERIFIED)], [differ], NOW)
    later = looked(stored(first.picture), [differ], NOW + timedelta(hours=5))
    assert stored(later.picture)[0].state.disagreeing_since == NOW
    assert stored(looked(stored(later.picture), [PASS], NOW).picture)[0].state.disagreeing_since is None


@pytest.mark.parametrize(
    ("entry", "settled"),
    [
        (Entry(record(), VERIFIED, "pass"), True),
        (Entry(record(), VERIFIED, "fail"), False),
        (Entry(record(), VERIFIED), False),
        (Entry(record(), RecordState(), "pass"), False),
    ],
)
def test_a_routine_look_is_for_what_was_right_when_last_seen(entry, settled) -> None:
    assert is_settled([entry]) is settled
    assert not is_settled([])


def test_what_strangers_wrote_is_harmless_and_bounded() -> None:
    assert plain("a\x00b\x1b[2J\u202e") == "a\\x00b\\x1b[2J\\u202e"
    assert plain("grüße · 例え") == "grüße · 例え"
    assert len(plain("x" * 70000)) == 601
    assert len(shown("x" for _ in range(200))) == 8
