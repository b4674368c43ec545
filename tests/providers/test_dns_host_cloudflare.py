"""A DNS host unlike the other: records by number, in pages, MX preferences apart, errors of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from providers.dns_host import Changed, RecordChange, RRset
from providers.dns_host_lexicon import Lexicon
from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from tests.support.cloudflare import HOST, TOKEN, Cloudflare, running_cloudflare
from tests.support.smtp_tls import server_context

ZONE = "acme.example"
SPF = "v=spf1 include:other.example -all"
LONG = "v=DKIM1; k=rsa; p=" + "A/=" * 140


@pytest.fixture
def cloudflare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloudflare]:
    context, authority = server_context(tmp_path, HOST)
    with running_cloudflare(ZONE, context) as served:
        served.put(ZONE, "TXT", f'"{SPF}"', '"unrelated"')
        served.put(ZONE, "MX", "mail.other.example", priority=10)
        served.put(f"alias.{ZONE}", "CNAME", f"www.{ZONE}")
        monkeypatch.setenv("HTTPS_PROXY", served.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
        yield served


@pytest.fixture
def host(cloudflare: Cloudflare) -> Lexicon:
    assert cloudflare.url
    return Lexicon("cloudflare", ZONE, SecretStr(TOKEN))


def change(name: str, *values: str, rtype: str = "TXT", expected: tuple[str, ...] | None = None) -> RecordChange:
    return RecordChange(f"{name}.{ZONE}" if name else ZONE, rtype, values, 300, expected)


@pytest.mark.parametrize(
    ("name", "rtype", "value"),
    [("_pm-verify", "TXT", "pm-verify=1"), ("k._domainkey", "TXT", LONG), ("h", "A", "192.0.2.1"),
     ("bounce", "MX", "10 mail.acme.example."), ("k1._domainkey", "CNAME", "k1.penguin.example.")],
)  # fmt: skip
async def test_what_was_published_is_read_back(host: Lexicon, name: str, rtype: str, value: str) -> None:
    assert await host.read(f"{name}.{ZONE}", rtype) is None
    await host.publish([change(name, value, rtype=rtype, expected=())])
    assert await host.read(f"{name}.{ZONE}.", rtype) == RRset((value,), 300)


async def test_a_preference_is_a_part_of_the_value_to_us_and_a_field_of_its_own_to_the_host(
    host: Lexicon, cloudflare: Cloudflare
) -> None:
    assert await host.read(ZONE, "MX") == RRset(("10 mail.other.example.",), 300)
    await host.publish([change("", "20 mail.acme.example.", rtype="MX", expected=("10 mail.other.example.",))])
    (record,) = [record for record in cloudflare.records.values() if record["type"] == "MX"]
    assert (record["content"], record["priority"]) == ("mail.acme.example", 20)
    assert cloudflare.writes() == ["PUT"]


async def test_others_at_the_same_name_stay_and_none_is_taken_away_first(host: Lexicon, cloudflare: Cloudflare) -> None:
    merged = SPF.replace("-all", "ip4:192.0.2.1 -all")
    await host.publish([change("", merged, "unrelated", expected=(SPF, "unrelated"))])
    assert cloudflare.contents(ZONE, "TXT") == ['"unrelated"', f'"{merged}"']
    assert cloudflare.writes() == ["PUT"]


async def test_without_values_a_set_is_removed_and_nothing_else(host: Lexicon, cloudflare: Cloudflare) -> None:
    cloudflare.put(f"bounce.{ZONE}", "MX", "mail.other.example", priority=10)
    await host.publish([change("bounce", rtype="MX"), change("alias", rtype="CNAME")])
    assert [record["type"] for record in cloudflare.records.values()] == ["TXT", "TXT", "MX"]


async def test_zones_and_records_are_found_on_whatever_page_they_are(host: Lexicon, cloudflare: Cloudflare) -> None:
    cloudflare.others += [f"other{number}.example" for number in range(250)]
    cloudflare.put(ZONE, "TXT", *(f'"text {number}"' for number in range(199)))
    found = await host.read(ZONE, "TXT")
    assert found is not None
    assert len(found.values) == 201
    assert [path for _, path in cloudflare.asked].count("/client/v4/zones") == 3
    assert len(cloudflare.asked) == 6


async def test_a_record_that_somebody_added_meanwhile_is_as_good_as_ours(host: Lexicon, cloudflare: Cloudflare) -> None:
    cloudflare.put(f"k.{ZONE}", "TXT", '"1"')
    cloudflare.unseen.add('"1"')
    await host.publish([change("k", "1", expected=())])
    assert (cloudflare.contents(f"k.{ZONE}", "TXT"), cloudflare.writes()) == (['"1"'], ["POST"])


async def test_an_expectation_that_fails_stops_all_changes(host: Lexicon, cloudflare: Cloudflare) -> None:
    for wrong in (change("", "x", expected=("unrelated",)), change("alias", "x", expected=())):
        with pytest.raises(Changed):
            await host.publish([change("first", "1", expected=()), wrong])
    assert cloudflare.writes() == []


async def test_a_host_that_applies_half_is_told_and_the_rest_follows_later(
    host: Lexicon, cloudflare: Cloudflare
) -> None:
    cloudflare.answers = [200, 429]
    both = [change("one", "1", expected=()), change("two", "2", expected=())]
    with pytest.raises(Unconfirmed, match="1 of 2 record sets") as half:
        await host.publish(both)
    assert half.value.retry_after_seconds == 240
    assert await host.read(f"one.{ZONE}", "TXT") == RRset(("1",), 300)
    await host.publish([change("one", "1"), change("two", "2", expected=())])
    assert await host.read(f"two.{ZONE}", "TXT") == RRset(("2",), 300)
    assert cloudflare.writes() == ["POST"] * 3


async def test_a_refusal_within_a_set_is_no_refusal_of_all(host: Lexicon, cloudflare: Cloudflare) -> None:
    cloudflare.answers = [200, 400]
    with pytest.raises(Unconfirmed, match="0 of 1 record sets are published; then: "):
        await host.publish([change("one", "1", "2", expected=())])
    assert cloudflare.writes() == ["POST"] * 2


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [(403, Unauthorized, "HTTP 403, error 10000"), (400, Rejected, "HTTP 400, error 1000"),
     (429, Unconfirmed, "HTTP 429"), (503, Unconfirmed, "HTTP 503")],
)  # fmt: skip
async def test_a_write_that_fails_says_whether_it_may_have_happened(
    host: Lexicon, cloudflare: Cloudflare, answer: int, error: type[ProviderError], words: str
) -> None:
    cloudflare.answers = [answer]
    with pytest.raises(error, match=words) as failed:
        await host.publish([change("one", "1", expected=())])
    assert type(failed.value) is error
    assert failed.value.retry_after_seconds == (240 if answer == 429 else None)


@pytest.mark.parametrize(("answer", "error"), [(403, Unauthorized), (429, Unavailable), (520, Unavailable)])
@pytest.mark.parametrize("nth", [0, 1], ids=["of the zone", "of the records"])
async def test_a_reading_that_fails_is_never_an_empty_zone(
    host: Lexicon, cloudflare: Cloudflare, answer: int, error: type[ProviderError], nth: int
) -> None:
    cloudflare.reads = [200] * nth + [answer]
    with pytest.raises(error) as failed:
        await host.read(f"new.{ZONE}", "TXT")
    assert type(failed.value) is error


async def test_a_wrong_token_and_a_zone_that_is_not_there_are_told_apart_and_the_token_shows_nowhere(
    cloudflare: Cloudflare, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unauthorized, match="HTTP 403, error 10000") as wrong:
        await Lexicon("cloudflare", ZONE, SecretStr("CANARY-wrong")).read(ZONE, "TXT")
    with pytest.raises(Unauthorized, match="has no such zone") as listed:
        await Lexicon("cloudflare", "gone.example", SecretStr(TOKEN)).read("gone.example", "TXT")
    with pytest.raises(Rejected, match="no such zone") as numbered:
        await Lexicon("cloudflare", ZONE, SecretStr(TOKEN), {"zone_id": "0" * 32}).read(ZONE, "TXT")
    assert "CANARY" not in f"{wrong.value}{listed.value}{numbered.value}{caplog.text}"
    assert cloudflare.writes() == []
