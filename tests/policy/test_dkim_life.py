"""A key's life: nothing is activated before it can be seen, nothing withdrawn while its mail is under way."""

from datetime import UTC, datetime, timedelta

import pytest

from flows.policy.dkim_life import Act, KeyLife, due, gates, revoked_text, signs

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RSA = "rsa-sha256"
DAY = timedelta(days=1)


def key(number: int, status: str, **ages: timedelta) -> KeyLife:
    at = {f"{word}_at": NOW - age for word, age in ages.items()}
    return KeyLife(number, f"pm{number}", RSA, status, at.pop("created_at", NOW - 400 * DAY), **at)


def acts(*keys: KeyLife, force: bool = False) -> list[tuple[str, int | None]]:
    return [(one.act.value, one.key.id if one.key else None) for one in due(keys, NOW, force=force)]


YOUNG, OLD = key(1, "active", activated=10 * DAY), key(1, "active", activated=366 * DAY)


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ([YOUNG], []),
        ([OLD], [("generate", None)]),
        ([OLD, key(2, "generated")], [("publish", 2)]),
        ([OLD, key(2, "published", published=timedelta(0))], [("verify", 2)]),
        ([OLD, key(2, "verified", published=timedelta(minutes=59))], []),
        ([OLD, key(2, "verified", published=timedelta(hours=1))], [("activate", 2)]),
        ([key(1, "retiring", retiring=6.9 * DAY), key(2, "active", activated=7 * DAY)], []),
        ([key(1, "retiring", retiring=7 * DAY), key(2, "active", activated=7 * DAY)], [("revoke", 1)]),
        ([key(1, "revoked", revoked=29 * DAY), key(2, "active", activated=40 * DAY)], []),
        ([key(1, "revoked", revoked=30 * DAY), key(2, "active", activated=40 * DAY)], [("delete", 1)]),
        ([key(1, "verified", published=DAY)], []),  # onboarding is at it
        ([], []),
    ],
)
def test_the_next_act_is_the_one_that_is_due(keys, wanted) -> None:
    assert acts(*keys) == wanted


def test_force_begins_before_its_time_and_begins_once() -> None:
    assert acts(YOUNG, force=True) == [("generate", None)]
    assert acts(YOUNG, key(2, "verified", published=timedelta(minutes=1)), force=True) == []


def test_an_older_key_is_no_successor() -> None:
    assert acts(key(1, "verified", published=DAY), key(2, "active", activated=DAY)) == []


def test_each_algorithm_has_its_own_succession() -> None:
    other = KeyLife(3, "pm3", "ed25519-sha256", "active", NOW, activated_at=NOW)
    assert acts(OLD, other) == [("generate", None)]
    assert due([OLD, other], NOW)[0].act is Act.GENERATE


@pytest.mark.parametrize(
    ("status", "has_active", "wanted"),
    [("active", True, True), ("generated", True, False), ("retiring", True, False), ("verified", False, True)],
)
def test_only_the_key_that_signs_decides_over_the_domain(status, has_active, wanted) -> None:
    assert gates(status, has_active=has_active) is wanted


def test_a_withdrawn_key_is_empty() -> None:
    assert revoked_text(RSA) == "v=DKIM1; k=rsa; p="
    assert revoked_text("ed25519-sha256") == "v=DKIM1; k=ed25519; p="


@pytest.mark.parametrize(
    ("status", "has_active", "wanted"),
    [("active", True, True), ("verified", False, True), ("verified", True, False), ("published", False, False),
     ("retiring", True, False), ("retiring", False, False)],
)  # fmt: skip
def test_a_successor_does_not_sign_before_its_hour(status: str, has_active: bool, wanted: bool) -> None:
    assert signs(status, has_active=has_active) is wanted
