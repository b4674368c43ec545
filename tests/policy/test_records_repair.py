"""When what went missing is put back by itself: the edges that no story reaches."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest

from flows.policy.dmarc import DmarcPolicy
from flows.policy.dns_status import RecordState, RecordStatus
from flows.policy.records import Change, Entry, ExpectedRecord, Holder, Merge, Need
from flows.policy.records.repair import (
    Publication,
    as_left,
    drifted,
    held_back,
    insisted,
    published_at,
    spent,
    too_many,
)
from flows.policy.verdict import Truth

NOW = datetime(2026, 11, 22, tzinfo=UTC)
IP = IPv4Address("198.51.100.7")
OURS = "v=spf1 ip4:198.51.100.7 ~all"


def record(name: str = "k", *, merge: Merge = Merge.EXACT, value: str = "ours", **more) -> ExpectedRecord:
    return ExpectedRecord(name, f"{name}.acme.example", "TXT", (value,), Need.REQUIRED, merge, 300, **more)


def entry(
    expected: ExpectedRecord,
    truth: str = Truth.FAIL,
    reason: str = "missing",
    *,
    fails: int = 3,
    status: RecordStatus = RecordStatus.VERIFIED,
) -> Entry:
    return Entry(expected, RecordState(status, fails=fails), truth, reason)


def test_what_was_right_and_is_surely_wrong_has_drifted() -> None:
    assert drifted([entry(record())])
    assert drifted([entry(record(), status=RecordStatus.FAILED)])


@pytest.mark.parametrize(
    "one",
    [
        entry(record(), fails=2),
        entry(record(), Truth.UNKNOWN, "authority_unreachable"),
        entry(record(), Truth.UNKNOWN, "authorities_disagree"),
        entry(record(), Truth.FAIL, "authorities_disagree"),
        entry(record(), Truth.FAIL, "dnssec_broken"),
        entry(record(), Truth.PASS, "ok"),
        entry(record(), "", ""),
        entry(record(), status=RecordStatus.PENDING),
        entry(record(), status=RecordStatus.NOT_VERIFIED),
        entry(record(holder=Holder.PLATFORM)),
        entry(record(holder=Holder.PROVIDER)),
        entry(record(consent=False)),
    ],
)
def test_what_nobody_knows_never_stood_or_is_not_the_tenants_zone_has_not(one: Entry) -> None:
    assert not drifted([one])


@pytest.mark.parametrize(("gone", "of", "much"), [(2, 2, False), (3, 10, False), (4, 10, True), (3, 9, True)])
def test_more_than_a_third_at_once_is_no_drift_however_young(gone: int, of: int, much: bool) -> None:
    picture = [entry(record(f"g{n}"), fails=1) for n in range(gone)]
    picture += [entry(record(f"r{n}"), Truth.PASS, "ok", fails=0) for n in range(of - gone)]
    picture += [entry(record(f"p{n}", holder=Holder.PROVIDER), Truth.PASS, "ok") for n in range(90)]
    assert (too_many(picture) is not None) is much


def publication(hours: float, *values: str, repair: bool = True, name: str = "k.acme.example") -> Publication:
    return Publication(NOW - timedelta(hours=hours), (((name, "TXT"), values),), repair)


@pytest.mark.parametrize(
    ("past", "why"),
    [
        ([], None),
        ([publication(1, "a", name=f"{n}.example", repair=False) for n in range(9)], None),
        ([publication(1, "a", name=f"{n}.example") for n in range(2)], None),
        ([publication(1, "a", name=f"{n}.example") for n in range(3)], "3 repairs went out within a day"),
        ([publication(25, "a", name=f"{n}.example") for n in range(3)], None),
        ([publication(30, "a"), publication(60, "a")], "is gone again"),
        ([publication(30, "a"), publication(170, "a")], None),
    ],
)
def test_repairs_have_an_end_in_a_day_and_for_one_record_in_a_week(past: list[Publication], why: str | None) -> None:
    said = spent(past, NOW) or insisted(past, ("k.acme.example", "TXT"), NOW)
    assert said is None if why is None else why in (said or "")


def test_the_newest_publication_counts_and_one_that_took_away_leaves_nothing() -> None:
    place = ("k.acme.example", "TXT")
    assert published_at([publication(9, "old"), publication(1, "new")], place) == ("new",)
    assert published_at([publication(9, "old"), publication(1)], place) == ()
    assert published_at([publication(9, "old", name="other.example")], place) == ()


@pytest.mark.parametrize(
    ("merge", "value", "published", "comes_back"),
    [
        (Merge.MERGE_SPF, OURS, ("x", "v=spf1 include:a.example ip4:198.51.100.7 -all"),
         "v=spf1 include:a.example ip4:198.51.100.7 -all"),
        (Merge.MERGE_SPF, OURS, ("v=spf1 include:a.example ip4:192.0.2.9 -all",),
         "v=spf1 include:a.example ip4:192.0.2.9 ip4:198.51.100.7 -all"),
        (Merge.MERGE_SPF, OURS, ("v=spf1 ipv4:nonsense -all",), OURS),
        (Merge.MERGE_SPF, OURS, (), OURS),
        (Merge.MERGE_DMARC, "v=DMARC1; p=none", ("v=DMARC1; p=reject; aspf=s",), "v=DMARC1; p=reject; aspf=s"),
        (Merge.MERGE_DMARC, "v=DMARC1; p=none", ("v=DMARC1; p=perhaps",), "v=DMARC1; p=none"),
        (Merge.EXACT, "ours", ("older",), "ours"),
    ],
)  # fmt: skip
def test_a_record_comes_back_with_the_tenants_words(merge: Merge, value: str, published, comes_back: str) -> None:
    assert as_left(record(merge=merge, value=value, ips=(IP,)), published).values == (comes_back,)


def change(before: str, after: str) -> Change:
    return Change("k.acme.example", "TXT", (after,), 300, (before,) if before else (), "test")


@pytest.mark.parametrize(
    ("merge", "before", "after", "published", "above", "why"),
    [
        (Merge.EXACT, "", "ours", ("ours",), None, None),
        (Merge.EXACT, "", "ours", (), None, "not published by us"),
        (Merge.EXACT, "older", "ours", ("older",), None, None),
        (Merge.EXACT, "theirs", "ours", ("ours",), None, "not ours"),
        (Merge.MERGE_DMARC, "", "v=DMARC1; p=none", ("v=DMARC1; p=reject",), None, "weaker than"),
        (Merge.MERGE_DMARC, "", "v=DMARC1; p=none", ("v=DMARC1; p=none",), DmarcPolicy.QUARANTINE, "parent"),
        (Merge.MERGE_DMARC, "", "v=DMARC1; p=reject", ("v=DMARC1; p=none",), DmarcPolicy.QUARANTINE, None),
        (Merge.MERGE_DMARC, "", "v=DMARC1; p=none", ("v=DMARC1; p=none",), DmarcPolicy.NONE, None),
        (Merge.MERGE_SPF, "v=spf1 -all", "v=spf1 ip4:198.51.100.7 -all", (OURS,), None, "stricter"),
        (Merge.MERGE_SPF, "v=spf1 ~all", OURS, (OURS,), None, None),
        (Merge.MERGE_SPF, "v=spf1 ?all", "v=spf1 ip4:198.51.100.7 ?all", (OURS,), None, None),
    ],
)  # fmt: skip
def test_a_person_decides_where_somebody_may_have_meant_it(merge, before, after, published, above, why) -> None:
    said = held_back(entry(record(merge=merge)), change(before, after), published, above)
    assert said is None if why is None else why in (said or "")
