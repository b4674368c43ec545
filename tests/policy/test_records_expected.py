from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from flows.policy.names import is_record_name
from flows.policy.records import (
    WHO_ACTS,
    DkimRecord,
    DomainPlan,
    Holder,
    HostAddress,
    Merge,
    Need,
    dmarc_start,
    expected_records,
    required,
)
from flows.policy.spf import parse_spf

IP = IPv4Address("198.51.100.11")
STANDBY = IPv4Address("198.51.100.12")
PLAN = DomainPlan(
    domain="acme.example",
    hosts=(HostAddress("mail.acme.example", IP), HostAddress("mail2.acme.example", STANDBY)),
    sending_ip=IP,
    standby_ips=(STANDBY,),
    dkim=(DkimRecord("pm202611r", "rsa", "MIIB"), DkimRecord("pm202611e", "ed25519", "AAAA")),
    dmarc_rua=None,
    platform_zone=None,
    label=None,
    manage_mx=False,
    verification_token="0a" * 16,
)
PLATFORM = replace(PLAN, platform_zone="penguin.example", label="abcdefghij")


def by_key(plan):
    return {record.key: record for record in expected_records(plan)}


def test_a_domain_without_a_platform_zone_publishes_this():
    assert [(r.key, r.name, r.rtype, *r.values) for r in required(expected_records(PLAN))] == [
        ("own", "_pm-verify.acme.example", "TXT", "pm-verify=" + "0a" * 16),
        ("a", "mail.acme.example", "A", "198.51.100.11"),
        ("ptr", "11.100.51.198.in-addr.arpa", "PTR", "mail.acme.example."),
        ("spf-host", "mail.acme.example", "TXT", "v=spf1 ip4:198.51.100.11 -all"),
        ("a:mail2", "mail2.acme.example", "A", "198.51.100.12"),
        ("ptr:mail2", "12.100.51.198.in-addr.arpa", "PTR", "mail2.acme.example."),
        ("spf-host:mail2", "mail2.acme.example", "TXT", "v=spf1 ip4:198.51.100.12 -all"),
        ("mx-bounce", "bounce.acme.example", "MX", "10 mail.acme.example."),
        ("spf-bounce", "bounce.acme.example", "TXT", "v=spf1 ip4:198.51.100.11 ip4:198.51.100.12 -all"),
        ("spf", "acme.example", "TXT", "v=spf1 ip4:198.51.100.11 ip4:198.51.100.12 ~all"),
        ("dkim-rsa:pm202611r", "pm202611r._domainkey.acme.example", "TXT", "v=DKIM1; k=rsa; p=MIIB"),
        ("dkim-ed:pm202611e", "pm202611e._domainkey.acme.example", "TXT", "v=DKIM1; k=ed25519; p=AAAA"),
        ("dmarc", "_dmarc.acme.example", "TXT", "v=DMARC1; p=none"),
    ]


def test_whoever_holds_a_record_is_waited_for():
    assert {holder: WHO_ACTS[holder] for holder in Holder} == {
        Holder.TENANT: "dns", Holder.PLATFORM: "provider", Holder.PROVIDER: "provider",
    }  # fmt: skip


@pytest.mark.parametrize("rua", [None, "d@acme.example"])
def test_a_dmarc_record_begins_as_it_was_decided_to_and_goes_on_so(rua):
    plan = replace(PLAN, dmarc_start="v=DMARC1; p=reject; adkim=s", dmarc_rua=rua)
    (text,) = by_key(plan)["dmarc"].values
    assert text.startswith("v=DMARC1; p=reject; adkim=s")
    assert dmarc_start(expected_records(plan)) == plan.dmarc_start
    assert dmarc_start([]) == "v=DMARC1; p=none"


