"""DNS hosts with an API of their own: nobody's record is lost, a half publication is told, no secret leaves."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from providers.dns_host import Changed, DnsHost, RecordChange, RRset
from providers.dns_host_lexicon import Lexicon
from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from tests.support.powerdns import KEY, PowerDns, running_powerdns

ZONE = "acme.example"
LONG = "v=DKIM1; k=rsa; p=" + "A/=" * 140
SPF = "v=spf1 include:other.example -all"


@pytest.fixture
def powerdns() -> Iterator[PowerDns]:
    with running_powerdns(ZONE) as served:
        served.put(ZONE, "TXT", f'"{SPF}"', '"unrelated"')
        served.put(ZONE, "MX", "10 mail.other.example.")
        served.put(f"alias.{ZONE}", "CNAME", f"www.{ZONE}.")
        yield served


@pytest.fixture
def host(powerdns: PowerDns) -> Lexicon:
    return lexicon(powerdns)


def lexicon(powerdns: PowerDns, secret: str = KEY, **more: Any) -> Lexicon:
    return Lexicon("powerdns", ZONE, SecretStr(secret), {"pdns_server": powerdns.url}, **more)


def change(name: str, *values: str, rtype: str = "TXT", expected: tuple[str, ...] | None = None) -> RecordChange:
    return RecordChange(f"{name}.{ZONE}" if name else ZONE, rtype, values, 300, expected)


def writes(powerdns: PowerDns) -> list[str]:
    return [what for method, what in powerdns.asked if method == "PATCH"]


def test_it_is_a_dns_host_like_any_other(host: Lexicon) -> None:
    known: DnsHost = host
    assert known.zone_of(f"x.{ZONE}") == f"{ZONE}."
    assert known.zone_of("acme.example.org") is None
    assert known.zone_of("xacme.example") is None


@pytest.mark.parametrize(
    ("name", "rtype", "value"),
    [("_pm-verify", "TXT", "pm-verify=1"), ("k._domainkey", "TXT", LONG), ("h", "A", "192.0.2.1"),
     ("bounce", "MX", "10 mail.acme.example."), ("k1._domainkey", "CNAME", "k1.acme.example.")],
)  # fmt: skip
async def test_what_was_published_is_read_back(host: Lexicon, name: str, rtype: str, value: str) -> None:
    assert await host.read(f"{name}.{ZONE}", rtype) is None
    await host.publish([change(name, value, rtype=rtype, expected=())])
    assert await host.read(f"{name}.{ZONE}.", rtype) == RRset((value,), 300)


async def test_others_at_the_same_name_stay(host: Lexicon, powerdns: PowerDns) -> None:
    merged = SPF.replace("-all", "ip4:192.0.2.1 -all")
    await host.publish([change("", merged, "unrelated", expected=(SPF, "unrelated"))])
    assert sorted(powerdns.contents(ZONE, "TXT")) == ['"unrelated"', f'"{merged}"']
    assert powerdns.contents(ZONE, "MX") == ["10 mail.other.example."]


async def test_what_is_right_already_is_not_written(host: Lexicon, powerdns: PowerDns) -> None:
    await host.publish([change("", SPF, "unrelated")])
    assert writes(powerdns) == []


async def test_without_values_a_set_is_removed(host: Lexicon, powerdns: PowerDns) -> None:
    await host.publish([change("alias", rtype="CNAME"), change("k", LONG)])
    await host.publish([change("k", expected=(LONG,))])
    assert powerdns.contents(f"alias.{ZONE}", "CNAME") == []
    assert powerdns.contents(f"k.{ZONE}", "TXT") == []


async def test_a_key_is_replaced_by_another(host: Lexicon) -> None:
    await host.publish([change("k", LONG)])
    await host.publish([change("k", LONG.replace("A", "B"), expected=(LONG,))])
    assert await host.read(f"k.{ZONE}", "TXT") == RRset((LONG.replace("A", "B"),), 300)


@pytest.mark.parametrize(
    "wrong",
    [change("", "x", expected=("unrelated",)), change("new", "x", expected=("y",)), change("alias", "x", expected=())],
    ids=["a set that grew", "a set that went", "an alias in the way"],
)
async def test_an_expectation_that_fails_stops_all_changes(
    host: Lexicon, powerdns: PowerDns, wrong: RecordChange
) -> None:
    with pytest.raises(Changed):
        await host.publish([change("first", "1", expected=()), wrong])
    assert writes(powerdns) == []


async def test_a_host_that_applies_half_is_told_and_the_rest_follows_later(host: Lexicon, powerdns: PowerDns) -> None:
    powerdns.answers = [200, 503]
    both = [change("one", "1", expected=()), change("two", "2", expected=())]
    with pytest.raises(Unconfirmed, match="1 of 2 record sets") as half:
        await host.publish(both)
    assert half.value.retry_after_seconds is None
    assert await host.read(f"one.{ZONE}", "TXT") == RRset(("1",), 300)
    await host.publish([change("two", "2", expected=())])
    assert await host.read(f"two.{ZONE}", "TXT") == RRset(("2",), 300)


async def test_a_refusal_after_a_first_change_is_half_a_publication_too(host: Lexicon, powerdns: PowerDns) -> None:
    powerdns.answers = [200, 422]
    with pytest.raises(Unconfirmed, match=r"1 of 2 record sets are published; then: .* HTTP 422"):
        await host.publish([change("one", "1", expected=()), change("two", "2", expected=())])


@pytest.mark.parametrize(
    ("answer", "error"),
    [(422, Rejected), (401, Unauthorized), (503, Unconfirmed), (429, Unconfirmed), ("drop", Unconfirmed),
     ("forget", Unconfirmed)],
)  # fmt: skip
async def test_a_write_that_fails_says_whether_it_may_have_happened(
    host: Lexicon, powerdns: PowerDns, answer: int | str, error: type[ProviderError]
) -> None:
    powerdns.answers = [answer]
    with pytest.raises(error) as failed:
        await host.publish([change("one", "1", expected=())])
    assert type(failed.value) is error
    assert failed.value.retry_after_seconds == (7 if answer == 429 else None)


@pytest.mark.parametrize(
    ("answer", "error"), [(401, Unauthorized), (404, Rejected), (500, Unavailable), (429, Unavailable),
                          ("html", Unavailable), ("drop", Unavailable)],
)  # fmt: skip
async def test_a_reading_that_fails_is_never_an_empty_zone(
    host: Lexicon, powerdns: PowerDns, answer: int | str, error: type[ProviderError]
) -> None:
    powerdns.reads = [answer]
    with pytest.raises(error) as failed:
        await host.read(ZONE, "TXT")
    assert type(failed.value) is error


async def test_a_host_that_hangs_is_left_to_itself(powerdns: PowerDns) -> None:
    powerdns.reads = ["hang"]
    with pytest.raises(Unavailable, match="no end within"):
        await lexicon(powerdns, timeout_seconds=0.5).read(ZONE, "TXT")
    powerdns.reads, powerdns.answers = [], ["hang"]
    with pytest.raises(Unconfirmed):
        await lexicon(powerdns, timeout_seconds=1.5).publish([change("one", "1", expected=())])


@pytest.mark.parametrize("gives_up", ["at its limit", "when it is cancelled"])
async def test_nothing_more_is_written_once_nobody_waits(powerdns: PowerDns, gives_up: str) -> None:
    """Whoever waited holds a lock until then: another may be at the zone by now."""
    powerdns.answers = ["late"]
    host = lexicon(powerdns, timeout_seconds=8 if gives_up == "at its limit" else 60)
    publishing = asyncio.create_task(host.publish([change("one", "1", expected=()), change("two", "2", expected=())]))
    while not writes(powerdns) and not publishing.done():  # noqa: ASYNC110  a moment
        await asyncio.sleep(0.01)
    if gives_up == "when it is cancelled":
        publishing.cancel()
    with pytest.raises((Unconfirmed, asyncio.CancelledError)):
        await publishing
    powerdns.held.set()
    for thread in threading.enumerate():
        if thread.name == "dns-lexicon":
            await asyncio.to_thread(thread.join)
    assert writes(powerdns) == [f"one.{ZONE}. TXT"]


async def test_no_write_is_begun_shortly_before_the_limit(powerdns: PowerDns) -> None:
    """What is on its way when the limit comes would arrive after whoever waited has let go of its lock."""
    powerdns.answers = ["late"]
    asyncio.get_running_loop().call_later(2.1, powerdns.held.set)
    with pytest.raises(Unconfirmed, match="of 2 record sets are published; then: "):
        await lexicon(powerdns, timeout_seconds=3).publish([change("one", "1"), change("two", "2")])
    assert len(writes(powerdns)) < 2  # none where reading alone took that long


async def test_the_serial_moves_when_a_record_does(host: Lexicon) -> None:
    before = await host.serial()
    assert await host.serial() == before
    await host.publish([change("one", "1")])
    assert await host.serial() != before


async def test_a_name_outside_the_zone_and_an_unknown_host_are_refused(host: Lexicon, powerdns: PowerDns) -> None:
    with pytest.raises(Rejected, match="outside the zone"):
        await host.publish([RecordChange("other.example", "TXT", ("x",), 300)])
    with pytest.raises(Rejected, match="no alias to another zone"):
        await host.publish([change("one", "1"), change("k1", "k1.penguin.example.", rtype="CNAME")])
    with pytest.raises(Rejected, match="knows no host"):
        await Lexicon("nowhere", ZONE, SecretStr("x")).read(ZONE, "TXT")
    assert powerdns.asked == []


async def test_the_credential_may_be_a_token_or_an_object_and_shows_nowhere(
    powerdns: PowerDns, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert await lexicon(powerdns, f'{{"auth_token": "{KEY}"}}').read(ZONE, "MX") is not None
    for secret, error in (("CANARY-wrong", Unauthorized), ('{"CANARY', Rejected)):
        with pytest.raises(error) as failed:
            await lexicon(powerdns, secret).read(ZONE, "TXT")
        assert "CANARY" not in str(failed.value)
    assert "CANARY" not in caplog.text + repr(vars(lexicon(powerdns)))
