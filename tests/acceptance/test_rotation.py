"""A key changes under mail that is under way, and one goes missing: mail verifies at both receivers all the while."""

import json
import re
import time

import pytest

from tests.support.world import DONE, Lab, Tenant
from tests.support.world_mail import line_to, refusal, written
from tests.support.world_prefect import ended, start

RECEIVERS = ("bigmail.example", "livemail.example")
PATIENCE_SECONDS = 120.0
TAKES = 20  # looks of five seconds: the world's DNS forgets an absence after that


def password(lab: Lab, tenant: Tenant, box: str) -> str:
    ran = lab.python("tests.support.world_product", "secret", f"{tenant.id}:mailbox/{box}")
    assert ran.code == 0, ran.said
    return str(json.loads(ran.out)[f"{tenant.id}:mailbox/{box}"])


def letter(lab: Lab, tenant: Tenant, subject: str, author: str) -> None:
    """One message to each receiver, handed to the tenant's server, where it is signed."""
    box = f"{author}@{tenant.domain}"  # a mailbox may address five on its first day
    with line_to(lab, tenant, 587, (box, password(lab, tenant, box))) as line:
        for receiver in RECEIVERS:
            assert refusal(line, box, f"carol@{receiver}", written(box, f"carol@{receiver}", subject)) == ""


def keys(lab: Lab, tenant: Tenant) -> dict[str, str]:
    rows = lab.rows("SELECT selector, status FROM dkim_keys WHERE tenant_id = %s ORDER BY id", tenant.id)
    return {row["selector"]: row["status"] for row in rows}


def rotated(lab: Lab, tenant: Tenant, until: str, *options: str) -> str:
    """Press on until both keys have come so far."""
    said = ""
    for _ in range(TAKES):
        ran = lab.flows("dns", "rotate", tenant.domain, *options)
        assert ran.code == DONE, ran.said
        said += ran.out
        if list(keys(lab, tenant).values()).count(until) == 2:
            return said
        options = ()
        time.sleep(5)
    pytest.fail(f"no two keys are {until}: {keys(lab, tenant)}\n{said}")


def arrived(lab: Lab, receiver: str, subject: str) -> str:
    """The message as the receiver filed it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for message in lab.world.receiver(receiver).messages():
            if message.parsed["Subject"] == subject:
                return message.raw.decode()
        time.sleep(1)
    pytest.fail(f"{subject!r} did not come to {receiver}")


@pytest.fixture(scope="module")
def turning(lab: Lab) -> Tenant:
    """A live tenant of this story alone: its mailboxes have their whole first day, and its keys end as others."""
    tenant = lab.add_tenant("turning")
    ran = lab.onboard(tenant)
    assert ran.code == DONE, ran.said
    return tenant


def test_mail_signed_before_between_and_after_a_rotation_verifies_at_both_receivers(lab: Lab, turning: Tenant) -> None:
    old = {selector for selector, status in keys(lab, turning).items() if status == "active"}
    assert len(old) == 2
    for receiver in RECEIVERS:
        lab.world.receiver(receiver).rules([{"match": {"sender": turning.domain}, "action": "451 4.7.1 later"}])
    letter(lab, turning, "signed before", "anna")

    assert "a new rsa-sha256 key was made" in rotated(lab, turning, "verified", "--force")
    again = lab.onboard(turning)  # whoever converges the host meanwhile lets the successor wait for its hour
    assert again.code == DONE, again.said
    letter(lab, turning, "signed between", "anna")

    lab.rows(
        "UPDATE dkim_keys SET published_at = published_at - interval '2 hours'"
        " WHERE tenant_id = %s AND status = 'verified' RETURNING id",
        turning.id,
    )
    said = rotated(lab, turning, "retiring")
    assert said.count("signs instead of") == 2
    assert "signs with the active keys" in said
    letter(lab, turning, "signed after", "bert")

    for receiver in RECEIVERS:
        lab.world.receiver(receiver).clear()
    lab.on_host(turning, "postqueue -f")
    new = {selector for selector, status in keys(lab, turning).items() if status == "active"}
    assert not new & old
    for receiver in RECEIVERS:
        for subject, signed_by in (("signed before", old), ("signed between", old), ("signed after", new)):
            raw = arrived(lab, receiver, subject)
            assert set(re.findall(r"\bs=(pm\d{6}[a-z]+)\s*;", raw.partition("\n\n")[0])) == signed_by
            assert raw.count("dkim=pass") == 2, raw
            assert "dkim=fail" not in raw

    domain = lab.one("SELECT verification_status FROM domains WHERE tenant_id = %s", turning.id)
    assert domain["verification_status"] == "verified"
    checked = lab.flows("dns", "check", turning.domain)
    assert checked.code == DONE, checked.said


def looked(lab: Lab, tenant: Tenant) -> set[str]:
    """What a sweep makes of the domain's records when its hour has come."""
    lab.rows("UPDATE domains SET dns_next_check_at = now() WHERE tenant_id = %s RETURNING id", tenant.id)
    assert ended(lab, start(lab, "verify_due_domains/every-2-minutes"))["type"] == "COMPLETED"
    row = lab.one("SELECT dns_records FROM domains WHERE tenant_id = %s", tenant.id)
    return {one["verdict"] for one in row["dns_records"]["records"] if one["need"] == "required"}


def repairs(lab: Lab, tenant: Tenant) -> list[str]:
    rows = lab.rows(
        "SELECT details FROM infrastructure_events WHERE event = 'dns_repaired' AND tenant_id = %s", tenant.id
    )
    return [row["details"]["names"] for row in rows]


def all_stand(lab: Lab, tenant: Tenant) -> None:
    for _ in range(TAKES):
        if looked(lab, tenant) == {"pass"}:
            return
        time.sleep(5)
    pytest.fail(f"{tenant.domain}: something does not stand")


def test_a_key_that_somebody_deleted_from_the_zone_stands_again_by_itself(lab: Lab, turning: Tenant) -> None:
    all_stand(lab, turning)
    signing = [selector for selector, status in keys(lab, turning).items() if status == "active"]
    gone = f"{signing[0]}._domainkey"
    lab.world.dns_update(turning.domain, delete=[(gone, "TXT")])
    lab.world.zones.flush(turning.domain)
    assert "fail" in looked(lab, turning)
    assert repairs(lab, turning) == []  # one look may be one bad hour
    for _ in range(TAKES):
        if repairs(lab, turning):
            break
        looked(lab, turning)
    assert repairs(lab, turning) == [f"{gone}.{turning.domain} TXT"]
    all_stand(lab, turning)

    for receiver in RECEIVERS:
        lab.world.receiver(receiver).clear()
    letter(lab, turning, "signed after the repair", "bert")
    for receiver in RECEIVERS:
        raw = arrived(lab, receiver, "signed after the repair")
        assert raw.count("dkim=pass") == 2, raw

    back = lab.flows("dns", "undo", turning.domain, "--yes")
    assert back.code == DONE, back.said
    assert f"{gone}.{turning.domain} TXT: removed" in back.out
