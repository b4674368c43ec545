import base64
import logging
from collections.abc import Iterator

import dns.opcode
import dns.update
import pytest
from pydantic import SecretStr

from providers.dns_host import Changed, DnsHost, RecordChange, Rfc2136, RRset
from providers.errors import ProviderError, Rejected, Unauthorized, Unavailable, Unconfirmed
from tests.support.nameserver_knot import KNOTD, running_knot
from tests.support.nameserver_updates import taking_updates
from tests.support.sshd import free_port

HERE = "127.0.0.1"
SECRET = base64.b64encode(b"CANARY-CANARY-CANARY-CANARY-CANA").decode()
WRONG = base64.b64encode(b"CANARY-another-CANARY-another-CA").decode()
KEY = base64.b64encode(bytes(range(256)) + bytes(range(38))).decode()
RECORDS = """\
$ORIGIN acme.example.
$TTL 300
@ SOA ns1 hostmaster 1 60 60 60 5
@ NS ns1
@ MX 10 mail.other.example.
@ TXT "v=spf1 include:other.example -all"
@ TXT "unrelated"
ns1 A 127.0.0.1
alias CNAME ns1
"""

needs_knot = pytest.mark.skipif(KNOTD is None, reason="needs knotd: apt-get install knot")


@pytest.fixture(scope="module")
def knot(tmp_path_factory) -> Iterator[int]:
    with running_knot(tmp_path_factory.mktemp("knot"), "acme.example", RECORDS, SECRET) as port:
        yield port


@pytest.fixture
def host(knot: int) -> Rfc2136:
    return Rfc2136(HERE, "acme.example", "writer", SecretStr(SECRET), port=knot)


def change(name: str, *values: str, rtype: str = "TXT", expected: tuple[str, ...] | None = None) -> RecordChange:
    return RecordChange(name, rtype, values, 300, expected)


@needs_knot
async def test_what_was_published_is_read_back(host) -> None:
    await host.publish([change("new.acme.example", "pm-verify=1"), change("h.acme.example", "192.0.2.1", rtype="A")])
    assert await host.read("new.acme.example", "TXT") == RRset(("pm-verify=1",), 300)
    assert await host.read("h.acme.example", "A") == RRset(("192.0.2.1",), 300)


@needs_knot
async def test_a_missing_record_reads_as_none(host) -> None:
    assert await host.read("nothing.acme.example", "TXT") is None
    assert await host.read("ns1.acme.example", "TXT") is None
    assert await host.read("alias.acme.example", "A") is None


@needs_knot
@pytest.mark.parametrize(
    "value", ["v=DKIM1; k=rsa; p=" + KEY, "x" * 255, "x" * 256, "", 'quotes " and \\ and ; stay', "ümläut", "a  b"]
)
async def test_any_text_survives_the_way_there_and_back(host, value) -> None:
    await host.publish([change("text.acme.example", value)])
    assert await host.read("text.acme.example", "TXT") == RRset((value,), 300)


@needs_knot
@pytest.mark.parametrize("value", ["10 mail.acme.example.", "10 mail.acme.example"])
async def test_a_name_in_a_value_is_never_completed_with_the_zone(host, value) -> None:
    await host.publish([change("bounce.acme.example", value, rtype="MX")])
    assert await host.read("bounce.acme.example", "MX") == RRset(("10 mail.acme.example.",), 300)


@needs_knot
async def test_several_values_stand_in_one_record_set_and_are_replaced_as_one(host) -> None:
    await host.publish([change("many.acme.example", "b", "a")])
    assert await host.read("many.acme.example", "TXT") == RRset(("a", "b"), 300)
    await host.publish([change("many.acme.example", "c")])
    assert await host.read("many.acme.example", "TXT") == RRset(("c",), 300)


@needs_knot
async def test_no_values_delete_the_record_set_and_nothing_else(host) -> None:
    await host.publish([change("gone.acme.example", "x"), change("gone.acme.example", "192.0.2.1", rtype="A")])
    await host.publish([change("gone.acme.example")])
    assert await host.read("gone.acme.example", "TXT") is None
    assert await host.read("gone.acme.example", "A") is not None


