from ipaddress import IPv4Address

import pytest

from flows.policy.reverse_dns import is_provider_default, judge_forward, judge_greeting, judge_ptr
from flows.policy.verdict import Truth

IP = IPv4Address("198.51.100.7")
HOST = "mail.acme.example"


@pytest.mark.parametrize(
    ("names", "truth", "reason"),
    [
        (("mail.acme.example.",), Truth.PASS, "ok"),
        (("MAIL.Acme.Example",), Truth.PASS, "ok"),
        ((), Truth.FAIL, "ptr_missing"),
        (("hwsrv-1193.hostwindsdns.example.",), Truth.FAIL, "ptr_default"),
        (("client-198-51-100-7.provider.example.",), Truth.FAIL, "ptr_default"),
        (("7.100.51.198.dynamic.example.",), Truth.FAIL, "ptr_default"),
        (("old.acme.example.",), Truth.FAIL, "ptr_mismatch"),
        (("mail.acme.example.evil.example.",), Truth.FAIL, "ptr_mismatch"),
    ],
)
def test_the_reverse_name_is_the_hosts_own(names, truth, reason):
    verdict = judge_ptr("ptr", IP, HOST, names)
    assert (verdict.truth, verdict.reason, verdict.warnings) == (truth, reason, ())
    assert verdict.passed or HOST in verdict.fix


def test_a_second_reverse_name_is_a_warning():
    verdict = judge_ptr("ptr", IP, HOST, ("other.example.", "mail.acme.example."))
    assert verdict.passed
    assert verdict.warnings


def test_a_host_name_that_looks_like_the_providers_is_still_the_hosts():
    assert judge_ptr("ptr", IP, "hwsrv-1.acme.example", ("hwsrv-1.acme.example.",)).passed


@pytest.mark.parametrize("name", ["host7.acme.example", "mail.acme.example", "198.51.100.acme.example"])
def test_an_ordinary_name_is_not_taken_for_the_providers(name):
    assert not is_provider_default(name, IP)


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (("198.51.100.7",), "ok"),
        (("192.0.2.1", "198.51.100.7"), "ok"),
        ((), "a_missing"),
        (("198.51.100.70",), "a_mismatch"),
    ],
)
def test_the_name_leads_back_to_the_address(addresses, reason):
    verdict = judge_forward("a", IP, HOST, addresses)
    assert (verdict.reason, verdict.passed) == (reason, reason == "ok")


@pytest.mark.parametrize(
    ("greeting", "passed"),
    [("mail.acme.example", True), ("Mail.ACME.example.", True), ("localhost", False), ("", False)],
)
def test_the_server_calls_itself_by_its_name(greeting, passed):
    assert judge_greeting("helo", HOST, greeting).passed is passed
