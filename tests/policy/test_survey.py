"""What is said of any domain, without an expectation but the standards."""

import pytest

from flows.policy.dmarc import parse_dmarc
from flows.policy.survey import judge_dmarc_of, judge_mx, judge_selector
from flows.policy.verdict import Truth

KEY = "A" * 43 + "="
DEPARTMENT = parse_dmarc("v=DMARC1; p=none")
COMPANY = parse_dmarc("v=DMARC1; p=reject; sp=quarantine; rua=mailto:d@corp.example")


def test_the_record_that_is_shown_is_the_one_that_receivers_apply() -> None:
    verdict = judge_dmarc_of("x.dept.corp.example", {"dept.corp.example": DEPARTMENT, "corp.example": COMPANY}, [])
    assert verdict.found == (COMPANY.text, "applied: quarantine, from corp.example")
    assert verdict.warnings == ()


def test_a_domains_own_record_comes_before_its_organisations() -> None:
    verdict = judge_dmarc_of("dept.corp.example", {"dept.corp.example": DEPARTMENT, "corp.example": COMPANY}, [])
    assert verdict.found == (DEPARTMENT.text, "applied: none")


def test_a_fault_on_the_way_to_the_record_is_said() -> None:
    verdict = judge_dmarc_of("dept.corp.example", {"corp.example": COMPANY}, ["_dmarc.dept.corp.example has 2 records"])
    assert (verdict.truth, verdict.warnings) == (Truth.PASS, ("_dmarc.dept.corp.example has 2 records",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"v=DKIM1; k=dsa; p={KEY}", "unknown_algorithm"),
        (f"v=DKIM1; k=ed25519; h=sha1; p={KEY}", "sha1_only"),
        (f"v=DKIM1; k=ed25519; s=tlsrpt; p={KEY}", "not_for_mail"),
        (f"v=DKIM1; k=rsa; p={KEY}", "rsa_short"),
        (f"v=DKIM1; k=ed25519; p={KEY[4:]}", "ed25519_wrapped"),
        ("v=DKIM1; k=ed25519; p=", "revoked"),
    ],
)
def test_a_key_that_no_receiver_verifies_with_is_wrong(text: str, reason: str) -> None:
    verdict = judge_selector("s1", [text])
    assert (verdict.truth, verdict.reason) == (Truth.FAIL, reason)
    assert verdict.fix


def test_a_key_for_mail_is_right_and_a_test_flag_is_said() -> None:
    assert judge_selector("s1", [f"k=ed25519; h=sha1:sha256; s=email; p={KEY}"]).truth is Truth.PASS
    assert "t=y" in judge_selector("s1", [f"k=ed25519; t=y; p={KEY}"]).warnings[0]


def test_without_an_mx_the_domains_own_address_receives() -> None:
    verdict = judge_mx([], {"acme.example": ["2001:db8::1"]}, [])
    assert (verdict.truth, verdict.found) == (Truth.PASS, ("2001:db8::1",))
    assert "no MX" in verdict.warnings[0]
    assert judge_mx([], {"acme.example": []}, []).reason == "missing"
    assert judge_mx([], {"acme.example": None}, []).truth is Truth.UNKNOWN