@needs_knot
async def test_the_serial_moves_with_a_change_and_only_then(host) -> None:
    await host.publish([change("serial.acme.example", "1")])
    before = await host.serial()
    await host.publish([change("serial.acme.example", "1")])
    assert await host.serial() == before
    await host.publish([change("serial.acme.example", "2"), change("serial2.acme.example", "2")])
    assert await host.serial() == before + 1


@needs_knot
async def test_a_met_expectation_lets_a_change_through(host) -> None:
    found = await host.read("acme.example", "TXT")
    assert found is not None
    merged = ("unrelated", "v=spf1 include:other.example ip4:198.51.100.50 -all")
    await host.publish([change("acme.example", *merged, expected=found.values)])
    assert await host.read("acme.example", "TXT") == RRset(merged, 300)
    await host.publish([change("acme.example", *found.values, expected=merged)])


@needs_knot
@pytest.mark.parametrize("expected", [(), ("unrelated",), ("unrelated", "v=spf1 -all")])
async def test_a_failed_expectation_changes_nothing_at_all(host, expected) -> None:
    before = await host.serial()
    with pytest.raises(Changed):
        await host.publish([change("side.acme.example", "x"), change("acme.example", "v=spf1 -all", expected=expected)])
    assert await host.serial() == before
    assert await host.read("side.acme.example", "TXT") is None


@needs_knot
async def test_a_record_expected_to_be_absent_is_created_once(host) -> None:
    await host.publish([change("once.acme.example", "x", expected=())])
    with pytest.raises(Changed):
        await host.publish([change("once.acme.example", "y", expected=())])


@needs_knot
async def test_data_is_never_published_beside_an_alias_in_silence(host) -> None:
    with pytest.raises(Changed, match="alias"):
        await host.publish([change("alias.acme.example", "x")])
    with pytest.raises(Changed, match="alias"):
        await host.publish([change("ns1.acme.example", "x.example.", rtype="CNAME", expected=())])


@needs_knot
async def test_an_alias_makes_way_when_the_same_message_removes_it(host) -> None:
    await host.publish([change("slot.acme.example", "ns1.acme.example.", rtype="CNAME", expected=())])
    await host.publish([change("slot.acme.example", rtype="CNAME"), change("slot.acme.example", "x")])
    assert await host.read("slot.acme.example", "TXT") == RRset(("x",), 300)


@needs_knot
async def test_names_outside_the_zone_are_refused_before_sending(host) -> None:
    before = await host.serial()
    with pytest.raises(Rejected, match="outside the zone"):
        await host.publish([change("in.acme.example", "x"), change("acme.example.other.example", "x")])
    assert await host.serial() == before
    assert host.zone_of("mail.ACME.example") == "acme.example."
    assert host.zone_of("notacme.example") is None


@needs_knot
@pytest.mark.parametrize(
    ("name", "secret"), [("writer", WRONG), ("stranger", SECRET), ("reader", SECRET)], ids=["secret", "name", "right"]
)
async def test_a_real_server_refuses_a_key_it_does_not_trust(knot, name, secret) -> None:
    stranger = Rfc2136(HERE, "acme.example", name, SecretStr(secret), port=knot)
    with pytest.raises(Unauthorized):
        await stranger.publish([change("new.acme.example", "x")])


@needs_knot
async def test_a_zone_that_is_served_elsewhere_is_refused(knot) -> None:
    elsewhere = Rfc2136(HERE, "beta.example", "writer", SecretStr(SECRET), port=knot)
    for call in (elsewhere.serial(), elsewhere.read("beta.example", "A"), elsewhere.publish([change("beta.example")])):
        with pytest.raises(Rejected):
            await call


async def outcome_of(manner: str, method: str) -> type[ProviderError] | None:
    async with taking_updates(manner, SECRET) as (server, port):
        patience = 0.5 if manner == "silent" else 10
        host = Rfc2136(HERE, "acme.example", "writer", SecretStr(SECRET), port=port, timeout_seconds=patience)
        call = (
            host.publish([change("x.acme.example", "y")]) if method == "publish" else host.read("x.acme.example", "A")
        )
        try:
            await call
        except ProviderError as error:
            assert len(server.received) == 1
            return type(error)
    return None