def test_a_platform_zone_carries_what_may_change():
    records = by_key(PLATFORM)
    assert records["spf"].values == ("v=spf1 include:abcdefghij._spf.penguin.example ~all",)
    assert records["spf-bounce"].values == ("v=spf1 include:abcdefghij._spf.penguin.example -all",)
    assert records["spf-ours"].name == "abcdefghij._spf.penguin.example"
    assert records["spf-ours"].values == ("v=spf1 ip4:198.51.100.11 ip4:198.51.100.12 -all",)
    assert records["dmarc"].values == ("v=DMARC1; p=none; rua=mailto:r-abcdefghij@dmarc.penguin.example",)
    assert records["dmarc-ext"].name == "acme.example._report._dmarc.dmarc.penguin.example"
    assert {key for key, record in records.items() if record.holder is Holder.PLATFORM} == {"spf-ours", "dmarc-ext"}


def test_slots_are_delegated_and_published_in_our_zone():
    keys = (DkimRecord("pm1", "rsa", "MIIB"), DkimRecord("pm3", "ed25519", "AAAA"))
    records = by_key(replace(PLATFORM, dkim=keys))
    assert {key: record.values for key, record in records.items() if record.rtype == "CNAME"} == {
        f"dkim-cname:pm{slot}": (f"pm{slot}.abcdefghij.dkim.penguin.example.",) for slot in range(1, 5)
    }
    assert (records["dkim-rsa:pm1"].name, records["dkim-rsa:pm1"].holder) == (
        "pm1.abcdefghij.dkim.penguin.example",
        Holder.PLATFORM,
    )


def test_a_slot_name_without_a_platform_zone_is_an_ordinary_selector():
    records = by_key(replace(PLAN, dkim=(DkimRecord("pm1", "rsa", "MIIB"),)))
    assert records["dkim-rsa:pm1"].name == "pm1._domainkey.acme.example"
    assert not any(record.rtype == "CNAME" for record in records.values())


def test_the_apex_mx_needs_consent():
    mx = by_key(PLAN)["mx"]
    assert (mx.consent, mx.need) == (False, Need.OPTIONAL)
    taken = by_key(replace(PLATFORM, manage_mx=True))
    assert (taken["mx"].consent, taken["mx"].need) == (True, Need.CONDITIONAL)
    assert taken["tlsrpt"].values == ("v=TLSRPTv1; rua=mailto:t-abcdefghij@dmarc.penguin.example",)
    assert "tlsrpt" not in by_key(PLATFORM)


def test_the_tenants_own_report_address_is_used_without_a_platform_zone():
    assert by_key(replace(PLAN, dmarc_rua="d@acme.example"))["dmarc"].values == (
        "v=DMARC1; p=none; rua=mailto:d@acme.example",
    )


def test_a_host_of_another_domain_is_left_to_that_domain():
    second = replace(PLAN, domain="beta.example")
    keys = by_key(second)
    assert not {"a", "ptr", "spf-host"} & {key.partition(":")[0] for key in keys}
    assert keys["mx-bounce"].values == ("10 mail.acme.example.",)


def test_a_host_under_the_platform_zone_is_published_by_us():
    named = replace(PLATFORM, hosts=(HostAddress("n1.penguin.example", IP),), standby_ips=())
    records = by_key(named)
    assert {records["a"].holder, records["spf-host"].holder} == {Holder.PLATFORM}
    assert records["ptr"].holder is Holder.PROVIDER


def test_an_address_without_a_name_is_refused():
    with pytest.raises(ValueError, match="no host name"):
        expected_records(replace(PLAN, hosts=()))
    with pytest.raises(ValueError, match="no label"):
        expected_records(replace(PLATFORM, label=None))


@pytest.mark.parametrize("plan", [PLAN, PLATFORM, replace(PLATFORM, manage_mx=True)], ids=["direct", "platform", "mx"])
def test_every_record_can_be_published(plan):
    records = expected_records(replace(plan, ttl_seconds=3600))
    assert len({record.key for record in records}) == len(records)
    assert len({(record.name, record.rtype) for record in records}) == len(records)
    for record in records:
        assert is_record_name(record.name)
        assert record.ttl == 3600
        assert record.values
        if record.merge is Merge.MERGE_SPF:
            assert parse_spf(record.values[0]).lookups <= 1
            assert record.ips