@pytest.mark.parametrize(
    ("manner", "published", "read"),
    [
        ("silent", Unconfirmed, Unavailable),
        ("drop", Unconfirmed, Unavailable),
        ("half", Unconfirmed, Unavailable),
        ("garbage", Unconfirmed, Unavailable),
        ("unsigned_yes", Unconfirmed, Unavailable),
        ("forged", Unconfirmed, Unavailable),
        ("wrong_id", Unconfirmed, Unavailable),
        ("SERVFAIL", Unconfirmed, Unavailable),
        ("BADKEY", Unauthorized, Unauthorized),
        ("BADSIG", Unauthorized, Unauthorized),
        ("BADTIME", Rejected, Rejected),
        ("REFUSED", Unauthorized, Unauthorized),
        ("unsigned_refused", Unauthorized, Unauthorized),
        ("NOTAUTH", Unauthorized, Unauthorized),
        ("NOTZONE", Rejected, Rejected),
        ("FORMERR", Rejected, Rejected),
        ("YXRRSET", Changed, Rejected),
        ("NXRRSET", Changed, Rejected),
        ("not_authoritative", None, Unavailable),
        ("NOERROR", None, None),
    ],
)
async def test_each_answer_says_whether_to_repeat_look_or_mend(manner, published, read) -> None:
    assert await outcome_of(manner, "publish") is published
    assert await outcome_of(manner, "read") is read


async def test_nothing_was_sent_when_nobody_listens() -> None:
    host = Rfc2136(HERE, "acme.example", "writer", SecretStr(SECRET), port=free_port())
    for call in (host.publish([change("x.acme.example", "y")]), host.read("x.acme.example", "A"), host.serial()):
        with pytest.raises(Unavailable):
            await call


async def test_all_changes_travel_in_one_signed_update() -> None:
    async with taking_updates("NOERROR", SECRET) as (server, port):
        host: DnsHost = Rfc2136(HERE, "acme.example", "writer", SecretStr(SECRET), port=port)
        await host.publish([change(f"n{number}.acme.example", "x") for number in range(20)])
        await host.publish([])
    (update,) = server.received
    assert isinstance(update, dns.update.UpdateMessage)
    assert update.opcode() == dns.opcode.UPDATE
    assert len(update.update) == 40  # each set is emptied, then filled


@pytest.mark.parametrize(
    ("rtype", "value"), [("A", "198.51.100.500"), ("MX", "mail.acme.example."), ("A", "not an address")]
)
async def test_a_value_that_is_no_record_is_refused_before_sending(rtype, value) -> None:
    async with taking_updates("NOERROR", SECRET) as (server, port):
        host = Rfc2136(HERE, "acme.example", "writer", SecretStr(SECRET), port=port)
        with pytest.raises(Rejected, match=f"not a {rtype} value"):
            await host.publish([change("x.acme.example", value, rtype=rtype)])
    assert not server.received


@pytest.mark.parametrize(("zone", "algorithm"), [("a..b", "hmac-sha256"), ("acme.example", "hmac-md5")])
def test_a_bad_zone_or_a_broken_algorithm_is_a_mistake(zone, algorithm) -> None:
    with pytest.raises(ValueError, match="not a"):
        Rfc2136(HERE, zone, "writer", SecretStr(SECRET), algorithm)


async def test_no_secret_shows_in_repr_log_or_errors(caplog) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    for secret in (SECRET, WRONG, "CANARY is not base64!"):
        async with taking_updates("REFUSED", SECRET) as (_, port):
            host = Rfc2136(HERE, "acme.example", "writer", SecretStr(secret), port=port)
            shown += [repr(host), str(vars(host))]
            for call in (
                host.publish([change("x.acme.example", "y")]),
                host.read("x.acme.example", "A"),
                host.serial(),
            ):
                with pytest.raises(Rejected) as refused:
                    await call
                shown += [str(refused.value), repr(refused.value), repr(refused.value.__cause__)]
    text = "\n".join([*shown, caplog.text])
    for secret in (SECRET, WRONG, "CANARY"):
        assert secret not in text
